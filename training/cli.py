"""`dicom-train`: from paired data to a student bundle."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from training.errors import TrainingError

REFUSED = 3
"""Exit status for bad input or an impossible request."""
READER_LEFT = 141
"""Exit status where who reads the output has left, as `head` does: 128 + SIGPIPE."""

OURS = ("training", "inference", "engines")


class Command(NamedTuple):
    """Where a command is, and its line of help."""

    module: str
    """With `add` and `run`; imported when the command is chosen."""
    help: str


COMMANDS = {
    "cohort": Command("training.commands.cohort", "patients, slides, labels and folds"),
    "encoder": Command(
        "training.commands.encoder", "a bundle of a tile encoder alone, from ONNX or timm"
    ),
    "features": Command("training.commands.features", "tile features with the node's own tiling"),
    "fit": Command("training.commands.fit", "train teacher and student on every fold and seed"),
    "pan": Command(
        "training.commands.pan", "students of several cohorts that share heads, and a report"
    ),
    "methods": Command("training.commands.methods", "methods of fit and their settings"),
    "evaluate": Command("training.commands.evaluate", "one report over runs"),
    "export": Command("training.commands.export", "a bundle that the node runs"),
    "precisions": Command(
        "training.commands.precisions", "cheaper forms of a bundle's encoder, measured on slides"
    ),
    "ood": Command("training.commands.ood", "how well a student tells foreign slides"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if word in COMMANDS), None)
    given = vars(_parser(chosen).parse_args(words))
    try:
        arguments = given.pop("arguments")(**given)
        status = int(importlib.import_module(COMMANDS[str(chosen)].module).run(arguments))
        if sys.stdout is not None:  # as it is where the descriptor was closed
            sys.stdout.flush()
        return status
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
    except BrokenPipeError:  # pipes between our processes are seen to where they are written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_LEFT
    except OSError as error:  # of a path that was given, or of a disk
        sys.stderr.write(f"dicom-train: {_said(error)}: what is finished is kept\n")
        return REFUSED
    except KeyboardInterrupt:
        return 130


def _said(error: OSError) -> str:
    name = error.filename2 or error.filename
    where = f"{name}: " if name else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{where}found no room left to write ({error.strerror}), expected some where the "
            "output goes and in TMPDIR; make room and give the command again"
        )
    return (
        f"{where or 'a file: '}found that it cannot be read or written "
        f"({error.strerror or error}), expected a path and rights for it; mend that and give the "
        "command again"
    )


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """Every command by its line of help, the chosen one with its flags."""
    parser = argparse.ArgumentParser(
        prog="dicom-train", description="Teachers and students from paired slides and genes."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (module, line) in COMMANDS.items():
        command = commands.add_parser(name, help=line)
        if name == chosen:
            importlib.import_module(module).add(command)
    return parser
