"""Which study is in work, told to the worker that follows when this one dies of it.

What a decoder or a disk does to the process (a fault, a page that cannot be read, no memory left)
no `except` sees, and a study that is still counted has no row that says so. The name is written in
place and never waited for: it has to outlive this process, not the machine.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Run
from dicom_node.ledger.states import State
from dicom_node.study.closing import park_uncounted
from dicom_node.work.early.deaths import COUNTING_DIED
from dicom_node.work.underway import run_of, workflow_id

log = structlog.get_logger()

_BYTES = 128
"""Of a UID, two numbers, a mark, and what separates them."""


@dataclass(frozen=True, slots=True)
class Death:
    """A worker ended while it worked on a study."""

    run: Run
    mark: str
    """Of this one time: the same where a kill came before its death was cleared. Empty in a file
    of an earlier version."""
    more: str = ""
    """What else was written."""


class Suspect:
    """One name in a file of the data folder, or none."""

    def __init__(self, path: Path, size_bytes: int = _BYTES) -> None:
        """Makes the file where it is absent, of a size that no later write changes."""
        self._path, self._size = path, size_bytes
        self._says, self._is_closed = "", False
        with suppress(OSError):  # without it nothing is known after a death, as on a full disk
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(fd).st_size != size_bytes:
                    os.pwrite(fd, bytes(size_bytes), 0)
                    os.ftruncate(fd, size_bytes)
            finally:
                os.close(fd)

    @contextmanager
    def on(self, run: Run, more: str = "") -> Iterator[None]:
        """Around the work on one study; inside of another it stands in its place meanwhile."""
        before = self._says
        self._write(f"{workflow_id(run)} {secrets.token_hex(8)} {more}".rstrip())
        try:
            yield
        finally:
            self._write(before)

    def clear(self) -> None:
        """Nothing is under way: whatever ends this process now, it is no study's work."""
        self._write("")

    def close(self) -> None:
        """The same for good."""
        self._is_closed = True
        self._write("")

    def left(self) -> Death | None:
        """What was under way when an earlier worker died."""
        try:
            content = self._path.read_bytes()[: self._size].rstrip(b"\0").decode("ascii")
        except (OSError, UnicodeDecodeError):
            return None
        name, mark, more = (*content.split(" ", 2), "", "")[:3]
        run = run_of(name)
        return None if run is None else Death(run, mark, more)

    def _write(self, says: str) -> None:
        self._says = "" if self._is_closed else says
        with suppress(OSError):
            fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                content = self._says.encode()[: self._size].ljust(self._size, b"\0")
                os.pwrite(fd, content, 0)
            finally:
                os.close(fd)


def note_death(ledger: WorkerLedger, death: Death, most_crashes: int) -> bool:
    """Add to the story of a study that the worker died while counting it, once for each death; too
    often parks it.

    Whether it is still to be counted: alone, so that the next death is no other study's.
    """
    run = death.run
    found = ledger.queries.revision(run.study, run.revision)
    if found is None or found.run != run or found.state is not State.RECEIVING:
        return False
    if not (death.mark and is_noted(ledger, death, COUNTING_DIED)):
        fields = {"revision": run.revision, "mark": death.mark}
        ledger.events.record(COUNTING_DIED, study_instance_uid=run.study, **fields)
    deaths = _deaths(ledger, run)
    log.warning(COUNTING_DIED, study=run.study, crashes=deaths)
    if deaths <= most_crashes:
        return True
    park_uncounted(ledger, found, f"the worker died {deaths} times while counting it")
    return False


def is_noted(ledger: WorkerLedger, death: Death, kind: str) -> bool:
    """Whether a worker that was killed just after has noted it before, as an event of this kind."""
    events = ledger.queries.events(death.run.study)
    return any(e.kind == kind and e.fields.get("mark") == death.mark for e in events)


def _deaths(ledger: WorkerLedger, run: Run) -> int:
    """How often, since somebody last asked for a retry."""
    deaths = 0
    for event in ledger.queries.events(run.study):
        if event.kind == "retry_asked":
            deaths = 0
        elif event.kind == COUNTING_DIED and event.fields.get("revision") == run.revision:
            deaths += 1
    return deaths
