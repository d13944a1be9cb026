"""One child of the supervisor: started, listened to, ended when it hangs, started again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from dicom_node.exit_status import MAY_PASS, REFUSED
from dicom_node.processes.heartbeat import Pulse
from dicom_node.processes.signals import hangups_held_back

log = structlog.get_logger()

_LONGEST_PAUSE_S = 5.0
"""Between two starts, also of a child that dies again and again: senders wait for the listener."""
_MAY_PASS_PAUSE_S = 2.0
_STEADY_S = 60.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a child may be silent before it is killed."""

    starting_s: float
    """Until its first heartbeat; a model takes its time."""
    running_s: float
    """Between two heartbeats."""


class Child:
    """A process of one role and when it may be started again."""

    def __init__(self, role: str, command: Sequence[str], patience: Patience) -> None:
        self.role = role
        self.process: subprocess.Popen[bytes] | None = None
        self._command = command
        self._patience = patience
        self._pulse: Pulse | None = None
        self._started_at = 0.0
        self._pause_s = 0.5
        self._start_at = time.monotonic()

    def tend(self) -> int | None:
        """Start it when it is due, kill it when it hangs; the exit status when it just ended."""
        now = time.monotonic()
        if self.process is None:
            if now >= self._start_at:
                self._start(now)
            return None
        status = self.process.poll()
        if status is None:
            self._listen(self.process)
            return None
        self._ended(status, now)
        return status

    def _start(self, now: float) -> None:
        pulse = Pulse()
        more = ["--supervisor", str(os.getpid()), "--heartbeat", str(pulse.write)]
        with hangups_held_back():
            self.process = subprocess.Popen([*self._command, *more], pass_fds=(pulse.write,))
        pulse.given()
        self._pulse, self._started_at = pulse, now

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        pulse = self._pulse
        if pulse is None:
            return
        pulse.listen()
        patience_s = self._patience.running_s if pulse.has_begun else self._patience.starting_s
        if pulse.silent_s > patience_s:
            log.error("child_hung", role=self.role, pid=process.pid, silent_s=patience_s)
            process.kill()  # one that is stopped hears nothing else
            pulse.silent_s = 0.0

    def _ended(self, status: int, now: float) -> None:
        if self._pulse is not None:
            self._pulse.close()
        self.process = self._pulse = None
        if status == REFUSED:
            return  # it has said why
        if status != MAY_PASS:
            steady = now - self._started_at > _STEADY_S
            self._pause_s = 1.0 if steady else min(self._pause_s * 2, _LONGEST_PAUSE_S)
        pause_s = _MAY_PASS_PAUSE_S if status == MAY_PASS else self._pause_s
        self._start_at = now + pause_s
        log.error("child_died", role=self.role, status=status, again_in_s=pause_s)
