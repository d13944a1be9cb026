"""Slides on disk and predictions of them, for every kind of object that can be asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from result_inputs import PROVENANCE, manifest, prediction, refusal, values

from dicom_node.config.languages import Language
from dicom_node.results import kinds
from dicom_node.results.build import objects_of
from dicom_node.results.making import BuiltObject, Making
from engines.manifest.outputs import HeatmapOutput
from engines.manifest.whole import Manifest
from inference.slide.files import SlideFiles
from inference.types import Heatmap, Patch, Prediction

ALL_KINDS = frozenset(kinds.asked_names())


def named(charset: str | list[str], name: str) -> Callable[[Dataset], None]:
    def edit(ds: Dataset) -> None:
        ds.SpecificCharacterSet = charset
        ds.PatientName = name

    return edit


def oriented(*orientation: int) -> Callable[[Dataset], None]:
    def edit(ds: Dataset) -> None:
        ds.ImageOrientationSlide = list(orientation)
        ds.TotalPixelMatrixOriginSequence[0].XOffsetInSlideCoordinateSystem = 12
        ds.TotalPixelMatrixOriginSequence[0].YOffsetInSlideCoordinateSystem = 15

    return edit


def without_specimen(ds: Dataset) -> None:
    del ds.SpecimenDescriptionSequence


def without_container(ds: Dataset) -> None:
    without_specimen(ds)
    ds.ContainerIdentifier = ""


EDITS: dict[str, Callable[[Dataset], None]] = {
    "latin": named("ISO_IR 100", "Buc^Jérôme"),
    "japanese": named(["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "korean": named(["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "turned": oriented(1, 0, 0, 0, 1, 0),
    "turned twice": oriented(0, 1, 0, 1, 0, 0),
    "quarter turn": oriented(1, 0, 0, 0, -1, 0),
    "no specimen": without_specimen,
    "no container": without_container,
}


def slide_files(folder: Path, into: Path, edit: Callable[[Dataset], None]) -> SlideFiles:
    """The files of a slide, each edited."""
    into.mkdir(parents=True, exist_ok=True)
    paths = []
    for path in sorted(folder.glob("*.dcm")):
        ds = dcmread(path)
        edit(ds)
        ds.save_as(into / path.name)
        paths.append(into / path.name)
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    uids = tuple(str(h.SOPInstanceUID) for h in headers)
    base = max(range(len(paths)), key=lambda n: int(headers[n].TotalPixelMatrixColumns))
    return SlideFiles("slide", tuple(paths), uids, paths[base])


def with_region() -> Manifest:
    """A student whose map has a threshold, so that a region is drawn."""
    plain = manifest()
    drawn = [
        o.model_copy(update={"threshold": 0.5, "floor": 0.1}) if isinstance(o, HeatmapOutput) else o
        for o in plain.outputs
    ]
    return plain.model_copy(update={"outputs": tuple(drawn)})


def predicted(source: Dataset) -> Prediction:
    """A heatmap on the grid of the slide, with two marked places."""
    places = (Patch(1, 1, 1.0), Patch(3, 4, 0.9))
    outline = np.array([[100, 200], [100, 1500], [1900, 1500], [1900, 200], [100, 200]], float)
    heatmap = Heatmap("tumor", values(source), places)
    return prediction(source, heatmaps=(heatmap,), tissue_outlines=(outline,))


def built(
    slide: SlideFiles,
    *,
    refused: bool = False,
    without_place: bool = False,
    number: int = 0,
    wanted: frozenset[str] = ALL_KINDS,
    student: Manifest | None = None,
    language: Language = "en",
) -> dict[str, BuiltObject]:
    """Every object of the slide by its kind; nothing that was asked for may be lacking."""
    source = dcmread(slide.base_path, stop_before_pixels=True)
    result = refusal(None if without_place else source) if refused else predicted(source)
    says, told = student or manifest(), replace(PROVENANCE, language=language)
    objects, trouble = objects_of(
        result, lambda r: Making(source, r, says, told, slide, number, wanted=wanted)
    )
    assert trouble == ""
    found: dict[str, BuiltObject] = {b.kind: b for b in objects}
    return found
