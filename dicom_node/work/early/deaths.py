"""What becomes of early work that ends its worker: it costs its study nothing but its head start.

Twice, and the study is left alone until it closes; the attempt then counts as any other.
"""

from __future__ import annotations

from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Run

DIED = "early_start_died"
COUNTING_DIED = "count_interrupted"
"""A worker died while it counted a study: once more, later, and with nothing beside it."""
_MOST = 2


def note(ledger: WorkerLedger, run: Run, reason: str, mark: str = "") -> None:
    """Add to the story of an open study that early work on it has ended a worker. `mark` names the
    death, so that it is noted once."""
    events = ledger.queries.events(run.study)
    if mark and any(e.kind == DIED and e.fields.get("mark") == mark for e in events):
        return
    fields = {"revision": run.revision, "reason": reason, "mark": mark}
    ledger.events.record(DIED, study_instance_uid=run.study, **fields)


def is_left_alone(ledger: WorkerLedger, run: Run) -> bool:
    """Whether nothing more is done early for a revision."""
    events = ledger.queries.events(run.study)
    kinds = [e.kind for e in events if e.fields.get("revision") == run.revision]
    return kinds.count(DIED) >= _MOST or COUNTING_DIED in kinds
