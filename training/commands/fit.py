"""`dicom-train fit`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.commands.words import count, settings_of

METHODS = (
    "abmil", "age", "clam", "clinical", "coxnet", "crossfit", "disentangled", "ghanet",
    "late-fusion", "mcat", "meanpool", "mkd", "moments", "pooled", "snn", "transmil",
)  # fmt: skip
"""Those of the registry, which takes torch to ask."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Teacher and student on every fold and seed."""

    method: str | None
    cohort: str
    data: Path
    out: Path
    task: str | None
    folds: Literal["official", "site"]
    fold: Sequence[int] | None
    seeds: int
    epochs: int | None
    set: Sequence[str]
    published: bool
    extended: bool
    jobs: int
    all: bool


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("method", metavar="METHOD", nargs="?",
                        help=", ".join(METHODS) + "; left out: what measured best for the task "
                        "(dicom-train methods)")  # fmt: skip
    parser.add_argument("--cohort", required=True, metavar="C",
                        help="a folder made by `cohort build`, or a published one: blca, brca, "
                        "coadread, gbmlgg, hnsc, kirp, lihc, luad, paad, skcm, ucec, or any "
                        "other whose features and table are in --data")  # fmt: skip
    parser.add_argument("--data", type=Path, default=Path(), metavar="DIR",
                        help="the tables and features of a published cohort")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="RUN")
    parser.add_argument(
        "--task", help="os, diagnosis, grading, er, pr, her2 (default: the method's)"
    )
    parser.add_argument("--folds", choices=["official", "site"], default="official")
    parser.add_argument("--fold", type=int, action="append", metavar="K", help="only this fold")
    parser.add_argument("--seeds", type=count, default=1, metavar="N")
    parser.add_argument("--epochs", type=int, metavar="E")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting of the method; dicom-train methods lists them")  # fmt: skip
    parser.add_argument("--published", action="store_true",
                        help="the settings as published, where the defaults differ")  # fmt: skip
    parser.add_argument("--extended", action="store_true",
                        help="patients beside the cohort join the training parts")  # fmt: skip
    parser.add_argument("--jobs", type=count, default=1, metavar="N", help="processes")
    parser.add_argument("--all", action="store_true",
                        help="then a student of everybody")  # fmt: skip
    parser.set_defaults(arguments=Fit)


def run(arguments: Fit) -> int:
    """Fits what is missing and says where it is."""
    from training.errors import TrainingError
    from training.methods.registry import method, recipe
    from training.runs.everybody import fit_all
    from training.runs.fit import Plan, fit

    name = arguments.method or recipe(arguments.task or "os")
    plan = Plan(
        method=name,
        cohort=arguments.cohort,
        task=arguments.task or (method(name).task if arguments.method else "os"),
        kind=arguments.folds,
        data=arguments.data,
        run=arguments.out,
        settings=settings_of(arguments.set, arguments.epochs),
        published=arguments.published,
        extended=arguments.extended,
    )
    if arguments.all and arguments.fold:
        raise TrainingError("found --all and --fold, expected one: everybody needs every fold")
    units = fit(plan, arguments.fold, seeds=arguments.seeds, jobs=arguments.jobs)
    if arguments.all:
        place = fit_all(plan)
        print(f"{place.directory}: a student of everybody; dicom-train export takes it with --all")
    print(
        f"{name}: {len(units)} units in {arguments.out}; next: dicom-train evaluate {arguments.out}"
    )
    return 0
