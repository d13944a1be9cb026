"""Flags that several commands have, and how what was typed becomes a command's own values."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from dicom_node.config.languages import LANGUAGES
from dicom_node.results import kinds
from engines.names import ENGINE_NAMES, PRECISION_NAMES

_KIND = "arguments_kind"


def gives(parser: argparse.ArgumentParser, kind: type[Any]) -> None:
    """Whoever chooses `parser` gets a `kind`: a dataclass with a field for each flag."""
    parser.set_defaults(**{_KIND: kind})


def given(namespace: argparse.Namespace) -> Any:
    """The dataclass of the command that was chosen, filled with what was typed."""
    kind = getattr(namespace, _KIND)
    return kind(**{field.name: getattr(namespace, field.name) for field in fields(kind)})


def add_config(parser: argparse.ArgumentParser, *, is_repeated: bool = False) -> None:
    """`--config`, as `config`; repeated after a sub-command, it leaves what stood before it."""
    parser.add_argument(
        "--config",
        type=Path,
        default=argparse.SUPPRESS if is_repeated else Path("node.toml"),
        metavar="FILE",
        help="default: node.toml",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`, as `as_json`."""
    parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON")


def add_objects(parser: argparse.ArgumentParser) -> None:
    """`--objects`: names of kinds that are made because they are asked for."""
    parser.add_argument(
        "--objects",
        type=_kinds,
        default=frozenset(),
        metavar="KIND,...",
        help=f"make these as well: {', '.join(kinds.asked_names())}, or all",
    )


def add_language(parser: argparse.ArgumentParser) -> None:
    """`--language`: that of what people read in the objects."""
    parser.add_argument(
        "--language",
        default="en",
        choices=LANGUAGES,
        help="of titles and sentences in the objects; default: en",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """`--engine`, `--precision` and `--threads`: what a bundle runs on."""
    parser.add_argument(
        "--engine",
        default="auto",
        choices=ENGINE_NAMES,
        help="default: auto (outside of a node: the CPU)",
    )
    parser.add_argument(
        "--precision",
        default="shipped",
        choices=PRECISION_NAMES,
        help="default: shipped, what the bundle chose",
    )
    add_threads(parser)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """`--threads`, 0 or more."""
    parser.add_argument(
        "--threads",
        type=_threads,
        default=0,
        metavar="N",
        help="CPU threads; default: 0, all cores",
    )


def _threads(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected 0 or more")
    return int(text)


def _kinds(text: str) -> frozenset[str]:
    """Names of kinds; those that are made anyway may be among them."""
    names = {name.strip() for name in text.split(",") if name.strip()}
    known = {kind.name for kind in kinds.KINDS}
    if unknown := sorted(names - known - {"all"}):
        raise argparse.ArgumentTypeError(
            f"found {', '.join(unknown)}; expected some of {', '.join(sorted(known))}, or all"
        )
    return frozenset(kinds.asked_names() if "all" in names else names & {*kinds.asked_names()})
