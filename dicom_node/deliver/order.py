"""The report first, and nothing without it: an overlay alone would be taken for a finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.deliver.forms.chains import is_report
from dicom_node.ledger.rows import WITHDRAWN, DueDelivery, Standing
from dicom_node.ledger.states import DeliveryState


@dataclass(frozen=True, slots=True)
class Send:
    """It may be sent now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Its report is on its way."""


@dataclass(frozen=True, slots=True)
class Never:
    """Its report will not be there."""

    why: str


def reports_first(due: Sequence[DueDelivery]) -> list[DueDelivery]:
    """Studies in their order, in each the reports first."""
    places: dict[object, int] = {}
    for delivery in due:
        places.setdefault(delivery.run, len(places))
    return sorted(due, key=lambda d: (places[d.run], not is_report(d.kind)))


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
    return Send() if own else Never("not sent: there is no report that says what it is")
