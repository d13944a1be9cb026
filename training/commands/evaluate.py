"""`dicom-train evaluate`."""

from __future__ import annotations

import argparse

from training.errors import TrainingError
from training.page import report
from training.scoring.evaluate import evaluate


def run(arguments: argparse.Namespace) -> int:
    """Writes the reports asked for."""
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
