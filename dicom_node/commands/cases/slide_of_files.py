"""A slide from files: `analyze` with a student that predicts for each slide by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import dcmread
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from dicom_node.commands.cases.of_files import provenance_of
from dicom_node.config.languages import Language
from dicom_node.results import kinds
from dicom_node.results.ann import geojson
from dicom_node.results.build import objects_of
from dicom_node.results.carried.equipment import undated
from dicom_node.results.files import write_built
from dicom_node.results.making import BuiltObject, Making
from dicom_node.view.page.study import StudyPages
from dicom_node.view.table import print_report, report_as_json
from engines.runtime import Runtime
from inference import predict
from inference.errors import SlideUnreadable
from inference.slide.files import SlideFiles
from inference.tiles.ahead import Ahead
from inference.types import NotAssessable, Prediction, Progress


def analyze_slide(
    slide: SlideFiles,
    number: int,
    folder: Path,
    pages: StudyPages,
    wanted: frozenset[str],
    language: Language,
    runtime: Runtime,
    console: Console,
    ahead: Ahead,
) -> dict[str, Any]:
    """Analyze one slide, write its objects and its page, and print its report.

    `number` is its 0-based place in the study, `wanted` are kinds that are made because they are
    asked for; all speak `language`. `ahead` opens the slide. Gives what `analyze --json` says
    of it. Raises SlideUnreadable where nothing can be made of it.
    """
    with progress_on(console) as progress:
        result = predict.predict(slide.paths, runtime, progress=progress, ahead=ahead)
    bundle = runtime.bundle
    base = dcmread(slide.path_of(result.base), stop_before_pixels=True)
    provenance = provenance_of(runtime, base, language)
    built, trouble = objects_of(
        result,
        lambda r: Making(
            source=base,
            result=r,
            manifest=bundle.manifest,
            provenance=provenance,
            slide=slide,
            number=number,
            notes=(undated(provenance),),
            wanted=wanted,
        ),
    )
    if not built:
        raise SlideUnreadable(f"slide {slide.key}: {trouble}")
    if trouble:
        console.print(f"slide {slide.key}: {trouble}", style="yellow")
    folder.mkdir(parents=True, exist_ok=True)
    written = {item.kind: folder / f"{item.kind}.dcm" for item in built}
    for item in built:
        write_built(item, written[item.kind])
    _write_regions(folder, result, built, provenance.language)
    condition = result.condition if isinstance(result, Prediction) else None
    report_at = written[kinds.REPORT.name]
    page = pages.add(folder, slide.paths, report_at, written.values(), condition)
    (report,) = [item.dataset for item in built if item.kind == kinds.REPORT.name]
    print_report(console, report)
    console.print(f"Page    {page}\nObjects {folder}\n")
    return {
        "page": str(page),
        "objects": {kind: str(path) for kind, path in written.items()},
        "report": report_as_json(report),
    }


def _write_regions(
    folder: Path,
    result: Prediction | NotAssessable,
    built: Sequence[BuiltObject],
    language: Language,
) -> None:
    """The regions for QuPath beside the objects; none where nothing was predicted."""
    heatmaps = [b for b in built if kinds.kind_of(b.kind) is kinds.HEATMAP]
    if isinstance(result, Prediction) and heatmaps:
        text = geojson.to_text(result, heatmaps, language)
        (folder / "regions.geojson").write_text(text, encoding="utf-8")


@contextmanager
def progress_on(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A bar on the console, and what moves it."""
    with Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
    ) as bar:
        task = bar.add_task("tiles", total=None, rate="")

        def show(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.tiles_done,
                total=progress.tiles_total,
                rate=f"{progress.tiles_per_s:.0f} tiles/s",
            )

        yield show
