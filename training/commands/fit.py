"""`dicom-train fit`."""

from __future__ import annotations

import argparse

from training.errors import TrainingError
from training.methods.registry import method
from training.runs.fit import Plan, fit


def run(arguments: argparse.Namespace) -> int:
    """Fits what is missing and says where it is."""
    settings = {}
    for word in arguments.set:
        key, equals, value = word.partition("=")
        if not equals:
            raise TrainingError(f"--set: found {word!r}, expected KEY=VALUE")
        settings[key] = value
    if arguments.epochs is not None:
        settings["epochs"] = str(arguments.epochs)
    plan = Plan(
        method=arguments.method,
        cohort=arguments.cohort,
        task=arguments.task or method(arguments.method).task,
        kind=arguments.folds,
        data=arguments.data,
        run=arguments.out,
        settings=settings,
        published=arguments.published,
        extended=arguments.extended,
    )
    units = fit(plan, arguments.fold, seeds=arguments.seeds, jobs=arguments.jobs)
    print(f"{len(units)} units in {arguments.out}; next: dicom-train evaluate {arguments.out}")
    return 0
