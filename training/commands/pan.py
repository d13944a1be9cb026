"""`dicom-train pan`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.commands.words import count, settings_of


@dataclass(frozen=True, slots=True)
class Pan:
    """Students of several cohorts that learn from each other, and one report."""

    cohorts: Sequence[str]
    data: Path
    out: Path
    folds: Sequence[str]
    fold: Sequence[int] | None
    seeds: int
    epochs: int | None
    set: Sequence[str]
    extended: bool
    no_graphs: bool
    jobs: int


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("--cohorts", nargs="+", required=True, metavar="C",
                        help="folders made by `cohort build`, or published ones: blca, brca, "
                        "coadread, gbmlgg, hnsc, kirp, lihc, luad, paad, skcm, ucec, or any "
                        "other whose features and table are in --data")  # fmt: skip
    parser.add_argument("--data", type=Path, default=Path(), metavar="DIR",
                        help="the tables and features of published cohorts")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="a run per cohort and kind of folds, and the report")  # fmt: skip
    parser.add_argument("--folds", nargs="+", choices=["official", "site"],
                        default=["official", "site"])  # fmt: skip
    parser.add_argument("--fold", type=int, action="append", metavar="K", help="only this fold")
    parser.add_argument("--seeds", type=count, default=1, metavar="N")
    parser.add_argument("--epochs", type=int, metavar="E",
                        help="of the attention branch; 0: linear heads alone")  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting of crossfit-pan; see dicom-train methods")  # fmt: skip
    parser.add_argument("--extended", action="store_true",
                        help="patients beside blca, brca, gbmlgg, luad and ucec join their "
                        "training parts")  # fmt: skip
    parser.add_argument("--no-graphs", action="store_true",
                        help="measure alone: nothing to export, several times faster with "
                        "--epochs 0")  # fmt: skip
    parser.add_argument("--jobs", type=count, default=1, metavar="N",
                        help="processes, each of which holds all cohorts")  # fmt: skip
    parser.set_defaults(arguments=Pan)


def run(arguments: Pan) -> int:
    """Fits what is missing, writes the report and prints its tables."""
    from training.page import report, terminal
    from training.runs.pan import PanPlan, fit_pan
    from training.scoring.evaluate import evaluate

    plan = PanPlan(
        cohorts=tuple(arguments.cohorts),
        data=arguments.data,
        out=arguments.out,
        kinds=tuple(dict.fromkeys(arguments.folds)),  # type: ignore[arg-type]
        settings=settings_of(arguments.set, arguments.epochs),
        extended=arguments.extended,
        graphs=not arguments.no_graphs,
    )
    runs = fit_pan(plan, arguments.fold, seeds=arguments.seeds, jobs=arguments.jobs)
    found = evaluate(runs)
    report.write_json(found, arguments.out / "report.json")
    report.write_html(found, arguments.out / "report.html")
    print(terminal.text(found), end="")
    for warning in found.warnings:
        print(f"note: {warning}")
    print(f"{len(runs)} runs in {arguments.out}, with report.html and report.json")
    return 0
