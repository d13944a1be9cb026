"""`dicom-node purge`: remove what may go now, or print what would and why the rest stays."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from dicom_node.commands import flags
from dicom_node.commands.screen.shown import shown
from dicom_node.config.loading import load_config
from dicom_node.deliver.keeping import purger_of
from dicom_node.exit_status import FAILED
from dicom_node.ledger.database.look import exists, name_of, require_sound
from dicom_node.ledger.ledger import Ledger
from dicom_node.observe.log import configure


@dataclass(frozen=True, slots=True)
class Purge:
    """What was asked for."""

    config: Path
    dry_run: bool
    as_json: bool


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `purge`."""
    flags.add_config(parser)
    parser.add_argument("--dry-run", action="store_true", help="remove nothing")
    flags.add_json(parser)
    flags.gives(parser, Purge)


def run(arguments: Purge) -> int:
    """Print the plan, and carry it out unless it is a dry run."""
    config = load_config(arguments.config)
    configure("console", "error")
    where = config.ledger_at
    require_sound(where)
    if not exists(where):
        sys.stderr.write(f"dicom-node: no node has run on {name_of(where)}\n")
        return FAILED
    purger = purger_of(config, Ledger.open(where, owner=config.node.name))
    plan = list(purger.plan())
    if not arguments.dry_run:
        purger.round()
    if arguments.as_json:
        sys.stdout.write(json.dumps([asdict(p) for p in plan], indent=2) + "\n")
        return 0
    console = Console(soft_wrap=True)
    if not plan:
        console.print("no study is at rest: nothing to remove")
    for p in plan:
        mark = ("would go" if arguments.dry_run else "gone") if p.may_go else "stays"
        size = f"{p.files} files, {p.bytes / 1e6:.1f} MB"
        console.print(shown(f"{mark:<9}{p.what:<8} {p.study_instance_uid}  {size}: {p.why}"))
    going = sum(p.bytes for p in plan if p.may_go)
    studies = len({p.study_instance_uid for p in plan})
    verb = "would go" if arguments.dry_run else "gone"
    at_rest = f"{sum(p.bytes for p in plan) / 1e6:.1f} MB of {studies} studies at rest"
    console.print(f"{going / 1e6:.1f} MB {verb}, of {at_rest}")
    return 0
