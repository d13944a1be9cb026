"""The command line: which commands there are. A command's flags stand beside it.

A command's module is imported when it is chosen: the ingest process must stay small, and
`dicom-node studies` must not wait for an inference engine.
"""

from __future__ import annotations

import argparse
import importlib
import os
import select
import sys
from collections.abc import Sequence

from dicom_node import __version__
from dicom_node.commands import flags
from dicom_node.config.loading import ConfigError
from dicom_node.exit_status import FAILED, INTERRUPTED, READER_LEFT, REFUSED
from dicom_node.ledger.errors import LedgerBusy, LedgerDamaged

COMMANDS = {
    "demo": ("dicom_node.commands.demo", "show the main job on a drawn slide, or on your own"),
    "serve": ("dicom_node.commands.serve", "run the node until SIGTERM"),
    "ingest": ("dicom_node.commands.serve", "run only the process that receives"),
    "worker": ("dicom_node.commands.serve", "run only the process that analyzes"),
    "egress": ("dicom_node.commands.serve", "run only the process that delivers and purges"),
    "analyze": ("dicom_node.commands.analyze", "analyze slides from files, without a network"),
    "route": ("dicom_node.commands.route", "tell which models slides would get, and why"),
    "engine": ("dicom_node.commands.engine", "compare the engines, or build TensorRT plans"),
    "studies": ("dicom_node.commands.studies", "list, show or cancel studies"),
    "retry": ("dicom_node.commands.retry", "run a study again"),
    "recall": ("dicom_node.commands.keeping.recall", "withdraw what was answered"),
    "pause": ("dicom_node.commands.pause", "pause intake, analysis or a destination"),
    "resume": ("dicom_node.commands.pause", "go on with what was paused"),
    "recover": (
        "dicom_node.commands.recover",
        "record again the received files that the database does not know",
    ),
    "conformance-statement": (
        "dicom_node.commands.conformance_statement",
        "print the DICOM Conformance Statement",
    ),
    "purge": ("dicom_node.commands.keeping.purge", "remove what may go, or say what would"),
    "hold": ("dicom_node.commands.keeping.hold", "keep everything of a study, or release it"),
    "erase": ("dicom_node.commands.keeping.erase", "give up everything of a patient (law)"),
    "check": ("dicom_node.commands.check", "tell in one screen if the node can work"),
}
"""Each command: its module, with `add(parser)` and `run(arguments)`, and its line of help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    os.umask(0o077)  # whatever a command writes holds patient data, or may
    words = list(sys.argv[1:] if argv is None else argv)
    # No option before the command takes a value: the first other word is the command.
    chosen = next((word for word in words if not word.startswith("-")), "")
    namespace = parser(chosen).parse_args(words)
    module = importlib.import_module(COMMANDS[namespace.command][0])
    try:
        status = int(module.run(flags.given(namespace)))
        if sys.stdout is not None:  # as it is where the descriptor was closed
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        if not _reader_has_left():
            raise  # a connection broke
        return READER_LEFT
    except (ConfigError, LedgerDamaged) as error:
        sys.stderr.write(f"dicom-node: {error}\n")
        return REFUSED
    except LedgerBusy as error:
        sys.stderr.write(f"dicom-node: {error}; try again\n")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _reader_has_left() -> bool:
    """Whether nobody reads standard output any more; what is still to be said goes nowhere then."""
    written = select.poll()
    written.register(sys.stdout, 0)
    if not any(what & select.POLLERR for _, what in written.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def parser(chosen: str) -> argparse.ArgumentParser:
    """A parser that knows the names of all commands and the flags of the `chosen` one."""
    parser = argparse.ArgumentParser(
        prog="dicom-node", description="Whole-slide studies in, reports and heatmaps back."
    )
    parser.add_argument("--version", action="version", version=f"dicom-node {__version__}")
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", dest="command"
    )
    for name, (path, help) in COMMANDS.items():
        command = commands.add_parser(name, help=help, description=help)
        if name == chosen:
            importlib.import_module(path).add(command)
    return parser
