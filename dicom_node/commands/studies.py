"""`dicom-node studies`: every study in a table, or one study's whole story."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from dicom_node.commands import flags
from dicom_node.config import load_config
from dicom_node.exit_status import FAILED
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Delivery, Revision
from dicom_node.ledger.sqlite import require_sound
from dicom_node.ledger.states import DeliveryState, State

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
    """The study to show; None for the list of all."""


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `studies`, and of `studies show`."""
    flags.add_config(parser)
    flags.add_json(parser)
    parser.set_defaults(uid=None)
    show = parser.add_subparsers(metavar="show").add_parser("show", help="one study")
    show.add_argument("uid", metavar="UID", help="Study Instance UID")
    flags.add_config(show, is_repeated=True)
    show.add_argument("--json", dest="as_json", action="store_true", default=argparse.SUPPRESS)
    flags.gives(parser, Studies)


def run(arguments: Studies) -> int:
    """List studies, or show one; 1 when the one asked for is unknown."""
    path = load_config(arguments.config).database_path
    require_sound(path)
    if not path.exists():
        sys.stderr.write(f"dicom-node: no study yet: no node has run on {path.parent}\n")
        return FAILED
    ledger = Ledger.open(path)
    if arguments.uid is not None:
        return _show(ledger, arguments.uid, as_json=arguments.as_json)
    revisions = ledger.queries.all_revisions()
    if arguments.as_json:
        stories = [_story(ledger, revision) for revision in revisions]
        sys.stdout.write(json.dumps(stories, indent=2) + "\n")
        return 0
    console = Console(soft_wrap=True)  # a UID or a path is never broken
    if not revisions:
        console.print("no study has arrived yet")
        return 0
    for revision in revisions:
        _print_line(console, ledger, revision)
    _print_destination_problems(console, ledger)
    return 0


def _show(ledger: Ledger, uid: str, *, as_json: bool) -> int:
    revisions = [r for r in ledger.queries.all_revisions() if r.study_instance_uid == uid]
    if not revisions:
        sys.stderr.write(f"dicom-node: no study {uid}; `dicom-node studies` lists them\n")
        return FAILED
    story: dict[str, Any] = {
        "study_instance_uid": uid,
        "revisions": [_story(ledger, r) for r in revisions],
        "destinations": {n: asdict(d) for n, d in ledger.queries.destinations().items()},
        "events": [asdict(e) for e in ledger.queries.events(uid)],
    }
    if as_json:
        sys.stdout.write(json.dumps(story, indent=2) + "\n")
        return 0
    console = Console(soft_wrap=True)
    for revision in revisions:
        _print_revision(console, ledger, revision)
    _print_destination_problems(console, ledger)
    console.print("\n[bold]Events[/bold]")
    for event in story["events"]:
        fields = "  ".join(f"{k}={v}" for k, v in event["fields"].items())
        console.print(Text(f"  {_time(event['at'])}  {event['kind']}  {fields}"))
    return 0


def _story(ledger: Ledger, revision: Revision) -> dict[str, Any]:
    """Everything the ledger knows of a revision, as JSON values."""
    study, number = revision.study_instance_uid, revision.revision
    return {
        **asdict(revision),
        "timings_s": _timings(ledger, revision),
        "results": [asdict(r) for r in ledger.queries.results(study, number)],
        "deliveries": [asdict(d) for d in ledger.queries.deliveries(study, number)],
    }


def _timings(ledger: Ledger, r: Revision) -> dict[str, float]:
    """Seconds spent in each stage so far."""
    spans = {
        "receiving": (r.opened_at, r.last_instance_at),
        "quiet": (r.last_instance_at, r.closed_at),
        "queued": (r.closed_at, r.started_at),
        "analyzing": (r.started_at, r.analyzed_at or ledger.database.now()),
        "delivering": (r.analyzed_at, r.finished_at or ledger.database.now()),
    }
    return {
        name: round(max(0.0, end - start), 2)
        for name, (start, end) in spans.items()
        if start is not None and end is not None
    }


def _print_line(console: Console, ledger: Ledger, r: Revision) -> None:
    """Two lines per study, three where there is something to say."""
    deliveries = ledger.queries.deliveries(r.study_instance_uid, r.revision)
    state = Text(f"{r.state.value:<11}", style=_STYLE.get(r.state, ""))
    facts = [
        f"revision {r.revision}",
        _evidence_line(r.evidence),
        " ".join(f"{k} {v:.1f}s" for k, v in _timings(ledger, r).items()),
        f"delivered {_delivered_line(deliveries)}",
    ]
    console.print(state + Text(r.study_instance_uid, style="bold"))
    console.print(Text(" " * 11 + " | ".join(facts)))
    if note := _note(r):
        console.print(Text(" " * 11 + note))


def _print_destination_problems(console: Console, ledger: Ledger) -> None:
    """What a destination was last seen not to accept: known before results are made for it."""
    for name, seen in ledger.queries.destinations().items():
        if seen.reason:
            at = _time(seen.checked_at)
            console.print(Text(f"Destination {name}, asked {at}: {seen.reason}", style="yellow"))


def _evidence_line(evidence: dict[str, Any] | None) -> str:
    if evidence is None:
        return "not counted yet"
    slides = evidence["slides"]
    frames = sum(level["frames"] for slide in slides for level in slide["levels"])
    return f"{len(slides)} slide(s), {evidence['instances']} instances, {frames} frames"


def _delivered_line(deliveries: list[Delivery]) -> str:
    done = sum(d.state is DeliveryState.DELIVERED for d in deliveries)
    return f"{done} of {len(deliveries)}" if deliveries else "-"


def _note(r: Revision) -> str:
    if r.state is State.ANALYZING and r.tiles_total:
        share = f"slide {r.slide}: {r.tiles_done} of {r.tiles_total} tiles"
        left_s = (r.tiles_total - r.tiles_done) / r.tiles_per_s if r.tiles_per_s else 0.0
        return f"{share}, {r.tiles_per_s:.0f} tiles/s, {left_s:.0f} s left"
    return r.reason or ""


def _print_revision(console: Console, ledger: Ledger, r: Revision) -> None:
    console.print(f"\n[bold]Study {r.study_instance_uid}, revision {r.revision}[/bold]")
    rows = {
        "State": f"{r.state.value}{': ' + _note(r) if _note(r) else ''}",
        "Received": f"{_time(r.opened_at)} to {_time(r.last_instance_at)}",
        "Closed": _time(r.closed_at),
        "Engine": r.engine or "-",
        "Attempt": f"{r.attempt} ({r.failures} failed)",
        "Timings": "  ".join(f"{k} {v:g} s" for k, v in _timings(ledger, r).items()),
    }
    for name, value in rows.items():
        console.print(Text(f"  {name:<9} {value}"))
    for slide in (r.evidence or {}).get("slides", []):
        console.print(Text(f"  Slide {slide['key']}   container {slide['container_identifier']}"))
        for level in slide["levels"]:
            console.print(Text(f"    {_level_line(level)}"))
    results = ledger.queries.results(r.study_instance_uid, r.revision)
    kinds = {result.sop_instance_uid: result.kind for result in results}
    for result in results:
        console.print(Text(f"  Result    {result.kind} of slide {result.slide}: {result.path}"))
        console.print(Text(f"            {result.sop_instance_uid}", style="dim"))
    for delivery in ledger.queries.deliveries(r.study_instance_uid, r.revision):
        kind = kinds[delivery.sop_instance_uid]
        console.print(Text(f"  Delivery  {kind} to {_delivery_line(ledger, delivery)}"))


def _level_line(level: dict[str, Any]) -> str:
    expected = level["expected_frames"]
    arithmetic = (
        f"{level['frames']} of {expected} frames" if expected else f"{level['frames']} frames"
    )
    parts = "" if level["parts"] == 1 else f", {level['parts']} of {level['expected_parts']} parts"
    missing = f"  MISSING: {'; '.join(level['missing'])}" if level["missing"] else ""
    size = f"{level['rows']} x {level['cols']}"
    return f"{level['flavor']:<9} {size:<16} {level['organization']} {arithmetic}{parts}{missing}"


def _delivery_line(ledger: Ledger, d: Delivery) -> str:
    line = f"{d.destination}: {d.state.value}, {d.attempts} attempt(s)"
    if d.status:
        line += f", status {d.status}"
    if d.delivered_at:
        line += f", {_time(d.delivered_at)}"
    if d.error:
        line += f", {d.error}"
    if d.next_attempt_at and d.state is DeliveryState.PENDING:
        line += f", next attempt in {max(0.0, d.next_attempt_at - ledger.database.now()):.0f} s"
    return line


def _time(at: float | None) -> str:
    if at is None:
        return "-"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
