"""`dicom-node conformance-statement`: the DICOM Conformance Statement of this version."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from dicom_node.commands import flags
from dicom_node.exit_status import FAILED
from dicom_node.statement.document import statement


@dataclass(frozen=True, slots=True)
class Statement:
    """What was asked for."""

    out: Path | None


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `conformance-statement`."""
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: print it")
    flags.gives(parser, Statement)


def run(arguments: Statement) -> int:
    """Print it, or write it to a file; 1 when that cannot be written."""
    if arguments.out is None:
        sys.stdout.write(statement())
        return 0
    try:
        arguments.out.write_text(statement())
    except OSError as error:
        sys.stderr.write(f"dicom-node: {arguments.out}: {error.strerror}\n")
        return FAILED
    return 0
