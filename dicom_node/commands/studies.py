"""`dicom-node studies`: all in a table, one's whole story, or an end to what it does."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style

from dicom_node.commands import flags, story
from dicom_node.commands.cancel import cancel
from dicom_node.commands.screen.models import print_shares
from dicom_node.commands.story import timings
from dicom_node.config.loading import load_config
from dicom_node.exit_status import FAILED
from dicom_node.ledger.database.look import exists, name_of, require_sound
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Overview
from dicom_node.ledger.states import State
from dicom_node.observe.plain import plain

_STYLE = {
    State.DONE: "green",
    State.PARKED: "bold red",
    State.ANALYZING: "cyan",
    State.DELIVERING: "cyan",
    State.SUPERSEDED: "dim",
}


@dataclass(frozen=True, slots=True)
class Studies:
    """What was asked for."""

    config: Path
    as_json: bool
    uid: str | None
    """The study to show or to cancel; None for the list of all."""
    cancels: bool


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `studies`, and of `studies show` and `studies cancel`."""
    flags.add_config(parser)
    flags.add_json(parser)
    parser.set_defaults(uid=None, cancels=False)
    actions = parser.add_subparsers(metavar="show|cancel")
    for name, help in {"show": "one study", "cancel": "end what is under way, and park"}.items():
        action = actions.add_parser(name, help=help)
        action.add_argument("uid", metavar="UID", help="Study Instance UID")
        flags.add_config(action, is_repeated=True)
        action.add_argument(
            "--json", dest="as_json", action="store_true", default=argparse.SUPPRESS
        )
        action.set_defaults(cancels=name == "cancel")
    flags.gives(parser, Studies)


def run(arguments: Studies) -> int:
    """List studies, show or cancel one; 1 when the one asked for is unknown."""
    where = load_config(arguments.config).ledger_at
    require_sound(where)
    if not exists(where):
        sys.stderr.write(f"dicom-node: no study yet: no node has run on {name_of(where)}\n")
        return FAILED
    ledger = Ledger.open(where)
    if arguments.uid is not None and arguments.cancels:
        return cancel(ledger, arguments.uid, as_json=arguments.as_json)
    if arguments.uid is not None:
        return story.show(ledger, arguments.uid, as_json=arguments.as_json)
    if arguments.as_json:
        sys.stdout.write(json.dumps(_stories(ledger), indent=2) + "\n")
        return 0
    console = Console(soft_wrap=True)  # a UID or a path is never broken
    listed = ledger.queries.overview()
    if not listed:
        console.print("no study has arrived yet")
    now = ledger.database.now()
    lines = [line for r in listed for line in _lines(r, now, console)]
    console.file.write("".join(f"{line}\n" for line in lines))  # to render each takes seconds
    print_shares(console, ledger)
    story.print_destination_problems(console, ledger)
    story.print_paused(console, ledger)
    return 0


def _stories(ledger: Ledger) -> list[dict[str, Any]]:
    """Everything the ledger knows of every revision, as JSON values."""
    results, deliveries = ledger.queries.all_results(), ledger.queries.all_deliveries()
    now = ledger.database.now()
    told = []
    for r in ledger.queries.all_revisions():
        key = (r.study_instance_uid, r.revision)
        told.append(story.of(r, results[key], deliveries[key], now))
    return told


def _lines(r: Overview, now: float, console: Console) -> Iterator[str]:
    """Two lines per study, three where there is something to say."""
    state, uid = f"{r.state.value:<11}", r.study_instance_uid
    if console.is_terminal:
        system = ColorSystem.STANDARD
        state = Style.parse(_STYLE.get(r.state, "none")).render(state, color_system=system)
        uid = Style(bold=True).render(uid, color_system=system)
    yield state + uid
    counted = f"{r.slides} slide(s), {r.instances} instances"
    if r.slides is None:
        counted = "not counted yet"
    spent = " ".join(f"{k} {v:.1f}s" for k, v in timings(r, now).items())
    delivered = f"{r.delivered} of {r.deliveries}" if r.deliveries else "-"
    yield " " * 11 + f"revision {r.revision} | {counted} | {spent} | delivered {delivered}"
    if said := story.note(r):
        yield " " * 11 + plain(said)
