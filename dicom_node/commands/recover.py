"""`dicom-node recover`: files of lost+found, recorded again. The running worker takes them up."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from dicom_node.commands import flags
from dicom_node.commands.screen.shown import shown
from dicom_node.config.loading import load_config
from dicom_node.config.whole import Config
from dicom_node.deliver.keeping import purger_of
from dicom_node.exit_status import FAILED
from dicom_node.ledger.database.look import require_sound
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.states import State
from dicom_node.spool.filing import Outcome
from dicom_node.spool.lost_found import LostFound, LostFoundBusy
from dicom_node.spool.pledges import Pledges
from dicom_node.spool.recovery import Left, Recovered, Recovery
from dicom_node.spool.spool import Spool, SpoolUnusable

_MOVING = (Outcome.NEW, Outcome.RESTORED)  # what lets a study go on


@dataclass(frozen=True, slots=True)
class Recover:
    """What was asked for."""

    config: Path
    as_json: bool


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `recover`."""
    flags.add_config(parser)
    flags.add_json(parser)
    flags.gives(parser, Recover)


def run(arguments: Recover) -> int:
    """Record every file that can be; 1 when one had to be left."""
    config = load_config(arguments.config)
    require_sound(config.ledger_at)
    spool = Spool(config.spool_dir, 0, writer=config.spool_writer)
    lost_found = LostFound(spool)
    answers: list[Recovered | Left] = []
    parked: list[str] = []
    if lost_found.names():  # without any, no database is made
        ledger = Ledger.open(config.ledger_at, owner=config.node.name)
        try:
            answers = list(Recovery(spool, ledger).run())
        except (LostFoundBusy, SpoolUnusable) as error:
            sys.stderr.write(f"dicom-node: {error}\n")
            return FAILED
        _remember(config, ledger, answers)
        parked = _parked(ledger, answers)
    report = _report(str(lost_found.folder), answers, parked)
    if arguments.as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _print(report)
    return FAILED if report["left"] else 0


def _remember(config: Config, ledger: Ledger, answers: list[Recovered | Left]) -> None:
    """Promise and hold what was promised and held in the database that was lost."""
    pledges = Pledges(config.node.data_dir)
    for study in sorted({a.study_instance_uid for a in answers if isinstance(a, Recovered)}):
        uids = [i.sop_instance_uid for i in ledger.retention.inputs(study)]
        if promised := pledges.promised(uids):
            ledger.promises.remember(promised)
    purger_of(config, ledger).remember_holds()


def _parked(ledger: Ledger, answers: list[Recovered | Left]) -> list[str]:
    """Studies that got a file back and do not go on by themselves."""
    restored = {
        a.study_instance_uid
        for a in answers
        if isinstance(a, Recovered) and a.outcome is Outcome.RESTORED
    }
    latest = {study: ledger.queries.revision(study) for study in sorted(restored)}
    return [study for study, r in latest.items() if r is not None and r.state is State.PARKED]


def _report(folder: str, answers: list[Recovered | Left], parked: list[str]) -> dict[str, Any]:
    taken = [a for a in answers if isinstance(a, Recovered)]
    counts = Counter(a.outcome for a in taken)
    return {
        "lost_found": folder,
        "recorded": counts[Outcome.NEW],
        "restored": counts[Outcome.RESTORED],
        "already_there": counts[Outcome.IDENTICAL],
        "studies": sorted({a.study_instance_uid for a in taken if a.outcome in _MOVING}),
        "parked": parked,
        "left": [asdict(a) for a in answers if isinstance(a, Left)],
    }


def _print(report: dict[str, Any]) -> None:
    console = Console(soft_wrap=True)  # a UID or a path is never broken
    left = report["left"]
    if not left and not any(report[k] for k in ("recorded", "restored", "already_there")):
        console.print(shown(f"nothing to recover: no file in {report['lost_found']}"))
        console.print("a start of the node moves files there that its database does not know")
        return
    console.print(f"Recorded       {report['recorded']} instance(s): a running node goes on")
    console.print(f"Restored       {report['restored']} instance(s) whose file was lost or damaged")
    console.print(f"Already there  {report['already_there']} instance(s), byte for byte")
    console.print(f"Studies        {len(report['studies'])}")
    for study in report["studies"]:
        console.print(shown(f"  {study}"))
    for study in report["parked"]:
        console.print(shown(f"  parked before its file came back: dicom-node retry {study}"))
    if left:
        console.print(shown(f"Left           {len(left)} file(s) in {report['lost_found']}", "red"))
    for file in left:
        console.print(shown(f"  {file['name']}: {file['reason']}"))
