"""`dicom-node analyze PATH... --out DIR`: the main job from files, without a network."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from dicom_node.commands import flags
from dicom_node.commands.cases.of_files import analyze_case, tell_case
from dicom_node.commands.cases.slide_of_files import analyze_slide, progress_on
from dicom_node.commands.studies_of_files import Found, Unusable, find_studies
from dicom_node.config.languages import Language
from dicom_node.exit_status import FAILED, REFUSED
from dicom_node.observe.log import configure, os_reason, place_of
from dicom_node.study.evidence import PatientsDiffer, gather_evidence, missing_of, slides_of
from dicom_node.study.facts import Uncountable, read_facts
from dicom_node.view.page.study import StudyPages
from engines.bundle import open_bundle
from engines.errors import BundleRejected, DeviceFailed, EngineMissing
from engines.names import EngineName, PrecisionName
from engines.runtime import Runtime, open_runtime
from inference.answers import require_answerable
from inference.errors import SlideUnreadable
from inference.slide.files import SlideFiles
from inference.tiles.ahead import Ahead
from inference.tiles.planned import Asked


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
    objects: frozenset[str]
    """Kinds that are made because they are asked for."""
    language: Language
    as_json: bool


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `analyze`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files or folders")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--bundle", default="default", help="a shipped name or a directory")
    flags.add_objects(parser)
    flags.add_language(parser)
    flags.add_engine(parser)
    flags.add_json(parser)
    flags.gives(parser, Analyze)


def run(arguments: Analyze) -> int:
    """Analyze every study found; 1 when one could not be, 3 when the bundle is refused."""
    configure("console", "warning")
    console = Console(stderr=arguments.as_json, soft_wrap=True)
    try:
        bundle = require_answerable(open_bundle(arguments.bundle))
        with (
            open_runtime(
                bundle,
                engine=arguments.engine,
                precision=arguments.precision,
                threads=arguments.threads,
            ) as runtime,
            closing(Ahead()) as ahead,
        ):
            console.print(f"{bundle.manifest.title} on {runtime.engine}")
            if runtime.note:
                console.print(runtime.note)
            found = find_studies(arguments.paths)
            reports, failed = _analyze_all(found, arguments, runtime, console, ahead)
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
    found: Found, asked: Analyze, runtime: Runtime, console: Console, ahead: Ahead
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
        name = asked.out / f"study-{number}"
        try:
            for answer in analyze(files, name, asked, runtime, console, ahead):
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
    files: Mapping[str, Path],
    name: Path,
    asked: Analyze,
    runtime: Runtime,
    console: Console,
    ahead: Ahead,
) -> _Answers:
    """One study, slide by slide; what is made goes into folders that begin with `name`."""
    slides, lacking = _slides(files)
    yield from lacking.values()
    without = list(lacking.values())
    pages = StudyPages(name, of_slides=len(slides))
    whole = [slide for slide in slides if slide.key not in lacking]
    expected = [Asked.of(slide.paths, runtime.manifest) for slide in whole]
    for place, (slide, after) in enumerate(zip(whole, [*expected[1:], None], strict=True)):
        ahead.expect(after)
        folder = Path(f"{name}-slide-{slide.key}")
        try:
            yield analyze_slide(
                slide, place, folder, pages, asked.objects, asked.language, runtime, console, ahead
            )
        except SlideUnreadable as error:  # the other slides have their turn
            without.append(f"slide {slide.key} could not be analyzed: {error}")
            yield _trouble(error)
    overview = pages.over_all(without)
    if overview is not None:
        console.print(f"Slides  {overview}\n")


def _analyze_case(
    files: Mapping[str, Path],
    name: Path,
    asked: Analyze,
    runtime: Runtime,
    console: Console,
    ahead: Ahead,
) -> _Answers:
    """One study, all slides together."""
    slides, lacking = _slides(files)
    with progress_on(console) as progress:
        case = analyze_case(
            slides, lacking, runtime, progress, asked.objects, asked.language, ahead
        )
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
