"""`dicom-node recall`: take back what was answered, by a bundle or for a study.

The command writes the objects that say so, and their rows with the marks in one transaction for
each study, as `retry` asks the worker: what delivers sends them as it sends everything.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.commands import flags
from dicom_node.commands.keeping.withdrawing import Asked, Withdrawing
from dicom_node.config.loading import load_config
from dicom_node.config.whole import Config
from dicom_node.exit_status import FAILED
from dicom_node.ledger.database.look import exists, name_of, require_sound
from dicom_node.ledger.keeping.withdrawals import Decided
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.states import State
from dicom_node.observe.log import configure
from dicom_node.observe.plain import plain
from dicom_node.results.withdrawal.told import Cause

_UNDER_WAY = (State.QUEUED, State.ANALYZING)


@dataclass(frozen=True, slots=True)
class Recall:
    """What was asked for."""

    config: Path
    bundle: str | None
    """The beginning of a digest, or all of it."""
    study: str | None
    reason: str | None
    because: str
    yes: bool
    as_json: bool


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `recall`."""
    flags.add_config(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--bundle", metavar="DIGEST", help="all that a bundle has answered; its "
                      "digest, or as much of it as no other begins with")  # fmt: skip
    what.add_argument("--study", metavar="UID", help="all that was answered for a study")
    parser.add_argument("--reason", choices=[str(c) for c in Cause], help="what was wrong; with "
                        "--bundle the bundle is")  # fmt: skip
    parser.add_argument("--because", default="", metavar="TEXT", help="more, for the readers of "
                        "the reports; no patient data")  # fmt: skip
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--dry-run", dest="yes", action="store_false", help="only tell what there is; "
                     "so without --yes, too")  # fmt: skip
    how.add_argument("--yes", dest="yes", action="store_true", help="withdraw it")
    parser.set_defaults(yes=False)
    flags.add_json(parser)
    flags.gives(parser, Recall)


def run(arguments: Recall) -> int:
    """Tell what was answered, and withdraw it with --yes; 1 where something could not be."""
    config = load_config(arguments.config)
    configure("console", "error")
    where = config.ledger_at
    require_sound(where)
    try:
        if not exists(where):
            raise ValueError(f"no node has run on {name_of(where)}")
        ledger = Ledger.open(where, owner=config.node.name)
        asked, studies = _meant(ledger, arguments)
    except ValueError as error:
        text = json.dumps({"error": str(error)}) if arguments.as_json else f"dicom-node: {error}"
        sys.stderr.write(text + "\n")
        return FAILED
    told = [_of(config, ledger, asked, study, arguments.yes) for study in studies]
    if arguments.as_json:
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        _print(told, arguments.yes)
    return FAILED if any(one["troubles"] for one in told) else 0


def _meant(ledger: Ledger, arguments: Recall) -> tuple[Asked, list[str]]:
    """What is withdrawn, and in which studies. Raises ValueError with what to do."""
    because = arguments.because
    if arguments.study is not None:
        if ledger.queries.revision(arguments.study) is None:
            raise ValueError(f"no study {arguments.study}; `dicom-node studies` lists them")
        if arguments.reason is None:
            raise ValueError("--study needs --reason: was the bundle, the slide or the patient "
                             "wrong? The reports tell it")  # fmt: skip
        return Asked("", Cause(arguments.reason), because), [arguments.study]
    beginning = (arguments.bundle or "").removeprefix("sha256:").lower()
    if arguments.reason not in (None, str(Cause.BUNDLE)):
        raise ValueError(f"--reason {arguments.reason} is of a study: name it by --study UID")
    found = ledger.queries.digests(beginning) if beginning else []
    if not found:
        raise ValueError(f"no study was analyzed with a bundle whose digest begins with "
                         f"{beginning!r}; `dicom-node studies show` tells them")  # fmt: skip
    if len(found) > 1:
        raise ValueError(f"{len(found)} bundles have a digest that begins with {beginning}: "
                         f"{', '.join(found)}; give more of it")  # fmt: skip
    return Asked(found[0], Cause.BUNDLE, because), ledger.queries.studies_of(found[0])


def _of(config: Config, ledger: Ledger, asked: Asked, study: str, yes: bool) -> dict[str, Any]:
    """What there is of a study, and what became of it, as JSON values."""
    one = Withdrawing(config, ledger.queries.destinations(), asked, study)
    decided = Decided(())
    if yes:
        decided = ledger.withdrawals.withdraw(study, one.decide)
    else:
        one.choose(ledger.queries.answers(study))
    one.troubles.extend(_still_to_come(ledger, asked, study))
    return {
        "study_instance_uid": study,
        "objects": [
            {
                "revision": a.revision,
                "sop_instance_uid": a.result.sop_instance_uid,
                "kind": a.result.kind,
                "slide": a.result.slide,
                "model": a.result.model,
                "silent": a.result.silent,
                "replaced": a.result.replaced,
                "delivered_to": a.had_by,
                "is_here": one.is_here(a.result),
                "withdrawn": a.result.sop_instance_uid in decided.withdrawn,
            }
            for a in one.chosen
        ],
        "sent": [
            {"sop_instance_uid": m.result.sop_instance_uid, "kind": m.result.kind, "to": [*m.to]}
            for m in decided.made
        ],
        "told": one.told,
        "troubles": one.troubles,
    }


def _still_to_come(ledger: Ledger, asked: Asked, study: str) -> Iterator[str]:
    """What is being made at this moment is not there to be withdrawn."""
    last = ledger.queries.revision(study)
    if last is None or last.state not in _UNDER_WAY:
        return
    ran = {m.bundle_digest for m in ledger.queries.models(last.run)}
    if not asked.digest or last.state is State.QUEUED or asked.digest in ran:
        yield (
            f"study {study} is {last.state}: what comes of that is not withdrawn; take the cause "
            "away and recall it once more when it is done, or `dicom-node studies cancel` it first"
        )


def _print(told: list[dict[str, Any]], is_done: bool) -> None:
    say = sys.stdout.write
    for one in told:
        objects = one["objects"]
        if objects:
            say(f"study {one['study_instance_uid']}\n")
        for o in objects:
            say(plain(f"  {_mark(o, is_done):<16}{o['kind']} of {o['slide'] or '-'}, {_where(o)}"))
            say(f"\n                  {o['sop_instance_uid']}\n")
        for sent in one["sent"]:
            if sent["to"]:
                say(f"  sent            {sent['kind']} to {', '.join(sent['to'])}\n")
        for line in one["told"]:
            say(plain(f"  {line}") + "\n")
        for line in one["troubles"]:
            sys.stderr.write(plain(f"dicom-node: {line}") + "\n")
    number = sum(len(one["objects"]) for one in told)
    of = f"{number} objects of {sum(bool(one['objects']) for one in told)} studies"
    if not number:
        say("nothing was answered that is not withdrawn already\n")
    elif is_done:
        say(f"{of}; those that say so are sent by the node. `dicom-node studies show` tells how "
            "far it is\n")  # fmt: skip
    else:
        say(f"{of} would be withdrawn; --yes does it\n")


def _mark(told: dict[str, Any], is_done: bool) -> str:
    if not is_done:
        return "to withdraw"
    return "withdrawn" if told["withdrawn"] else "NOT withdrawn"


def _where(told: dict[str, Any]) -> str:
    """Who has it, and whether its file is here."""
    had = ", ".join(told["delivered_to"])
    where = f"delivered to {had}" if had else "silent" if told["silent"] else "delivered to nobody"
    return f"{where}, file {'here' if told['is_here'] else 'gone'}"
