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
from dicom_node.spool.removable import Planned

FAILING = "failed"


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
    """Carry out the plan unless it is a dry run, and print it; 1 where something did not go."""
    config = load_config(arguments.config)
    configure("console", "error")
    where = config.ledger_at
    require_sound(where)
    if not exists(where):
        sys.stderr.write(f"dicom-node: no node has run on {name_of(where)}\n")
        return FAILED
    ledger = Ledger.open(where, owner=config.node.name)
    purger = purger_of(config, ledger)
    plan = list(purger.plan())
    there: set[tuple[str, str]] | None = None
    if not arguments.dry_run:
        purger.round()
        there = {(p.study_instance_uid, p.what) for p in purger.plan()}
    marked = [(_mark(p, there), p) for p in plan]
    if arguments.as_json:
        rows = [asdict(p) | {"outcome": mark} for mark, p in marked]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        _print(marked)
    unlinked = list(ledger.discards.paths()) if there is not None else []
    if unlinked:
        sys.stderr.write(f"dicom-node: {len(unlinked)} files are given up and still there; the "
                         "log says why, and the node tries again\n")  # fmt: skip
    return FAILED if unlinked or any(mark == FAILING for mark, _ in marked) else 0


def _mark(planned: Planned, there: set[tuple[str, str]] | None) -> str:
    """What becomes of it: looked at after the removal (`there`), or as it would be without one."""
    if not planned.may_go:
        return "stays"
    if there is None:
        return "would go"
    return FAILING if (planned.study_instance_uid, planned.what) in there else "gone"


def _print(marked: list[tuple[str, Planned]]) -> None:
    """A line for each, and one for all of it."""
    console = Console(soft_wrap=True)
    if not marked:
        console.print("no study is at rest: nothing to remove")
    for mark, p in marked:
        size = f"{p.files} files, {p.bytes / 1e6:.1f} MB"
        console.print(shown(f"{mark:<9}{p.what:<8} {p.study_instance_uid}  {size}: {p.why}"))
    sizes = {mark: sum(p.bytes for m, p in marked if m == mark) / 1e6 for mark, _ in marked}
    told = ", ".join(f"{mb:.1f} MB {mark}" for mark, mb in sizes.items())
    studies = len({p.study_instance_uid for _, p in marked})
    if marked:
        console.print(f"{studies} {'study' if studies == 1 else 'studies'} at rest: {told}")
