"""The report first, and nothing without it: an overlay alone would be taken for a finding. A set
last: it names what is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.deliver.forms.chains import is_report
from dicom_node.ledger.rows import WITHDRAWN, DueDelivery, Standing
from dicom_node.ledger.states import DeliveryState
from dicom_node.results.kinds import CASE, SET, kind_of


@dataclass(frozen=True, slots=True)
class Send:
    """It may be sent now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Its report, or what it names, is on its way."""


@dataclass(frozen=True, slots=True)
class Never:
    """Its report, or what it names, will not be there."""

    why: str


def reports_first(due: Sequence[DueDelivery]) -> list[DueDelivery]:
    """Studies in their order, in each the reports first and the sets last."""
    places: dict[object, int] = {}
    for delivery in due:
        places.setdefault(delivery.run, len(places))
    return sorted(due, key=lambda d: (places[d.run], not is_report(d.kind), _is_set(d.kind)))


def turn_of(delivery: DueDelivery, standing: Sequence[Standing]) -> Send | Wait | Never:
    """Whether an object may go; `standing` is what its destination is sent of its study.

    Its report is that of its slide by the same model; else those of the model, which may speak of
    all slides together; else all of the study.
    """
    if is_report(delivery.kind) or delivery.kind.endswith(WITHDRAWN):
        return Send()
    reports = [one for one in standing if is_report(one.kind) and not one.kind.endswith(WITHDRAWN)]
    same = [one for one in reports if one.model == delivery.model] or reports
    own = [one for one in same if one.slide == delivery.slide] or same
    # Of several forms of one report one is enough.
    there = {one.slide for one in own if one.state is DeliveryState.DELIVERED}
    others = [one for one in own if one.slide not in there]
    if any(one.state is DeliveryState.PENDING for one in others):
        return Wait()
    if others:
        return Never(f"not sent without its report: {others[0].error}")
    if not own:
        return Never("not sent: there is no report that says what it is")
    return _after_all(delivery, standing) if _is_set(delivery.kind) else Send()


def _after_all(delivery: DueDelivery, standing: Sequence[Standing]) -> Send | Wait | Never:
    """Whether what a set names is there: of its slide, or of every slide of a case."""
    named = [
        one
        for one in standing
        if one.model == delivery.model
        and delivery.slide in (one.slide, CASE)
        and not (_is_set(one.kind) or one.kind.endswith(WITHDRAWN))
    ]
    if any(one.state is DeliveryState.PENDING for one in named):
        return Wait()
    refused = [one for one in named if one.state is DeliveryState.REFUSED]
    if refused:
        return Never(f"not sent: it names {refused[0].kind}, which is not there")
    return Send()


def _is_set(own_kind: str) -> bool:
    return kind_of(own_kind) == SET and not own_kind.endswith(WITHDRAWN)
