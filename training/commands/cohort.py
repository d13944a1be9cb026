"""`dicom-train cohort build | show | fetch`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from training.errors import TrainingError

if TYPE_CHECKING:
    from training.cohorts.material import Task


@dataclass(frozen=True, slots=True)
class Build:
    """A cohort file from tables of one's own."""

    name: str
    outcome: Path
    slides: Path
    expression: Path | None
    cnv: Path | None
    mutation: Path | None
    clinical: Path | None
    require_genes: Sequence[str]
    log_expression: bool
    signatures: Path | None
    splits: Path | None
    task: str
    classes: Sequence[str] | None
    labels: Path | None
    label_column: str
    flag_confirmed: bool
    out: Path


@dataclass(frozen=True, slots=True)
class Show:
    """Who is in a cohort."""

    cohort: str
    data: Path
    task: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Files of a manifest, or the slides of a project."""

    manifest: Path
    out: Path
    url: str | None


def add(parser: argparse.ArgumentParser) -> None:
    """The three actions."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_build(actions.add_parser("build", help="a cohort file from tables of your own"))
    _add_show(actions.add_parser("show", help="who is in a cohort, who was dropped and why"))
    _add_fetch(actions.add_parser("fetch", help="files of a GDC manifest, checked and resumed"))


def run(arguments: Build | Show | Fetch) -> int:
    """Runs the action asked for."""
    match arguments:
        case Build():
            return _build(arguments)
        case Show():
            return _show(arguments)
        case Fetch():
            return _fetch(arguments)


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True)
    parser.add_argument("--outcome", type=Path, required=True, metavar="CSV",
                        help="patient, time and event, as public sources name them")  # fmt: skip
    parser.add_argument("--slides", type=Path, required=True, metavar="CSV",
                        help="slide manifest: patient, slide, file; a file is .h5 or .pt with "
                        "feats [N, D], or .npz of many slides: feats [sum N, D], offsets, "
                        "slide_id; maybe coarse: the .h5 of a second magnification, for "
                        "disentangled")  # fmt: skip
    for table in ("expression", "cnv", "mutation"):
        parser.add_argument(f"--{table}", type=Path, metavar="CSV")
    parser.add_argument("--clinical", type=Path, metavar="CSV",
                        help="patient and numbers that only a teacher may see")  # fmt: skip
    parser.add_argument("--require-genes", nargs="+", default=[], metavar="COLUMN",
                        help="gene columns without which nothing is built")  # fmt: skip
    parser.add_argument("--log-expression", action="store_true", help="take log2(x + 1)")
    parser.add_argument("--signatures", type=Path, metavar="CSV", help="functional gene groups")
    parser.add_argument("--splits", type=Path, metavar="PATH",
                        help="patient and fold, or a folder of splits_0.csv …")  # fmt: skip
    parser.add_argument("--task", default="os", help="os, or a name for the label")
    parser.add_argument(
        "--classes", nargs="+", metavar="CLASS", help="the label's classes, in order"
    )
    parser.add_argument("--labels", type=Path, metavar="CSV",
                        help="patient and label, where the outcome table has none")  # fmt: skip
    parser.add_argument("--label-column", default="", metavar="COLUMN")
    parser.add_argument("--flag-confirmed", action="store_true",
                        help="a person has checked that event 1 means death observed")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.set_defaults(arguments=Build)


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cohort")
    parser.add_argument("--data", type=Path, default=Path(), metavar="DIR")
    parser.add_argument("--task", default="os")
    parser.set_defaults(arguments=Show)


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, help="manifest TSV, or a project such as TCGA-BLCA")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--url", metavar="URL", help="another API than the public one")
    parser.set_defaults(arguments=Fetch)


def _build(arguments: Build) -> int:
    from training.cohorts.build import BuildInputs, build
    from training.cohorts.describe import text

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
    print(text(build(inputs, arguments.out)), end="")
    return 0


def _task(name: str, classes: Sequence[str] | None) -> Task:
    from training.cohorts.material import TASKS, Task

    if classes:
        names = [word.strip() for word in classes]
        if len(names) < 2 or len(set(names)) < len(names) or not all(names):
            raise TrainingError(
                f"found classes {', '.join(classes)}, expected two or more of different names; "
                "correct --classes"
            )
        return Task(name, "classification", tuple(names))
    if name not in TASKS:
        raise TrainingError(
            f"found task {name!r} without classes, expected os, or the label's classes in order; "
            "give --classes"
        )
    return TASKS[name]


def _show(arguments: Show) -> int:
    from training.cohorts.cohort import load
    from training.cohorts.describe import text

    print(text(load(arguments.cohort, arguments.data, arguments.task)), end="")
    return 0


def _fetch(arguments: Fetch) -> int:
    from training.cohorts import gdc

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
