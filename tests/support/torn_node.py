"""A node that is sent mutated instances, and what another sender and the machine saw of it.

Analysis is paused: what is counted is counted, and what is received is received.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torn
from nodes import Node, node, wait_for
from pydicom.uid import JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage
from pynetdicom import AE, Association, _config
from pynetdicom.sop_class import Verification

from dicom_node.ledger.states import State

MOST_MB, MOST_WAIT_S = 120.0, 5.0
"""Of the receiver; and of another sender for its echo, on a machine that does much else."""
_A_BATCH = 200
_SAY_EVERY_S = 60.0


@dataclass
class Seen:
    """What the mutants led to."""

    statuses: Counter[str] = field(default_factory=Counter)
    waits_s: list[float] = field(default_factory=list)
    """Of another sender: associate, echo, release."""
    unheard: int = 0
    """Echoes of that sender without an answer."""
    peak_mb: dict[str, float] = field(default_factory=dict)
    deaths: int = 0
    states: Counter[str] = field(default_factory=Counter)
    longest_reason: int = 0

    @property
    def faults(self) -> list[str]:
        """What must not have been."""
        waited = max(self.waits_s, default=0.0)
        mb = self.peak_mb.get("ingest", 0.0)
        found = [f"{self.deaths} children died"] if self.deaths else []
        found += [f"{self.unheard} echoes of another were not answered"] if self.unheard else []
        found += [f"another waited {waited:.1f} s"] if waited > MOST_WAIT_S else []
        found += [f"the receiver took {mb:.0f} MB"] if mb > MOST_MB else []
        found += ["a reason of 4 KiB"] if self.longest_reason > 4096 else []
        return found + (["no echo was tried"] if not self.waits_s else [])

    def told(self) -> str:
        """One line."""
        waits = sorted(self.waits_s) or [0.0]
        p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
        peaks = ", ".join(f"{role} {mb:.0f} MB" for role, mb in sorted(self.peak_mb.items()))
        return (
            f"{sum(self.statuses.values())} sent: {dict(self.statuses.most_common())}; "
            f"{dict(self.states)}; another's echo p50 {p50 * 1e3:.0f}, p99 {p99 * 1e3:.0f}, "
            f"longest {waits[-1] * 1e3:.0f} ms of {len(waits)}; peaks {peaks}; "
            f"{self.deaths} deaths"
        )


def hunt(first: int, count: int, folder: Path, *, say: bool = True) -> Seen:
    """Send mutants by number to a node of its own, and see what became of it."""
    bases = torn.bases(folder)
    seen, said_at = Seen(), time.monotonic()
    with node(folder / "node", 1, extra="incomplete_after_s = 5") as n:
        n.run("pause", "analysis")
        n.start()
        wait_for(lambda: "model_ready" in n.log, what="the worker")
        with _another(n, seen), _sampled(n, seen):
            for start in range(first, first + count, _A_BATCH):
                numbers = range(start, min(start + _A_BATCH, first + count))
                _send(n, [torn.mutant(k, bases, folder) for k in numbers], seen)
                if say and time.monotonic() - said_at > _SAY_EVERY_S:
                    said_at = time.monotonic()
                    print(seen.told(), flush=True)
            _settle(n, seen)
        seen.deaths = n.log.count('"child_died"')
    return seen


def _send(n: Node, paths: Sequence[Path], seen: Seen) -> None:
    """Each once, on one association as long as that lives; the files are removed."""
    association: Association | None = None
    for path in paths:
        if association is None or not association.is_established:
            association = _associate(n.port, "PACS")
        status = "no association"
        if association.is_established:
            status = "none"
            with suppress(OSError, RuntimeError):
                answer = association.send_c_store(path).get("Status")
                status = "none" if answer is None else f"{answer:04X}"
        seen.statuses[status] += 1
        path.unlink()
    if association is not None and association.is_established:
        association.release()


def _associate(port: int, calling: str) -> Association:
    _config.STORE_SEND_CHUNKED_DATASET = True  # the bytes of the file, never parsed
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
    if calling == "PACS":
        entity.add_requested_context(VLWholeSlideMicroscopyImageStorage, JPEGBaseline8Bit)
    entity.add_requested_context(Verification)
    return entity.associate("127.0.0.1", port, ae_title="DICOMNODE")


@contextmanager
def _another(n: Node, seen: Seen) -> Iterator[None]:
    """Another sender, which must not notice anything."""

    def echo() -> None:
        began = time.monotonic()
        association = _associate(n.port, "PACS")
        heard = association.is_established and association.send_c_echo().get("Status") == 0
        if association.is_established:
            association.release()
        seen.waits_s.append(time.monotonic() - began)
        seen.unheard += not heard

    with _repeated(echo, 0.5):
        yield


@contextmanager
def _sampled(n: Node, seen: Seen) -> Iterator[None]:
    """The most memory of each child."""

    def look() -> None:
        for role, process in _children(n).items():
            with suppress(psutil.Error):
                mb = process.memory_info().rss / 1e6
                seen.peak_mb[role] = max(mb, seen.peak_mb.get(role, 0.0))

    with _repeated(look, 0.5):
        yield


@contextmanager
def _repeated(act: Callable[[], None], every_s: float) -> Iterator[None]:
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(every_s):
            act()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _settle(n: Node, seen: Seen) -> None:
    """Wait until everything that was received is counted."""
    ledger = n.ledger

    def counted() -> bool:
        return not ledger.queries.in_state(State.RECEIVING)

    wait_for(counted, within_s=600, what="every study to be counted")
    for revision in ledger.queries.all_revisions():
        seen.states[str(revision.state)] += 1
        seen.longest_reason = max(seen.longest_reason, len(revision.reason or ""))
    ledger.database.engine.dispose()


def _children(n: Node) -> dict[str, psutil.Process]:
    """The children of the supervisor by role."""
    found = {}
    with suppress(psutil.Error):
        for process in psutil.Process(n.processes[-1].pid).children():
            line = process.cmdline()
            found |= {role: process for role in ("ingest", "worker", "egress") if role in line}
    return found
