"""`dicom-node retry UID`: run a study again. The running worker takes it up."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from dicom_node.commands import flags
from dicom_node.config.loading import load_config
from dicom_node.exit_status import FAILED
from dicom_node.ledger.database.look import exists, name_of, require_sound
from dicom_node.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Retry:
    """What was asked for."""

    config: Path
    uid: str
    as_json: bool


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `retry`."""
    flags.add_config(parser)
    parser.add_argument("uid", metavar="UID", help="Study Instance UID")
    flags.add_json(parser)
    flags.gives(parser, Retry)


def run(arguments: Retry) -> int:
    """Queue the latest revision once more; 1 when there is none, or it is still receiving."""
    config = load_config(arguments.config)
    where, name = config.ledger_at, name_of(config.ledger_at)
    require_sound(where)
    if not exists(where):
        return _refuse(arguments.as_json, f"no study {arguments.uid}: no node has run on {name}")
    ledger = Ledger.open(where)
    try:
        attempt = ledger.studies.retry(arguments.uid)
    except KeyError:
        return _refuse(arguments.as_json, f"no study {arguments.uid} in {name}")
    except ValueError as error:
        return _refuse(arguments.as_json, str(error))
    answer = {"study_instance_uid": arguments.uid, "attempt": attempt}
    text = f"study {arguments.uid} is queued again, attempt {attempt}"
    if attempt is None:
        text = f"study {arguments.uid} is counted again, and analyzed when it is complete"
    sys.stdout.write((json.dumps(answer) if arguments.as_json else text) + "\n")
    return 0


def _refuse(as_json: bool, reason: str) -> int:
    sys.stderr.write((json.dumps({"error": reason}) if as_json else f"dicom-node: {reason}") + "\n")
    return FAILED
