"""`dicom-node hold UID`: nothing of a study is removed or erased until it is released."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dicom_node.commands import flags
from dicom_node.config.loading import load_config
from dicom_node.exit_status import FAILED
from dicom_node.ledger.database.look import exists, name_of, require_sound
from dicom_node.ledger.ledger import Ledger
from dicom_node.spool.pledges import Pledges


@dataclass(frozen=True, slots=True)
class Hold:
    """What was asked for."""

    config: Path
    uid: str
    release: bool
    reason: str


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `hold`."""
    flags.add_config(parser)
    parser.add_argument("uid", metavar="UID", help="Study Instance UID")
    parser.add_argument("--release", action="store_true", help="end the hold")
    parser.add_argument("--reason", default="", help="for the story of the study; no patient data")
    flags.gives(parser, Hold)


def run(arguments: Hold) -> int:
    """Hold or release; 1 for an unknown study, or when there is no hold to end."""
    config = load_config(arguments.config)
    where = config.ledger_at
    require_sound(where)
    known = exists(where)
    study = arguments.uid
    try:
        if not known:
            raise KeyError(study)
        ledger = Ledger.open(where, owner=config.node.name)
        holds, pledges = ledger.holds, Pledges(config.node.data_dir)
        if not arguments.release:
            if ledger.queries.revision(study) is None:
                raise KeyError(study)
            token = pledges.hold(study, arguments.reason)
            data_dir = config.node.data_dir
            holds.hold(study, arguments.reason, lambda p: (data_dir / p).exists(), token)
            sys.stdout.write(f"study {study} is on hold: nothing of it is removed\n")
            return 0
        is_released = holds.release(study)
        with suppress(OSError):  # the next round of purging sees that it is over
            pledges.release(study)
    except KeyError:
        sys.stderr.write(f"dicom-node: no study {study} in {name_of(where)}\n")
        return FAILED
    if not is_released:
        sys.stderr.write(f"dicom-node: study {study} was not on hold\n")
        return FAILED
    sys.stdout.write(f"study {study} is released\n")
    return 0
