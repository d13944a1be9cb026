"""A node that is killed in every way and always started again."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil
from nodes import Node

from dicom_node.ledger.ledger import Ledger

KINDS = ("tree", "ingest", "worker", "egress", "supervisor")


@dataclass
class Prey:
    """The supervisor of a node and what is left of earlier ones."""

    node: Node
    kills: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    """Kills that found no process: it was dead already."""
    died: int = 0
    """Starts that ended by themselves: refused, or a crash of the supervisor."""
    orphans: list[psutil.Process] = field(default_factory=list)

    def start(self) -> None:
        """Start it, whatever is still running; it need not be listening when this returns."""
        with suppress(OSError):  # a full disk
            self.node.launch()

    def pause(self, seconds: float, until: Callable[[], Any] = lambda: False) -> bool:
        """Wait like an operator who starts a node that is down; whether `until` came true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.node.processes and self.node.processes[-1].poll() is not None:
                self.died += 1
                self.node.processes.pop()
            if not self.node.processes:
                self.start()
            if until():
                return True
            time.sleep(0.2)
        return bool(until())

    def kill(self, kind: str) -> bool:
        """SIGKILL to the whole tree, or to one process of it; False when it is not there."""
        children = self.children()
        if not self.node.processes or (kind not in ("tree", "supervisor") and kind not in children):
            self.missed += 1
            return False
        self.kills[kind] += 1
        if kind in children:
            with suppress(psutil.NoSuchProcess):
                children[kind].kill()
            return True
        supervisor = self.node.processes.pop()
        if kind == "tree":
            with suppress(ProcessLookupError):
                os.killpg(supervisor.pid, signal.SIGKILL)
            self.end()
        else:
            supervisor.kill()
            self.orphans += children.values()
        supervisor.wait()
        self.start()
        return True

    def children(self) -> dict[str, psutil.Process]:
        """The running children by role."""
        return children(self.node)

    def end(self) -> None:
        """Kill what earlier supervisors left."""
        for orphan in self.orphans:
            with suppress(psutil.NoSuchProcess):
                orphan.kill()
        self.orphans.clear()


def children(node: Node) -> dict[str, psutil.Process]:
    """The children of a node's last supervisor by role."""
    found = {}
    with suppress(psutil.NoSuchProcess, IndexError):
        for child in psutil.Process(node.processes[-1].pid).children():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                line = child.cmdline()
                for role in ("ingest", "worker", "egress"):
                    if role in line:
                        found[role] = child
    return found


@contextmanager
def ledger_of(node: Node) -> Iterator[Ledger]:
    """The ledger for a look: an open handle would keep the database from being recovered."""
    ledger = node.ledger
    try:
        yield ledger
    finally:
        ledger.database.engine.dispose()
