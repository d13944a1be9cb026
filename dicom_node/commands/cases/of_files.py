"""A case from files: `analyze` with a student that predicts for all slides of a study together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from rich.console import Console

from dicom_node import __version__
from dicom_node.commands.screen.shown import shown
from dicom_node.config.languages import Language
from dicom_node.results.carried.dates import taken_at
from dicom_node.results.carried.equipment import undated
from dicom_node.results.case import objects_of_case
from dicom_node.results.case_making import CaseMaking, OneSlide
from dicom_node.results.files import write_built
from dicom_node.results.identity import Provenance
from dicom_node.results.kinds import REPORT
from dicom_node.results.making import BuiltObject
from dicom_node.study.evidence import patients_differ
from dicom_node.view.table import print_report, report_as_json
from engines.runtime import Runtime
from inference import predict
from inference.case.predict import Looked, of_any_amount, predict_case
from inference.case.values import CASE
from inference.errors import SlideUnreadable
from inference.slide.files import SlideFiles
from inference.tiles.ahead import Ahead
from inference.tiles.planned import Asked
from inference.types import NotAssessable, Progress, Reason


@dataclass(frozen=True, slots=True)
class CaseOfFiles:
    """The objects of a case, and what somebody must see to."""

    objects: tuple[BuiltObject, ...]
    trouble: str


def provenance_of(runtime: Runtime, base: Dataset, language: Language) -> Provenance:
    """What computes a result from files; `base` is the header of the base image."""
    # Not the clock: what is made of the same files in the same way is the same objects.
    bundle = runtime.bundle
    return Provenance(
        bundle_name=bundle.manifest.name,
        bundle_version=bundle.manifest.version,
        bundle_digest=bundle.digest,
        engine=runtime.engine,
        node_version=__version__,
        created_at=taken_at(base),
        made_then=False,
        language=language,
    )


def analyze_case(
    slides: Sequence[SlideFiles],
    lacking: Mapping[str, str],
    runtime: Runtime,
    progress: Callable[[Progress], None],
    wanted: frozenset[str] = frozenset(),
    language: Language = "en",
    ahead: Ahead | None = None,
) -> CaseOfFiles:
    """Analyze the slides of one study together; `lacking` says by key why some are left out,
    `wanted` are kinds that are made because they are asked for, `ahead` opens the slides.

    No organ is asked for: whoever names files and a bundle has chosen. Raises what the runtime
    raises, and OSError.
    """
    if differ := patients_differ(slides):
        return CaseOfFiles((), differ)
    troubles = list(lacking.values())
    looked: list[Looked] = []
    ahead = ahead or Ahead()
    made_for = of_any_amount(runtime.manifest.applicability)
    ordered = sorted(slides, key=lambda slide: slide.key)
    expected = [Asked.of(s.paths, runtime.manifest, made_for) for s in ordered]
    for slide, after in zip(ordered, [*expected[1:], None], strict=True):
        ahead.expect(after)
        if why := lacking.get(slide.key):
            looked.append((slide.key, NotAssessable(Reason.INCOMPLETE, why, None, ())))
            continue
        try:
            seen = predict.look(
                slide.paths, runtime, progress=progress, made_for=made_for, ahead=ahead
            )
        except SlideUnreadable as error:
            troubles.append(f"slide {slide.key}: {error}")
            seen = NotAssessable(Reason.ANALYSIS_FAILED, str(error), None, ())
        looked.append((slide.key, seen))
    result = predict_case(looked, runtime)
    by_key = {slide.key: slide for slide in slides}
    headers = {
        one.key: dcmread(by_key[one.key].path_of(one.result.base), stop_before_pixels=True)
        for one in result.slides
    }
    first = headers[result.used[0][0] if result.used else result.slides[0].key]
    provenance = provenance_of(runtime, first, language)
    built, trouble = objects_of_case(
        result,
        lambda r: CaseMaking(
            result=r,
            slides={
                key: OneSlide(by_key[key], header, place, provenance_of(runtime, header, language))
                for place, (key, header) in enumerate(headers.items(), start=1)
            },
            manifest=runtime.manifest,
            provenance=provenance,
            number=0,
            notes=(undated(provenance),),
            wanted=wanted,
        ),
    )
    return CaseOfFiles(tuple(built), "; ".join([*troubles, *([trouble] if trouble else [])]))


def tell_case(case: CaseOfFiles, folder: Path, console: Console) -> dict[str, Any]:
    """Write the objects of a case and print its report; what `analyze --json` says of it."""
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, str] = {}
    for item in case.objects:
        name = item.kind if item.slide == CASE else f"{item.kind}-{item.slide}"
        write_built(item, folder / f"{name}.dcm")
        written[name] = str(folder / f"{name}.dcm")
    (report,) = [item.dataset for item in case.objects if item.kind == REPORT.name]
    print_report(console, report)
    console.print(shown(f"Objects {folder}\n"))
    return {"objects": written, "report": report_as_json(report)}
