"""`dicom-train`: from paired data to a student bundle.

Modules of a command are imported when it runs: `dicom-train --help` must not wait for torch.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from training.errors import TrainingError

REFUSED = 3
"""Exit status for bad input or an impossible request."""

OURS = ("training", "inference", "engines")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        module = importlib.import_module(f"training.commands.{arguments.module}")
        return int(module.run(arguments))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in OURS:
            raise
        sys.stderr.write(
            f"dicom-train: found no module {error.name}, expected the packages of the training "
            'extra; install them with pip install "dicom-node[training]"\n'
        )
        return REFUSED
    except TrainingError as error:
        sys.stderr.write(f"dicom-train: {error}\n")
        return REFUSED
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dicom-train", description="Teachers and students from paired slides and genes."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _cohort(commands)
    _features(commands)
    _fit(commands)
    _evaluate(commands)
    _export(commands)
    _precisions(commands)
    return parser


def _cohort(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    cohort = commands.add_parser("cohort", help="patients, slides, labels and folds")
    actions = cohort.add_subparsers(required=True, metavar="ACTION")

    build = actions.add_parser("build", help="a cohort file from tables of your own")
    build.add_argument("--name", required=True)
    build.add_argument("--outcome", type=Path, required=True, metavar="CSV",
                       help="patient, time and event, as public sources name them")  # fmt: skip
    build.add_argument("--slides", type=Path, required=True, metavar="CSV",
                       help="slide manifest: patient, slide, file")  # fmt: skip
    for table in ("expression", "cnv", "mutation"):
        build.add_argument(f"--{table}", type=Path, metavar="CSV")
    build.add_argument("--clinical", type=Path, metavar="CSV",
                       help="patient and numbers that only a teacher may see")  # fmt: skip
    build.add_argument("--require-genes", nargs="+", default=[], metavar="COLUMN",
                       help="gene columns without which nothing is built")  # fmt: skip
    build.add_argument("--log-expression", action="store_true", help="take log2(x + 1)")
    build.add_argument("--signatures", type=Path, metavar="CSV", help="functional gene groups")
    build.add_argument("--splits", type=Path, metavar="PATH",
                       help="patient and fold, or a folder of splits_0.csv …")  # fmt: skip
    build.add_argument("--task", default="os", help="os, or a name for the label")
    build.add_argument(
        "--classes", nargs="+", metavar="CLASS", help="the label's classes, in order"
    )
    build.add_argument("--labels", type=Path, metavar="CSV",
                       help="patient and label, where the outcome table has none")  # fmt: skip
    build.add_argument("--label-column", default="", metavar="COLUMN")
    build.add_argument("--flag-confirmed", action="store_true",
                       help="a person has checked that event 1 means death observed")  # fmt: skip
    build.add_argument("--out", type=Path, required=True, metavar="DIR")
    build.set_defaults(module="cohort", action="build")

    show = actions.add_parser("show", help="who is in a cohort, who was dropped and why")
    show.add_argument("cohort")
    show.add_argument("--data", type=Path, default=Path(), metavar="DIR")
    show.add_argument("--task", default="os")
    show.set_defaults(module="cohort", action="show")

    fetch = actions.add_parser("fetch", help="files of a GDC manifest, checked and resumed")
    fetch.add_argument("manifest", type=Path, help="manifest TSV, or a project such as TCGA-BLCA")
    fetch.add_argument("--out", type=Path, required=True, metavar="DIR")
    fetch.add_argument("--url", metavar="URL", help="another API than the public one")
    fetch.set_defaults(module="cohort", action="fetch")


def _features(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    features = commands.add_parser("features", help="tile features with the node's own tiling")
    features.add_argument("slides", nargs="+", type=Path, metavar="SLIDES",
                          help="folders of DICOM slides")  # fmt: skip
    features.add_argument("--encoder", required=True, metavar="NAME",
                          help="timm:NAME, hf-hub:NAME, an ONNX file or a bundle")  # fmt: skip
    features.add_argument("--out", type=Path, required=True, metavar="DIR")
    features.add_argument("--mpp", type=float, nargs="+", metavar="UM",
                          help="one or two spacings of one grid")  # fmt: skip
    features.add_argument("--workers", type=int, default=1, metavar="N")
    features.add_argument("--database-url", metavar="URL", help="queue shared by several machines")
    features.add_argument("--take-over", nargs="+", default=[], metavar="HOST",
                          help="machines of a shared queue that died")  # fmt: skip
    features.set_defaults(module="features")


def _fit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    fit = commands.add_parser("fit", help="train teacher and student on every fold and seed")
    fit.add_argument("method", metavar="METHOD", help="ghanet, disentangled, mkd, a baseline …")
    fit.add_argument("--cohort", required=True, metavar="C",
                     help="blca, brca, gbmlgg, luad, ucec or a cohort file")  # fmt: skip
    fit.add_argument("--data", type=Path, required=True, metavar="DIR")
    fit.add_argument("--out", type=Path, required=True, metavar="RUN")
    fit.add_argument("--task", help="os, diagnosis, grading, er, pr, her2 (default: the method's)")
    fit.add_argument("--folds", choices=["official", "site"], default="official")
    fit.add_argument("--fold", type=int, action="append", metavar="K", help="only this fold")
    fit.add_argument("--seeds", type=int, default=1, metavar="N")
    fit.add_argument("--epochs", type=int, metavar="E")
    fit.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                     help="a setting of the method")  # fmt: skip
    fit.add_argument("--published", action="store_true",
                     help="the settings as published, where the defaults differ")  # fmt: skip
    fit.add_argument("--extended", action="store_true",
                     help="patients beside the cohort join the training parts")  # fmt: skip
    fit.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    fit.set_defaults(module="fit")


def _evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser("evaluate", help="one report over runs")
    evaluate.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    evaluate.add_argument("--json", type=Path, metavar="FILE")
    evaluate.add_argument("--html", type=Path, metavar="FILE")
    evaluate.add_argument("--published", type=Path, metavar="CSV", help="published rows")
    evaluate.set_defaults(module="evaluate")


def _export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = commands.add_parser("export", help="a bundle that the node runs")
    export.add_argument("run", type=Path, metavar="RUN")
    export.add_argument("--encoder", required=True, metavar="BUNDLE",
                        help="the bundle whose encoder made the features")  # fmt: skip
    export.add_argument("--out", type=Path, required=True, metavar="DIR")
    export.add_argument("--name", required=True)
    export.add_argument("--version", default="0.1.0")
    export.add_argument("--fold", type=int, default=0)
    export.add_argument("--seed", type=int, default=0)
    export.set_defaults(module="export")


def _precisions(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    precisions = commands.add_parser(
        "precisions", help="cheaper forms of a bundle's encoder, measured on slides"
    )
    precisions.add_argument("bundle", metavar="BUNDLE", help="its folder, which is changed")
    precisions.add_argument("--calibration", nargs="+", type=Path, required=True, metavar="SLIDES",
                            help="slides of the training cohort")  # fmt: skip
    precisions.add_argument("--measure", nargs="+", type=Path, required=True, metavar="SLIDES",
                            help="other slides")  # fmt: skip
    precisions.add_argument("--precisions", nargs="+", choices=["bf16", "fp16", "int8"])
    precisions.set_defaults(module="precisions")
