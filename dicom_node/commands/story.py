"""The whole story of one study, as `dicom-node studies show` tells it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from rich.console import Console

from dicom_node.commands.screen.models import print_models
from dicom_node.commands.screen.shown import shown
from dicom_node.exit_status import FAILED
from dicom_node.ledger.counted import LevelEvidence
from dicom_node.ledger.database.database import Database
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Delivery, Overview, Result, Revision
from dicom_node.ledger.states import DeliveryState, State
from inference.case.values import CASE


def show(ledger: Ledger, uid: str, *, as_json: bool) -> int:
    """Print all of it; 1 when the study is unknown."""
    revisions = ledger.queries.of_study(uid)
    if not revisions:
        sys.stderr.write(f"dicom-node: no study {uid}; `dicom-node studies` lists them\n")
        return FAILED
    queries, now = ledger.queries, ledger.database.now()
    story: dict[str, Any] = {
        "study_instance_uid": uid,
        "revisions": [
            {
                **of(r, queries.results(uid, r.revision), queries.deliveries(uid, r.revision), now),
                "models": [asdict(run) for run in queries.models(r.run)],
            }
            for r in revisions
        ],
        "destinations": {n: asdict(d) for n, d in ledger.queries.destinations().items()},
        "paused": ledger.switches.paused(),
        "events": [asdict(e) for e in ledger.queries.events(uid)],
    }
    held = ledger.holds.since(uid)
    story["hold"] = None if held is None else {"at": held[0], "reason": held[1]}
    if as_json:
        sys.stdout.write(json.dumps(story, indent=2) + "\n")
        return 0
    console = Console(soft_wrap=True)
    for revision in revisions:
        _print_revision(console, ledger, revision)
    if held is not None:
        why = f": {held[1]}" if held[1] else ""
        line = f"  On hold   since {_time(ledger.database, held[0])}{why}; nothing is removed"
        console.print(shown(line, style="yellow"))
    print_destination_problems(console, ledger)
    print_paused(console, ledger)
    console.print("\n[bold]Events[/bold]")
    for event in story["events"]:
        fields = "  ".join(f"{k}={v}" for k, v in event["fields"].items())
        console.print(shown(f"  {_time(ledger.database, event['at'])}  {event['kind']}  {fields}"))
    return 0


def of(
    revision: Revision, results: Sequence[Result], deliveries: Sequence[Delivery], now: float
) -> dict[str, Any]:
    """Everything the ledger knows of a revision, as JSON values."""
    return {
        **asdict(revision),
        "timings_s": timings(revision, now),
        "results": [asdict(r) for r in results],
        "deliveries": [asdict(d) for d in deliveries],
    }


def timings(r: Revision | Overview, now: float) -> dict[str, float]:
    """Seconds spent in each stage so far."""
    spans = {
        "receiving": (r.opened_at, r.last_instance_at),
        "quiet": (r.last_instance_at, r.closed_at),
        "queued": (r.closed_at, r.started_at),
        "analyzing": (r.started_at, r.analyzed_at or now),
        "delivering": (r.analyzed_at, r.finished_at or now),
    }
    return {
        name: round(max(0.0, end - start), 2)
        for name, (start, end) in spans.items()
        if start is not None and end is not None
    }


def note(r: Revision | Overview) -> str:
    """How far it is, or why it stands where it does."""
    if r.state is State.ANALYZING and r.tiles_total:
        share = f"slide {r.slide}: {r.tiles_done} of {r.tiles_total} tiles"
        left_s = (r.tiles_total - r.tiles_done) / r.tiles_per_s if r.tiles_per_s else 0.0
        return f"{share}, {r.tiles_per_s:.0f} tiles/s, {left_s:.0f} s left"
    return r.reason or ""


def engine_of(r: Revision, results: Sequence[Result]) -> str:
    """What its objects were made with, as they say; of an attempt that has made none yet, or of
    objects of earlier versions, what it was begun with."""
    standing = [result for result in results if not result.replaced]
    named = list(dict.fromkeys(result.engine for result in standing if result.engine))
    begun = f"{r.engine}, no object yet" if r.engine and not standing else r.engine
    return "; ".join(named) or begun or "-"


def print_destination_problems(console: Console, ledger: Ledger) -> None:
    """What a destination was last seen not to accept: known before results are made for it."""
    for name, seen in ledger.queries.destinations().items():
        if seen.reason:
            at = _time(ledger.database, seen.checked_at)
            console.print(shown(f"Destination {name}, asked {at}: {seen.reason}", style="yellow"))


def print_paused(console: Console, ledger: Ledger) -> None:
    """What an operator has paused."""
    for name, at in ledger.switches.paused().items():
        since = _time(ledger.database, at)
        told = f"Paused since {since}: {name}; `dicom-node resume {name}` lets it go on"
        console.print(shown(told, style="yellow"))


def _print_revision(console: Console, ledger: Ledger, r: Revision) -> None:
    console.print(f"\n[bold]Study {r.study_instance_uid}, revision {r.revision}[/bold]")
    at = partial(_time, ledger.database)
    results = ledger.queries.results(r.study_instance_uid, r.revision)
    rows = {
        "State": f"{r.state.value}{': ' + note(r) if note(r) else ''}",
        "Received": f"{at(r.opened_at)} to {at(r.last_instance_at)}",
        "Closed": at(r.closed_at),
        "Engine": engine_of(r, results),
        "Attempt": f"{r.attempt} ({r.failures} failed)",
        "Timings": "  ".join(f"{k} {v:g} s" for k, v in timings(r, ledger.database.now()).items()),
    }
    for name, value in rows.items():
        console.print(shown(f"  {name:<9} {value}"))
    print_models(console, ledger, r)
    for slide in r.evidence.slides if r.evidence else ():
        console.print(shown(f"  Slide {slide.key}   container {slide.container_identifier}"))
        for level in slide.levels:
            console.print(shown(f"    {_level_line(level)}"))
    received = ledger.queries.instances(r.study_instance_uid, r.revision)
    if gone := [i.purged_at for i in received if i.purged_at is not None]:
        line = f"  Removed   {len(gone)} of {len(received)} received files, {at(max(gone))}"
        console.print(shown(f"{line}; a resend is compared by digest, and not analyzed again"))
    kinds = {result.sop_instance_uid: result.kind for result in results}
    for result in results:
        by = f" by {result.model}{', silent' if result.silent else ''}" if result.model else ""
        of = "the case" if result.slide == CASE else f"slide {result.slide}"
        told = f"  Result    {result.kind} of {of}{by}: {result.path}"
        told += f", {result.engine}" if result.engine else ""
        if result.withdrawn_at is not None:
            told += f", WITHDRAWN {at(result.withdrawn_at)}"
        elif result.replaced:
            told += ", replaced"
        console.print(shown(told))
        console.print(shown(f"            {result.sop_instance_uid}", style="dim"))
    for delivery in ledger.queries.deliveries(r.study_instance_uid, r.revision):
        kind = kinds[delivery.sop_instance_uid]
        console.print(shown(f"  Delivery  {kind} to {_delivery_line(ledger, delivery)}"))


def _level_line(level: LevelEvidence) -> str:
    frames = f"{level.frames} of {level.expected_frames}" if level.expected_frames else level.frames
    parts = "" if level.parts == 1 else f", {level.parts} of {level.expected_parts} parts"
    missing = f"  MISSING: {'; '.join(level.missing)}" if level.missing else ""
    size = f"{level.rows} x {level.cols}"
    return f"{level.flavor:<9} {size:<16} {level.organization} {frames} frames{parts}{missing}"


def _delivery_line(ledger: Ledger, d: Delivery) -> str:
    line = f"{d.destination}: {d.state.value}, {d.attempts} attempt(s)"
    if d.status:
        line += f", status {d.status}"
    if d.delivered_at:
        line += f", {_time(ledger.database, d.delivered_at)}"
    if d.proof:
        line += f", {d.proof.value}"
    if d.error:
        line += f", {d.error}"
    if d.next_attempt_at and d.state is DeliveryState.PENDING:
        line += f", next attempt in {max(0.0, d.next_attempt_at - ledger.database.now()):.0f} s"
    return line


def _time(database: Database, at: float | None) -> str:
    if at is None:
        return "-"
    return datetime.fromtimestamp(database.wall_time(at), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
