"""When the deliveries of a study are over."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from dicom_node.ledger.ledger import EgressLedger
from dicom_node.ledger.rows import Revision, Run
from dicom_node.ledger.states import DeliveryState

log = structlog.get_logger()


def finish(ledger: EgressLedger, run: Run) -> None:
    """Close a revision when nothing of it is pending any more."""
    state = ledger.deliveries.finish(run)
    if state is not None:
        log.info("study_finished", study=run.study, revision=run.revision, state=state.value)


def tend(ledger: EgressLedger, revision: Revision, known: Collection[str]) -> None:
    """Give up destinations that are gone from the configuration; finish what has all arrived.

    `known` are the names of the destinations of the configuration.
    """
    run = revision.run
    rows = ledger.queries.deliveries(run.study, run.revision)
    pending = {d.destination for d in rows if d.state is DeliveryState.PENDING}
    for name in sorted(pending.difference(known)):
        ledger.deliveries.refuse_pending(run, name, "no longer in the configuration")
    if pending.isdisjoint(known):
        finish(ledger, run)
