"""`dicom-node analyze PATH... --out DIR`: the main job from files, without a network."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from dicom_node.commands import flags
from dicom_node.commands.cases.of_files import analyze_case, provenance_of, tell_case
from dicom_node.commands.studies_of_files import Found, Unusable, find_studies
from dicom_node.exit_status import FAILED, REFUSED
from dicom_node.observe.log import configure, os_reason, place_of
from dicom_node.results import kinds
from dicom_node.results.build import objects_of
from dicom_node.results.equipment import undated
from dicom_node.results.files import write
from dicom_node.results.making import Making
from dicom_node.study.evidence import PatientsDiffer, gather_evidence, missing_of, slides_of
from dicom_node.study.facts import Uncountable, read_facts
from dicom_node.view.page import write_page
from dicom_node.view.table import print_report, report_as_json
from engines.bundle import open_bundle
from engines.errors import BundleRejected, DeviceFailed, EngineMissing
from engines.names import EngineName, PrecisionName
from engines.runtime import Runtime, open_runtime
from inference import predict
from inference.answers import require_answerable
from inference.errors import SlideUnreadable
from inference.slide.files import SlideFiles
from inference.types import Prediction, Progress


@dataclass(frozen=True, slots=True)
class Analyze:
    """What was asked for."""

    paths: list[Path]
    """Files or folders."""
    out: Path
    bundle: str
    engine: EngineName
    precision: PrecisionName
    threads: int
    as_json: bool


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `analyze`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files or folders")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--bundle", default="default", help="a shipped name or a directory")
    flags.add_engine(parser)
    flags.add_json(parser)
    flags.gives(parser, Analyze)


def run(arguments: Analyze) -> int:
    """Analyze every study found; 1 when one could not be, 3 when the bundle is refused."""
    configure("console", "warning")
    console = Console(stderr=arguments.as_json, soft_wrap=True)
    try:
        bundle = require_answerable(open_bundle(arguments.bundle))
        with open_runtime(
            bundle,
            engine=arguments.engine,
            precision=arguments.precision,
            threads=arguments.threads,
        ) as runtime:
            console.print(f"{bundle.manifest.title} on {runtime.engine}")
            if runtime.note:
                console.print(runtime.note)
            found = find_studies(arguments.paths)
            reports, failed = _analyze_all(found, arguments.out, runtime, console)
    except (BundleRejected, EngineMissing) as error:
        sys.stderr.write(f"dicom-node: {error}\n")
        return REFUSED
    except (Unusable, DeviceFailed) as error:
        sys.stderr.write(f"dicom-node: {error}\n")
        return FAILED
    if arguments.as_json:
        sys.stdout.write(json.dumps(reports, indent=2) + "\n")
    return FAILED if failed else 0


def _analyze_all(
    found: Found, out: Path, runtime: Runtime, console: Console
) -> tuple[list[dict[str, Any]], bool]:
    """Reports of every study that could be analyzed, and whether anything could not be.

    Every study by itself: what is wrong with one is said, and the next one has its turn.
    """
    for path, why in found.skipped:
        console.print(f"skipped {path}: {why}")
    for trouble in found.troubles:
        sys.stderr.write(f"dicom-node: {trouble}\n")
    failed = bool(found.troubles)
    reports: list[dict[str, Any]] = []
    analyze = _analyze_case if runtime.manifest.unit == "case" else _analyze_slides
    for number, (study, files) in enumerate(sorted(found.studies.items()), start=1):
        try:
            for answer in analyze(files, out / f"study-{number}", runtime, console):
                if isinstance(answer, str):
                    failed = True
                    sys.stderr.write(f"dicom-node: study {study}: {answer}\n")
                else:
                    reports.append(answer)
        except DeviceFailed:
            raise
        except Exception as error:  # noqa: BLE001 - the other studies have their turn
            failed = True
            sys.stderr.write(f"dicom-node: study {study}: {_trouble(error)}\n")
    return reports, failed


_Answers = Iterator[dict[str, Any] | str]
"""Reports, and what could not be done."""


def _analyze_slides(
    files: Mapping[str, Path], name: Path, runtime: Runtime, console: Console
) -> _Answers:
    """One study, slide by slide; what is made goes into folders that begin with `name`."""
    slides, lacking = _slides(files)
    yield from lacking.values()
    for place, slide in enumerate(s for s in slides if s.key not in lacking):
        folder = Path(f"{name}-slide-{slide.key}")
        try:
            yield _analyze_one(slide, place, folder, runtime, console)
        except SlideUnreadable as error:  # the other slides have their turn
            yield _trouble(error)


def _analyze_case(
    files: Mapping[str, Path], name: Path, runtime: Runtime, console: Console
) -> _Answers:
    """One study, all slides together."""
    slides, lacking = _slides(files)
    with _bar(console) as bar:
        task = bar.add_task("tiles", total=None, rate="")
        case = analyze_case(slides, lacking, runtime, _show(bar, task))
    if case.trouble:
        yield case.trouble
    if case.objects:
        yield tell_case(case, Path(f"{name}-case"), console)


def _trouble(error: Exception) -> str:
    """What went wrong with one study, in words of ours."""
    if isinstance(error, SlideUnreadable):
        return f"{error.path}: {error}" if error.path else str(error)
    if isinstance(error, (Unusable, Uncountable, PatientsDiffer)):
        return str(error)
    return os_reason(error) if isinstance(error, OSError) else f"unexpected {place_of(error)}"


def _slides(files: Mapping[str, Path]) -> tuple[tuple[SlideFiles, ...], dict[str, str]]:
    """The slides of one study, and of those that are incomplete, by key, what they lack."""
    facts = [read_facts(path) for path in files.values()]
    counted = gather_evidence(facts)
    slides = slides_of(facts)
    lacking = {
        slide.key: f"slide {slide.key} is incomplete: {'; '.join(missing)}"
        for slide in slides
        if (missing := missing_of(slide, counted))
    }
    return slides, lacking


def _analyze_one(
    slide: SlideFiles, number: int, folder: Path, runtime: Runtime, console: Console
) -> dict[str, Any]:
    with _bar(console) as bar:
        task = bar.add_task("tiles", total=None, rate="")
        result = predict.predict(slide.paths, runtime, progress=_show(bar, task))
    bundle = runtime.bundle
    base = dcmread(slide.path_of(result.base), stop_before_pixels=True)
    provenance = provenance_of(runtime, base)
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
        ),
    )
    if not built:
        raise SlideUnreadable(f"slide {slide.key}: {trouble}")
    if trouble:
        console.print(f"slide {slide.key}: {trouble}", style="yellow")
    folder.mkdir(parents=True, exist_ok=True)
    written = {item.kind: folder / f"{item.kind}.dcm" for item in built}
    for item in built:
        write(item.dataset, written[item.kind])
    maps = (kinds.HEATMAP, kinds.ATTENTION)
    heatmaps = [p for kind, p in written.items() if kinds.kind_of(kind) in maps]
    page = write_page(
        folder / "report.html",
        slide_paths=slide.paths,
        seg_path=heatmaps[0] if heatmaps else None,
        sr_path=written[kinds.REPORT.name],
        condition=result.condition if isinstance(result, Prediction) else None,
    )
    (report,) = [item.dataset for item in built if item.kind == kinds.REPORT.name]
    print_report(console, report)
    console.print(f"Page    {page}\nObjects {folder}\n")
    return {
        "page": str(page),
        "objects": {kind: str(path) for kind, path in written.items()},
        "report": report_as_json(report),
    }


def _bar(console: Console) -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
    )


def _show(bar: Bar, task: TaskID) -> Any:
    def show(progress: Progress) -> None:
        bar.update(
            task,
            completed=progress.tiles_done,
            total=progress.tiles_total,
            rate=f"{progress.tiles_per_s:.0f} tiles/s",
        )

    return show
