"""What a hunt cost: instances and results that are lost, doubled or changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodes import StoreScp
from poison import dataset_bytes

from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Result
from dicom_node.ledger.states import DeliveryState, State

RESULTS_PER_STUDY = 2
"""One slide: a heatmap and a report."""


@dataclass(frozen=True)
class Judgement:
    """Counts; all but the last two must be 0."""

    lost_instances: int
    """Acknowledged, and without a file of the bytes that were sent."""
    lost_results: int
    """Not at the destination: objects of the last revisions, those a done study lacks included."""
    doubled: int
    """A second object for a slide and kind of one revision, or one that the ledger never had."""
    changed: int
    """Sent again with other bytes under the same UID."""
    further_revisions: int
    leftover: int
    """Files below the spool without a row in the ledger."""

    @property
    def bad(self) -> int:
        """How many objects are wrong."""
        return self.lost_instances + self.lost_results + self.doubled + self.changed


def early_objects(ledger: Ledger, pacs: StoreScp) -> dict[str, bytes]:
    """Bytes of the objects that the ledger already calls delivered, by SOP Instance UID."""
    done = {
        d.sop_instance_uid
        for r in ledger.queries.all_revisions()
        for d in ledger.queries.deliveries(r.study_instance_uid, r.revision)
        if d.destination == "pacs" and d.state is DeliveryState.DELIVERED
    }
    return pacs.digests(done)


def judge(
    ledger: Ledger,
    spool: Path,
    acknowledged: Mapping[str, Path],
    studies: Sequence[str],
    pacs: StoreScp,
    early: Mapping[str, bytes],
) -> Judgement:
    """Compare what was sent and delivered with what the node and the destination hold."""
    held = pacs.digests()
    made = _results(ledger)
    latest = [r for s in studies if (r := ledger.queries.revision(s)) is not None]
    last = {r.study_instance_uid: r.revision for r in latest}
    done = [r for r in latest if r.state is State.DONE]
    never = sum(RESULTS_PER_STUDY - len(made[r.study_instance_uid, r.revision]) for r in done)
    expected = {r.sop_instance_uid for (s, n), rs in made.items() if last.get(s) == n for r in rs}
    strangers = held.keys() - {r.sop_instance_uid for rs in made.values() for r in rs}
    kinds = Counter(
        (key, r.slide, r.kind) for key, rs in made.items() for r in rs if r.sop_instance_uid in held
    )
    known = ledger.arrivals.known_paths()
    files = (p for p in spool.rglob("*") if p.is_file() and p.name != ".lock")
    return Judgement(
        lost_instances=sum(
            not _intact(ledger, spool, uid, path) for uid, path in acknowledged.items()
        ),
        lost_results=len(expected - held.keys()) + max(0, never),
        doubled=len(strangers) + sum(n - 1 for n in kinds.values()),
        changed=sum(held.get(uid) != content for uid, content in early.items()),
        further_revisions=sum(n - 1 for n in last.values()),
        leftover=sum(str(p.relative_to(spool)) not in known for p in files),
    )


def _results(ledger: Ledger) -> dict[tuple[str, int], list[Result]]:
    revisions = [(r.study_instance_uid, r.revision) for r in ledger.queries.all_revisions()]
    return {(study, number): ledger.queries.results(study, number) for study, number in revisions}


def _intact(ledger: Ledger, spool: Path, sop_instance_uid: str, sent: Path) -> bool:
    stored = ledger.arrivals.find(sop_instance_uid)
    if stored is None or not (spool / stored.path).is_file():
        return False
    return dataset_bytes(spool / stored.path) == dataset_bytes(sent)
