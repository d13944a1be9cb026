"""When the deliveries of a study are over."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from dicom_node.deliver.dimse import ALREADY_THERE
from dicom_node.deliver.forms.chains import forms_after
from dicom_node.ledger.answers.fallbacks import RefusedForm
from dicom_node.ledger.ledger import EgressLedger
from dicom_node.ledger.rows import WITHDRAWN, Delivery, Revision, Run
from dicom_node.ledger.states import DeliveryState
from dicom_node.results.kinds import kind_of

log = structlog.get_logger()


def finish(ledger: EgressLedger, run: Run) -> None:
    """Close a revision when nothing of it is pending any more; it is built once more where a
    destination refused a form by its answer and may take the next one."""
    refused = _refused_forms(ledger, run)
    if refused and ledger.fallbacks.queue(run, refused):
        for one in refused:
            log.warning("refused_by_status", study=run.study, destination=one.destination,
                        form=one.form, status=one.status, reason=one.reason)  # fmt: skip
        return
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


def _refused_forms(ledger: EgressLedger, run: Run) -> list[RefusedForm]:
    """What destinations refused for good by their answer, and have another form to be sent for."""
    rows = ledger.queries.deliveries(run.study, run.revision)
    if not any(d.state is DeliveryState.REFUSED and d.status for d in rows):
        return []
    kinds = {r.sop_instance_uid: r.kind for r in ledger.queries.results(run.study, run.revision)}
    seen = ledger.queries.destinations()
    found: dict[tuple[str, str], RefusedForm] = {}
    for one in rows:
        own = kinds.get(one.sop_instance_uid, "")
        kind = None if own.endswith(WITHDRAWN) else kind_of(own)
        is_final = one.state is DeliveryState.REFUSED and one.status not in (None, ALREADY_THERE)
        if kind is None or not is_final or _is_given_up(one):
            continue
        known = seen.get(one.destination)
        forms = forms_after(own, None if known is None else known.accepted)
        if forms:
            says = (
                f"{one.destination} answered {one.status} to {kind.name}: the next form that it "
                f"accepts is made, {forms[0]}"
            )
            key = (one.destination, kind.name)
            found[key] = RefusedForm(*key, str(one.status), says)
    return list(found.values())


def _is_given_up(delivery: Delivery) -> bool:
    """Whether it was tried until its time was over: another form would fare no better."""
    return (delivery.error or "").startswith("given up after")
