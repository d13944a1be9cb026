"""The command line: one parser, one module a command.

A command's module is imported when it runs: the ingest process must stay small, and `dicom-node
studies` must not wait for an inference engine.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dicom_node import __version__
from dicom_node.config import ConfigError
from dicom_node.ledger.rows import LedgerBusy, LedgerDamaged
from engines.names import ENGINE_NAMES, PRECISION_NAMES

REFUSED = 3
"""Exit status when the node refuses to start: configuration, database, bundle, engine or port."""


THREADS_HELP = "CPU threads; default: 0, all cores"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    os.umask(0o077)  # whatever a command writes holds patient data, or may
    arguments = _parser().parse_args(argv)
    module = importlib.import_module(f"dicom_node.commands.{arguments.module}")
    try:
        return int(module.run(arguments))
    except (ConfigError, LedgerDamaged) as error:
        sys.stderr.write(f"dicom-node: {error}\n")
        return REFUSED
    except LedgerBusy as error:
        sys.stderr.write(f"dicom-node: {error}; try again\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dicom-node", description="Whole-slide studies in, reports and heatmaps back."
    )
    parser.add_argument("--version", action="version", version=f"dicom-node {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = _add(commands, "demo", "demo", "show the main job on a drawn slide, or on your own")
    demo.add_argument("--slide", type=Path, metavar="PATH", help="folder of a DICOM slide to send")
    demo.add_argument("--out", type=Path, default=Path("demo-output"), metavar="DIR")

    for name, help in [
        ("serve", "run the node until SIGTERM"),
        ("ingest", "run only the process that receives"),
        ("worker", "run only the process that analyzes and delivers"),
    ]:
        role = _with_config(_add(commands, name, "serve", help))
        role.add_argument("--supervisor", type=int, metavar="PID", help=argparse.SUPPRESS)

    analyze = _add(commands, "analyze", "analyze", "analyze slides from files, without a network")
    analyze.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files or folders")
    analyze.add_argument("--out", type=Path, required=True, metavar="DIR")
    analyze.add_argument("--bundle", default="default", help="a shipped name or a directory")
    _with_engine(analyze)
    analyze.add_argument("--json", action="store_true", help="print JSON")

    _add_engine(commands)

    studies = _add(commands, "studies", "studies", "list every study, or tell one study's story")
    _with_config(studies)
    studies.add_argument("--json", action="store_true", help="print JSON")
    show = studies.add_subparsers(metavar="show", dest="show").add_parser("show", help="one study")
    show.add_argument("uid", metavar="UID", help="Study Instance UID")
    _with_config(show, default=argparse.SUPPRESS)
    show.add_argument("--json", action="store_true", default=argparse.SUPPRESS)

    retry = _with_config(_add(commands, "retry", "retry", "run a study again"))
    retry.add_argument("uid", metavar="UID", help="Study Instance UID")
    retry.add_argument("--json", action="store_true", help="print JSON")

    help = "record again the received files that the database does not know"
    recover = _with_config(_add(commands, "recover", "recover", help))
    recover.add_argument("--json", action="store_true", help="print JSON")

    check = _with_config(
        _add(commands, "check", "check", "tell in one screen if the node can work")
    )
    check.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    module: str,
    help: str,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(module=module, command=name)
    return parser


def _add_engine(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    engine = _add(commands, "engine", "engine", "compare the engines, or build TensorRT plans")
    actions = engine.add_subparsers(required=True, metavar="ACTION", dest="action")
    help = "build the plans of a bundle for this machine's GPU"
    build = actions.add_parser("build", help=help, description=help)
    build.add_argument("bundle", metavar="BUNDLE", help="a shipped name or a directory")
    build.add_argument("--engine", default="tensorrt", choices=["tensorrt"])
    build.add_argument("--precision", default="shipped", choices=PRECISION_NAMES)
    help = "run the bundle's probe on every engine and precision, and print a table"
    compare = actions.add_parser("compare", help=help, description=help)
    compare.add_argument("bundle", metavar="BUNDLE", help="a shipped name or a directory")
    compare.add_argument("--threads", type=_threads, default=0, metavar="N", help=THREADS_HELP)
    compare.add_argument("--json", action="store_true", help="print JSON")


def _with_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine", default="auto", choices=ENGINE_NAMES, help="default: auto (the CPU)"
    )
    parser.add_argument(
        "--precision",
        default="shipped",
        choices=PRECISION_NAMES,
        help="default: shipped, what the bundle chose",
    )
    parser.add_argument("--threads", type=_threads, default=0, metavar="N", help=THREADS_HELP)


def _threads(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected 0 or more")
    return int(text)


def _with_config(
    parser: argparse.ArgumentParser, default: object = Path("node.toml")
) -> argparse.ArgumentParser:
    parser.add_argument(
        "--config", type=Path, default=default, metavar="FILE", help="default: node.toml"
    )
    return parser
