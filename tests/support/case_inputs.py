"""A case of drawn headers: its slides, what is said of them, what its objects are made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydicom import Dataset
from result_inputs import PROVENANCE, manifest, prediction, volume

from dicom_node.results.case_making import CaseMaking, OneSlide
from dicom_node.results.identity import result_uid
from dicom_node.results.making import BuiltObject
from inference.case.values import CaseResult, CaseSlide
from inference.slide.files import SlideFiles
from inference.types import LevelAccount, NotAssessable, Prediction, Reason

NUMBERS = {
    "scores": {"risk": 0.5, "tumor_fraction": 0.25},
    "percentiles": {"risk": 91.4, "tumor_fraction": 3.2},
    "survivals": {"os": (0.9, 0.7, 0.5)},
}


def slide_of(folder: Path, key: str) -> OneSlide:
    """A slide of its own container, specimen and frame of reference: a header, and its files."""
    header = volume()
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(header, keyword, result_uid("test", keyword, key))
    header.ContainerIdentifier = f"A26 {key}"
    header.SpecimenDescriptionSequence[0].SpecimenUID = result_uid("test", "specimen", key)
    header.SpecimenDescriptionSequence[0].SpecimenIdentifier = f"specimen {key}"
    small = Dataset()
    small.SOPClassUID = header.SOPClassUID
    small.SOPInstanceUID = result_uid("test", "small level", key)
    small.StudyInstanceUID, small.SeriesInstanceUID = (
        header.StudyInstanceUID,
        header.SeriesInstanceUID,
    )
    path = folder / f"{key}.dcm"
    write_plain(small, path)
    uids = (str(header.SOPInstanceUID), str(small.SOPInstanceUID))
    files = SlideFiles(key, (path, path), uids, path)
    return OneSlide(files, header, 4 + int(key, 16), PROVENANCE, (f"Note of {key}.",))


def write_plain(ds: Dataset, path: Path) -> None:
    ds.file_meta = Dataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=True)


def used(slide: OneSlide) -> Prediction:
    levels = tuple(
        LevelAccount(uid, "VOLUME", 1, 1, 0.5, 1, used_as)
        for uid, used_as in zip(slide.files.input_uids, ("tiles", "tissue"), strict=True)
    )
    told = prediction(slide.header, scores={}, percentiles={}, survivals={}, levels=levels)
    return replace(told, tissue_area_mm2=2.0, tiles_analyzed=100)


def making(folder: Path, *results: Reason | None, **changes: object) -> CaseMaking:
    """A case of slides that were used, or left out for these reasons."""
    slides = {f"{n:08x}": slide_of(folder, f"{n:08x}") for n in range(len(results))}
    told = tuple(
        CaseSlide(
            key,
            used(slide)
            if reason is None
            else NotAssessable(reason, "Why it is not used.", None, ()),
        )
        for (key, slide), reason in zip(slides.items(), results, strict=True)
    )
    result = CaseResult(told, (Reason.NO_SLIDE, "None can be used."))
    if result.used:
        count = len(result.used)
        numbers = replace(
            result.used[0][1], tissue_area_mm2=2.0 * count, tiles_analyzed=100 * count,
            heatmaps=(), levels=(), **NUMBERS,
        )  # fmt: skip
        result = CaseResult(told, numbers=numbers)
    made = CaseMaking(result, slides, manifest(), PROVENANCE, number=3)
    return replace(made, **changes)  # type: ignore[arg-type]


def report_of(built: list[BuiltObject]) -> Dataset:
    (report,) = (item.dataset for item in built if item.kind == "report")
    return report
