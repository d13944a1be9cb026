"""`dicom-node pause|resume NAME`: for maintenance, of intake, analysis or one destination."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from dicom_node.commands import flags
from dicom_node.config.loading import load_config
from dicom_node.exit_status import FAILED
from dicom_node.ledger.database.look import require_sound
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.switches import ANALYSIS, INTAKE

_MEANS = {
    INTAKE: "C-STORE is answered A700 (out of resources), echoes as ever",
    ANALYSIS: "no slide is begun; the one under way is finished",
}
_OF_DESTINATION = "its deliveries wait; the one under way is finished"


@dataclass(frozen=True, slots=True)
class Pause:
    """What was asked for."""

    command: str
    """`pause` or `resume`."""
    config: Path
    name: str
    as_json: bool


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of `pause` and `resume`."""
    flags.add_config(parser)
    parser.add_argument("name", metavar="NAME", help="intake, analysis, or a destination's name")
    flags.add_json(parser)
    flags.gives(parser, Pause)


def run(arguments: Pause) -> int:
    """Move the switch, for every node on the database; 1 for a name that is none."""
    config, name = load_config(arguments.config), arguments.name
    names = [INTAKE, ANALYSIS, *(d.name for d in config.destinations)]
    require_sound(config.ledger_at)
    ledger = Ledger.open(config.ledger_at)
    is_known = name in names or ledger.switches.is_paused(name)  # of one that has left the config
    if not is_known:
        sys.stderr.write(f"dicom-node: found {name!a}, expected one of {', '.join(names)}\n")
        return FAILED
    if arguments.command == "pause":
        changed = ledger.switches.pause(name)
        text = f"{name} is paused: {_MEANS.get(name, _OF_DESTINATION)}"
    else:
        changed = ledger.switches.resume(name)
        text = f"{name} goes on" if changed else f"{name} was not paused"
    answer = {"name": name, "paused": arguments.command == "pause", "changed": changed}
    sys.stdout.write((json.dumps(answer) if arguments.as_json else text) + "\n")
    return 0
