"""`dicom-train evaluate`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Evaluate:
    """One report over runs."""

    runs: Sequence[Path]
    json: Path | None
    html: Path | None
    published: Path | None


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--html", type=Path, metavar="FILE")
    parser.add_argument("--published", type=Path, metavar="CSV", help="published rows")
    parser.set_defaults(arguments=Evaluate)


def run(arguments: Evaluate) -> int:
    """Writes the reports asked for."""
    from training.page import report
    from training.scoring.evaluate import evaluate

    if arguments.json is None and arguments.html is None:
        raise TrainingError("found neither --json nor --html, expected one; say what to write")
    evaluation = evaluate(arguments.runs, arguments.published)
    if arguments.json:
        report.write_json(evaluation, arguments.json)
    if arguments.html:
        report.write_html(evaluation, arguments.html)
    for warning in evaluation.warnings:
        print(f"note: {warning}")
    return 0
