"""The report first; nothing without it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.deliver.order import Never, Send, Wait, reports_first, turn_of
from dicom_node.ledger.rows import DueDelivery, Run, Standing
from dicom_node.ledger.states import DeliveryState

HELD, REFUSED, PENDING = DeliveryState.DELIVERED, DeliveryState.REFUSED, DeliveryState.PENDING


def due(study: str, kind: str, slide: str = "a", model: str = "m") -> DueDelivery:
    return DueDelivery(Run(study, 1, 1), f"{study}/{kind}", "p", "x", 0, 0.0, kind, slide, model)


def report(state: DeliveryState, slide: str = "a", model: str = "m") -> Standing:
    return Standing("report", slide, model, state, "why" if state is REFUSED else None)


def form(state: DeliveryState) -> Standing:
    return replace(report(state), kind="summary")


def test_reports_go_first_in_each_study_and_studies_keep_their_order():
    ordered = reports_first(
        [due("2", "heatmap-x"), due("2", "report"), due("1", "heatmap-x"), due("1", "report")]
    )
    assert [d.sop_instance_uid for d in ordered] == [
        "2/report", "2/heatmap-x", "1/report", "1/heatmap-x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("standing", "turn"),
    [
        ([report(HELD)], Send()),
        ([report(PENDING)], Wait()),
        ([report(REFUSED)], Never("not sent without its report: why")),
        ([], Never("not sent: there is no report that says what it is")),
        ([Standing("heatmap-y", "a", "m", HELD, None)],
         Never("not sent: there is no report that says what it is")),
        # of its own slide and model, whatever became of the others
        ([report(HELD), report(REFUSED, "b"), report(PENDING, model="n")], Send()),
        ([report(PENDING), report(HELD, "b")], Wait()),
        # in several forms, of which one is there, or may be
        ([report(HELD), form(REFUSED)], Send()),
        ([report(REFUSED), form(HELD)], Send()),
        ([report(REFUSED), form(PENDING)], Wait()),
        ([report(REFUSED), form(REFUSED)], Never("not sent without its report: why")),
        # of a case: one report of all slides, beside those of other models
        ([report(HELD, "case"), report(REFUSED, model="n")], Send()),
        ([report(PENDING, "case"), report(HELD, model="n")], Wait()),
    ],
)  # fmt: skip
def test_a_heatmap_goes_when_its_report_is_there_and_never_without_it(standing, turn):
    assert turn_of(due("1", "heatmap-x"), standing) == turn


def test_a_report_waits_for_nothing():
    assert turn_of(due("1", "report"), [report(REFUSED)]) == Send()


@pytest.mark.parametrize(
    ("state", "turn"),
    [
        (DeliveryState.DELIVERED, Send()),
        (DeliveryState.PENDING, Wait()),
        (DeliveryState.REFUSED, Never("not sent: it names heatmap-tumor, which is not there")),
    ],
)
def test_a_set_goes_last_and_never_where_what_it_names_is_not(state, turn):
    due = DueDelivery(Run("1", 1, 1), "1.1", "p", "x", 0, 0.0, "set-on-level", "a", "m")
    of_other = Standing("heatmap-tumor", "b", "m", DeliveryState.PENDING, None)
    standing = [
        Standing("report", "a", "m", DeliveryState.DELIVERED, None),
        Standing("heatmap-tumor", "a", "m", state, None),
        Standing("set-on-level", "a", "m", DeliveryState.PENDING, None),
        of_other,
    ]
    assert turn_of(due, standing) == turn
    of_case = replace(due, slide="case")
    assert turn_of(of_case, standing) == Wait()
