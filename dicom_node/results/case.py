"""All objects of a case: the maps of each slide that was used, then the one report of all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module

from pydicom import Dataset

from dicom_node.results import kinds
from dicom_node.results.build import first_that_can_be_made
from dicom_node.results.identity import Provenance
from dicom_node.results.making import BuiltObject, Making, series_number_of
from dicom_node.results.sr.case import SlideSource, build_case_report
from engines.manifest.whole import Manifest
from inference.case.values import CASE, CaseResult, CaseSlide
from inference.slide.files import SlideFiles
from inference.types import Prediction, Reason


@dataclass(frozen=True, slots=True)
class OneSlide:
    """A slide of the case: its files, the header of its base image, and what is said beside."""

    files: SlideFiles
    header: Dataset
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseMaking:
    """Everything that the objects of a case need."""

    result: CaseResult
    slides: Mapping[str, OneSlide]
    """By key: all that the result speaks of."""
    manifest: Manifest
    provenance: Provenance
    number: int
    """0-based place of the report among those of its study; maps have those that follow."""
    predecessor: Dataset | None = None
    """The report of an earlier revision that the new one replaces."""
    cautions: tuple[str, ...] = ()
    """Sentences that the report has to warn of, beside those of the result."""

    @property
    def files(self) -> SlideFiles:
        """Of all slides together, under the key of the case."""
        return files_of_case([slide.files for slide in self.slides.values()])


def files_of_case(slides: list[SlideFiles]) -> SlideFiles:
    """The files of all slides as those of one thing that has a report."""
    return SlideFiles(
        key=CASE,
        paths=tuple(path for slide in slides for path in slide.paths),
        input_uids=tuple(uid for slide in slides for uid in slide.input_uids),
        base_path=slides[0].base_path,
    )


def objects_of_case(
    result: CaseResult,
    making: Callable[[CaseResult], CaseMaking],
    *,
    may_pass: tuple[type[Exception], ...] = (OSError,),
) -> tuple[list[BuiltObject], str]:
    """The objects of a case, and what an operator must see to; a result that no objects can be made
    of leaves a report that says so. Raises what `may_pass`."""
    return first_that_can_be_made(
        lambda: build_case(making(result)),
        lambda: build_case(making(_not_representable(result))),
        may_pass,
    )


def build_case(making: CaseMaking) -> list[BuiltObject]:
    """A Segmentation for each map of each slide that was used, and the one report, which cites
    them. Other kinds are made of slides alone."""
    maps = list(_maps(making))
    report = build_case_report(
        making.result,
        {
            key: SlideSource(slide.header, slide.files, slide.notes)
            for key, slide in making.slides.items()
        },
        making.manifest,
        provenance_of_report(making.provenance, making.result),
        segmentations=[item.dataset for item in maps],
        series_number=series_number_of(making.number),
        predecessor=making.predecessor,
        cautions=making.cautions,
    )
    return [*maps, BuiltObject(kinds.REPORT.name, CASE, report)]


def provenance_of_report(provenance: Provenance, result: CaseResult) -> Provenance:
    """That of the report: without the same slides it is another one, under other UIDs."""
    if not result.left_out:
        return provenance
    told = ", ".join(f"{key} {why.reason}" for key, why in result.left_out)
    return _with_variant(provenance, f"without {_digest(told)}")


def _maps(making: CaseMaking) -> Iterator[BuiltObject]:
    """Each as of its own slide; of no other case has it the UIDs, for what an aggregator says of a
    tile depends on all slides in the bag."""
    in_case = _digest(" ".join((*sorted(making.files.input_uids), *dict(making.result.used))))
    provenance = _with_variant(making.provenance, f"in the case {in_case}")
    make = import_module(kinds.HEATMAP.module).make
    for place, (key, told) in enumerate(making.result.used, start=1):
        if not told.heatmaps:
            continue
        slide = making.slides[key]
        yield from make(
            Making(
                source=slide.header,
                result=told,
                manifest=making.manifest,
                provenance=provenance,
                slide=slide.files,
                number=making.number + place,
            )
        )


def _with_variant(provenance: Provenance, more: str) -> Provenance:
    return replace(provenance, variant=" ".join(filter(None, (provenance.variant, more))))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _not_representable(result: CaseResult) -> CaseResult:
    detail = (
        "The case was analyzed, but its results cannot be put into DICOM objects; the log of the "
        "node says why."
    )
    without_maps = tuple(
        CaseSlide(s.key, replace(s.result, heatmaps=()) if isinstance(s.result, Prediction)
                  else s.result)
        for s in result.slides
    )  # fmt: skip
    return CaseResult(without_maps, (Reason.RESULTS_FAILED, detail))
