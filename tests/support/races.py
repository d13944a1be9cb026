"""One study, whose instances arrive from several threads while others close it; and what is right.

Each thread has a ledger of its own, as processes do. The closers count what is there, wait a
moment that chance decides, and close with what they counted.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.errors import Conflict, LedgerBusy
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance
from dicom_node.ledger.states import State


@dataclass
class Race:
    """A study and what its senders were told."""

    study: str
    acknowledged: set[str] = field(default_factory=set)
    refused: int = 0
    conflicts: int = 0
    errors: list[str] = field(default_factory=list)


def run(race: Race, ledgers: list[Ledger], seed: int, instances: int = 6) -> None:
    """Arrivals and closings of one study at once; returns when all have ended.

    The first instance comes to all arriving threads at once, and one instance comes twice.
    """
    rng = random.Random(seed)
    start = threading.Barrier(len(ledgers))
    uids = [f"{race.study}.{n}" for n in range(instances)]
    arriving, closing = ledgers[: len(ledgers) // 2], ledgers[len(ledgers) // 2 :]
    threads = []
    for place, ledger in enumerate(arriving):
        mine = [*uids[place :: len(arriving)], uids[0]]
        pauses = [rng.expovariate(400) for _ in mine]
        threads.append(_thread(race, _arrive, start, ledger, mine, pauses))
    for ledger in closing:
        pauses = [rng.expovariate(300) for _ in range(instances)]
        threads.append(_thread(race, _close, start, ledger, pauses))
    for thread in threads:
        thread.join()


def _thread(race: Race, act, start, *arguments) -> threading.Thread:
    def body() -> None:
        start.wait()
        try:
            act(race, *arguments)
        except Exception as error:  # noqa: BLE001 - whatever a sender or the worker would see
            race.errors.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=body)
    thread.start()
    return thread


def _arrive(race: Race, ledger: Ledger, uids: list[str], pauses: list[float]) -> None:
    for uid, pause_s in zip(uids, pauses, strict=True):
        try:
            ledger.arrivals.record(_instance(race.study, uid))
            race.acknowledged.add(uid)
        except Conflict:
            race.conflicts += 1
        except LedgerBusy:
            race.refused += 1
        time.sleep(pause_s)


def _close(race: Race, ledger: Ledger, pauses: list[float]) -> None:
    for pause_s in pauses:
        last = ledger.queries.revision(race.study)
        if last is not None and last.state is State.RECEIVING:
            counted = len(ledger.queries.instances(race.study, last.revision))
            time.sleep(pause_s)
            ledger.studies.close(last.run, Evidence(counted))
        else:
            time.sleep(pause_s)


def _instance(study: str, uid: str) -> ReceivedInstance:
    return ReceivedInstance(
        sop_instance_uid=uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.77.1.6",
        study_instance_uid=study,
        series_instance_uid=f"{study}.9",
        transfer_syntax_uid="1.2.840.10008.1.2.4.50",
        size_bytes=3 << 30,
        path=f"aa/{uid}.dcm",
        calling_ae="PACS",
        peer="127.0.0.1",
    )


def faults(race: Race, ledger: Ledger) -> list[str]:
    """What is not as it must be, after the race."""
    found = list(race.errors)
    revisions = ledger.queries.of_study(race.study)
    for revision in revisions:
        there = len(ledger.queries.instances(race.study, revision.revision))
        if revision.state is State.QUEUED or revision.closed_at is not None:
            counted = revision.evidence.instances if revision.evidence else None
            if counted != there:
                found.append(f"revision {revision.revision} closed with {counted} of {there}")
    if [r.revision for r in revisions] != list(range(1, len(revisions) + 1)):
        found.append(f"revisions {[r.revision for r in revisions]}")
    last = revisions[-1]
    kept = {i.sop_instance_uid for i in ledger.queries.instances(race.study, last.revision)}
    if kept != race.acknowledged:
        found.append(f"acknowledged {len(race.acknowledged)}, kept {len(kept)}")
    if sum(r.state in (State.RECEIVING, State.QUEUED) for r in revisions) != 1:
        found.append(f"states {[r.state.value for r in revisions]}")
    return found
