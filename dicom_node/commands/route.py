"""`dicom-node route PATH...`: which models each slide would get, and why. Nothing is analyzed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from dicom_node.commands import flags
from dicom_node.commands.screen.shown import shown
from dicom_node.commands.studies_of_files import Unusable, find_studies
from dicom_node.config.loading import load_config
from dicom_node.config.whole import Config
from dicom_node.exit_status import FAILED, REFUSED
from dicom_node.observe.log import os_reason
from dicom_node.study.evidence import PatientsDiffer, slides_of
from dicom_node.study.facts import Uncountable, read_facts
from dicom_node.study.specimens import says_of
from dicom_node.work.routing.route import facts_of, route
from dicom_node.work.routing.values import Route, Student
from engines.bundle import open_bundle
from engines.errors import BundleRejected
from inference.answers import require_answerable
from inference.errors import SlideUnreadable
from inference.slide.files import SlideFiles

_WHAT_FAILS = (Uncountable, PatientsDiffer, SlideUnreadable, OSError)


@dataclass(frozen=True, slots=True)
class RouteFiles:
    """What was asked for."""

    paths: list[Path]
    """Files or folders."""
    config: Path
    sender: str | None
    as_json: bool


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `route`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files or folders")
    flags.add_config(parser)
    parser.add_argument("--sender", metavar="AE", help="as if this AE title had sent them")
    flags.add_json(parser)
    flags.gives(parser, RouteFiles)


def run(arguments: RouteFiles) -> int:
    """Print the answer for every slide; 1 when one could not be read, 3 when a bundle is refused.

    That no model applies is an answer, too.
    """
    config = load_config(arguments.config)
    console = Console(stderr=arguments.as_json, soft_wrap=True, markup=False, highlight=False)
    try:
        students = _students(config)
        found = find_studies(arguments.paths)
    except BundleRejected as error:
        sys.stderr.write(f"dicom-node: {error}\n")
        return REFUSED
    except Unusable as error:
        sys.stderr.write(f"dicom-node: {error}\n")
        return FAILED
    troubles = list(found.troubles)
    answers: list[dict[str, Any]] = []
    for study, files in sorted(found.studies.items()):
        slides, why = _slides(files)
        troubles += [f"study {study}: {text}" for text in why]
        for slide in slides:
            try:
                answer = route(facts_of(says_of(slide), arguments.sender), students)
            except _WHAT_FAILS as error:
                troubles.append(f"study {study}: slide {slide.key}: {_trouble(error)}")
                continue
            answers.append({"study": study, "slide": slide.key, **asdict(answer)})
            if not arguments.as_json:
                _print(console, study, slide, answer)
    for trouble in troubles:
        sys.stderr.write(f"dicom-node: {trouble}\n")
    if arguments.as_json:
        sys.stdout.write(json.dumps(answers, indent=2) + "\n")
    return FAILED if troubles else 0


def _students(config: Config) -> list[Student]:
    """The models of the configuration, their bundles verified."""
    found = []
    for entry in config.students:
        bundle = require_answerable(open_bundle(entry.bundle))
        manifest = bundle.manifest
        is_fixture = manifest.status == "fixture"
        of = (bundle.digest, manifest.unit == "case")
        found.append(Student(entry, manifest.applicability, is_fixture, *of))
    return found


def _slides(files: Mapping[str, Path]) -> tuple[tuple[SlideFiles, ...], list[str]]:
    """The slides of a study, whether complete or not, and why there are none."""
    try:
        return slides_of([read_facts(path) for path in files.values()]), []
    except _WHAT_FAILS as error:
        return (), [_trouble(error)]


def _trouble(error: Exception) -> str:
    return os_reason(error) if isinstance(error, OSError) else str(error)


def _print(console: Console, study: str, slide: SlideFiles, answer: Route) -> None:
    console.print(shown(f"study {study}, slide {slide.key}"))
    if not answer.taken:
        console.print(shown(f"  {answer.sentence}"))
        return
    for taken in answer.taken:
        case = ", for the whole case: one report of all slides" if taken.is_of_cases else ""
        silent = " (silent)" if taken.silent else ""
        console.print(shown(f"  runs       {taken.name}{silent}{case}"))
        for note in taken.sentences:
            console.print(shown(f"             {note}"))
    for passed in answer.passed:
        why = ", ".join(mismatch.sentence for mismatch in passed.why)
        console.print(shown(f"  passed by  {passed.name}: {why}"))
