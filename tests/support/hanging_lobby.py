"""A node whose lobby hangs, once, at the first connection after a file `hang` appears.

    python tests/support/hanging_lobby.py serve|ingest --config node.toml

All other threads of the listener go on: only the lobby's own sign of life tells.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dicom_node.association.lobby.lobby import Lobby
from dicom_node.cli import main
from dicom_node.processes import supervisor


def arm(trigger: Path) -> None:
    """Have the lobby's thread wait for ever where it would accept."""
    real = Lobby._accept

    def accept(self: Lobby, door: Any) -> None:
        if trigger.exists():
            trigger.unlink()  # the next listener is sound
            threading.Event().wait()
        real(self, door)

    Lobby._accept = accept  # type: ignore[method-assign]


def pass_on() -> None:
    """Have the supervisor start its listener by this script."""
    child = supervisor.Child

    def made(role: str, command: Sequence[str], patience: Any) -> Any:
        if role == "ingest":
            command = [sys.executable, __file__, *command[3:]]
        return child(role, command, patience)

    supervisor.Child = made  # type: ignore[assignment,misc]  # a function makes it


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    if role == "serve":
        pass_on()
    else:
        arm(Path(rest[rest.index("--config") + 1]).with_name("hang"))
    sys.exit(main([role, *rest]))
