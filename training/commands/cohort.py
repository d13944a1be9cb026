"""`dicom-train cohort build | show | fetch`."""

from __future__ import annotations

import argparse

from training.cohorts import describe as cohort_report
from training.cohorts import gdc
from training.cohorts.build import BuildInputs, build
from training.cohorts.cohort import load
from training.cohorts.material import TASKS, Task
from training.errors import TrainingError


def run(arguments: argparse.Namespace) -> int:
    """Runs the action asked for."""
    actions = {"build": _build, "show": _show, "fetch": _fetch}
    return actions[arguments.action](arguments)


def _build(arguments: argparse.Namespace) -> int:
    inputs = BuildInputs(
        name=arguments.name,
        outcome=arguments.outcome,
        slides=arguments.slides,
        task=_task(arguments.task, arguments.classes),
        labels=arguments.labels,
        expected_genes=tuple(arguments.require_genes),
        label_column=arguments.label_column,
        expression=arguments.expression,
        cnv=arguments.cnv,
        mutation=arguments.mutation,
        clinical=arguments.clinical,
        log_expression=arguments.log_expression,
        signatures=arguments.signatures,
        splits=arguments.splits,
        flag_confirmed=arguments.flag_confirmed,
    )
    print(cohort_report.text(build(inputs, arguments.out)), end="")
    return 0


def _task(name: str, classes: list[str] | None) -> Task:
    if classes:
        return Task(name, "classification", tuple(classes))
    if name not in TASKS:
        raise TrainingError(
            f"found task {name!r} without classes, expected os, or the label's classes in order; "
            "give --classes"
        )
    return TASKS[name]


def _show(arguments: argparse.Namespace) -> int:
    print(cohort_report.text(load(arguments.cohort, arguments.data, arguments.task)), end="")
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    client = gdc.Client(arguments.url) if arguments.url else gdc.Client()
    if arguments.manifest.is_file():
        files = gdc.read_manifest(arguments.manifest)
    else:
        files = client.find(gdc.diagnostic_slides(str(arguments.manifest)))
        arguments.out.mkdir(parents=True, exist_ok=True)
        gdc.write_manifest(files, arguments.out / "manifest.tsv")
    for file in files:
        print(client.download(file, arguments.out))
    return 0
