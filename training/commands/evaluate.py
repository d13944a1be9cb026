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
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure and prediction")
    parser.add_argument("--html", type=Path, metavar="FILE", help="the page")
    parser.add_argument("--published", type=Path, metavar="CSV", help="published rows")
    parser.set_defaults(arguments=Evaluate)


def run(arguments: Evaluate) -> int:
    """Prints the main tables and writes the reports asked for."""
    from training.page import report, terminal
    from training.scoring.evaluate import evaluate

    for path in (arguments.json, arguments.html):
        if path is not None and path.is_dir():
            raise TrainingError(f"{path}: found a folder, expected the file to write; name a file")
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    evaluation = evaluate(arguments.runs, arguments.published)
    if arguments.json:
        report.write_json(evaluation, arguments.json)
    if arguments.html:
        report.write_html(evaluation, arguments.html)
    print(terminal.text(evaluation), end="")
    for warning in evaluation.warnings:
        print(f"note: {warning}")
    return 0
