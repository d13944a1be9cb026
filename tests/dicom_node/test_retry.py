"""When what failed is tried again, when it is given up, and that both users obey the rule."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nodes import free_port, wait_for

from dicom_node.config.sections import AnalysisSection, DeliverySection
from dicom_node.config.whole import Config
from dicom_node.deliver.lanes import Lanes
from dicom_node.deliver.retry import (
    Again,
    GiveUp,
    Policy,
    back_off_s,
    decide,
    for_analysis,
    for_delivery,
)
from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Delivery, ReceivedInstance, Result, Run
from dicom_node.ledger.states import DeliveryState, State
from dicom_node.work.failures import again_or_park

SECONDS = st.floats(min_value=1e-3, max_value=1e7)
FAILURES = st.integers(min_value=0, max_value=10_000)
AGES = st.floats(min_value=-1e6, max_value=1e9)
DRAWS = st.floats(min_value=0, max_value=1)
POLICIES = st.builds(
    Policy,
    SECONDS,
    SECONDS,
    most_retries=st.none() | st.integers(min_value=0, max_value=100),
    give_up_after_s=st.none() | SECONDS,
)


@given(POLICIES, FAILURES, AGES, DRAWS)
def test_it_gives_up_at_the_limits_of_the_policy_and_never_before(policy, failures, age_s, draw):
    too_often = policy.most_retries is not None and failures >= policy.most_retries
    too_old = policy.give_up_after_s is not None and age_s >= policy.give_up_after_s
    decision = decide(policy, failures=failures, age_s=age_s, draw=draw)
    assert isinstance(decision, GiveUp if too_often or too_old else Again)


@given(POLICIES, FAILURES, DRAWS)
def test_a_wait_is_positive_and_never_beyond_the_longest(policy, failures, draw):
    wait_s = back_off_s(policy, failures=failures, draw=draw)
    assert 0 < wait_s <= policy.longest_retry_s


@given(POLICIES, FAILURES, FAILURES, DRAWS)
def test_after_more_failures_the_wait_of_the_same_draw_is_no_shorter(policy, one, other, draw):
    fewer, more = sorted((one, other))
    assert back_off_s(policy, failures=fewer, draw=draw) <= back_off_s(
        policy, failures=more, draw=draw
    )


@given(SECONDS, st.integers(min_value=0, max_value=10), DRAWS)
def test_the_wait_doubles_and_is_spread_by_half_until_the_longest_is_reached(
    first_retry_s, failures, draw
):
    policy = Policy(first_retry_s, longest_retry_s=1.5 * first_retry_s * 2**10)
    wait_s = back_off_s(policy, failures=failures, draw=draw)
    assert wait_s == pytest.approx(first_retry_s * 2**failures * (0.5 + draw))


@given(POLICIES, FAILURES)
def test_what_failed_together_is_spread_however_often_it_failed(policy, failures):
    first, last = (back_off_s(policy, failures=failures, draw=draw) for draw in (0.0, 1.0))
    assert last == pytest.approx(3 * first)


def test_as_shipped_an_analysis_is_retried_five_times_and_a_delivery_for_three_days():
    analysis, delivery = for_analysis(AnalysisSection()), for_delivery(DeliverySection())
    waits_s = [decide(analysis, failures=n, age_s=1e9, draw=0.5) for n in range(6)]
    assert waits_s == [*map(Again, [5, 10, 20, 40, 80]), GiveUp("given up after 5 retries")]
    assert decide(delivery, failures=10_000, age_s=72 * 3600 - 1, draw=0.5) == Again(400)
    assert decide(delivery, failures=0, age_s=72 * 3600, draw=0.5) == GiveUp(
        "given up after 3 days, 0:00:00"
    )


# -- the users ------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    return Ledger.open(tmp_path / "node.sqlite", clock=clock)


def test_an_analysis_that_fails_again_and_again_is_queued_by_the_rule_and_then_parked(
    ledger, clock
):
    policy = Policy(first_retry_s=4, longest_retry_s=10, most_retries=3)
    _closed(ledger)
    waits_s = []
    for attempt in (1, 2, 3):
        run = Run("1.2", 1, attempt)
        assert ledger.studies.start_analysis(run, "engine", "digest")
        current = ledger.queries.revision("1.2")
        assert again_or_park(ledger, policy, current, "sick", draw=0.5) is State.QUEUED
        waits_s.append(ledger.queries.revision("1.2").not_before - clock.now)
    assert waits_s == pytest.approx([4, 20 / 3, 20 / 3])
    assert ledger.studies.start_analysis(Run("1.2", 1, 4), "engine", "digest")
    current = ledger.queries.revision("1.2")
    assert again_or_park(ledger, policy, current, "sick", draw=0.5) is State.PARKED
    assert ledger.queries.revision("1.2").reason == "given up after 3 retries: sick"


def test_an_attempt_that_was_overtaken_neither_queues_nor_parks(ledger):
    _closed(ledger)
    ledger.studies.start_analysis(Run("1.2", 1, 1), "engine", "digest")
    overtaken = ledger.queries.revision("1.2")
    ledger.studies.try_later(overtaken.run, "another", 0)
    before = ledger.queries.revision("1.2")
    for most_retries in (0, 5):
        policy = Policy(1, 1, most_retries=most_retries)
        assert again_or_park(ledger, policy, overtaken, "sick", draw=0.5) is None
    assert ledger.queries.revision("1.2") == before


def test_a_delivery_that_fails_is_due_again_by_the_rule(ledger, clock, tmp_path):
    section = DeliverySection(first_retry_s=40, longest_retry_s=100)
    _analyzed(ledger)
    waits_s = []
    for tries in (1, 2, 3):
        delivery = _after(tries, ledger, _config(tmp_path, section))
        assert delivery.state is DeliveryState.PENDING
        waits_s.append(delivery.next_attempt_at - clock.now)
        clock.now = delivery.next_attempt_at
    assert waits_s == pytest.approx([40, 200 / 3, 200 / 3])


def test_a_delivery_of_the_given_age_that_fails_is_given_up_and_says_so(ledger, clock, tmp_path):
    section = DeliverySection(give_up_after_s=7200)
    _analyzed(ledger)
    clock.now += 7200
    delivery = _after(1, ledger, _config(tmp_path, section))
    assert delivery.state is DeliveryState.REFUSED
    assert delivery.next_attempt_at is None
    assert delivery.error.startswith("given up after 2:00:00: the result file cannot be read")
    assert ledger.queries.revision("1.2").state is State.PARKED


def _config(folder: Path, section: DeliverySection) -> Config:
    destination = {"name": "pacs", "ae_title": "P", "host": "127.0.0.1", "port": free_port()}
    node = {"ae_title": "N", "data_dir": folder}
    return Config.model_validate({"node": node, "destinations": [destination], "delivery": section})


def _after(tries: int, ledger: Ledger, config: Config) -> Delivery:
    """The delivery of an object whose file is gone, after so many tries by a lane."""
    stop = threading.Event()
    lanes = Lanes(config, ledger, stop, draw=lambda: 0.5)
    lanes.start()

    def tried() -> Delivery | None:
        (delivery,) = ledger.queries.deliveries("1.2", 1)
        return delivery if delivery.attempts == tries else None

    wait: Callable[..., Delivery] = wait_for
    try:
        return wait(tried, within_s=20, what=f"{tries} tries")
    finally:
        stop.set()
        assert lanes.join(20)


def _closed(ledger: Ledger) -> None:
    ledger.arrivals.record(ReceivedInstance("1.9", "1", "1.2", "1.8", "1", 1, "1.9", "A", "p"))
    ledger.studies.close(Run("1.2", 1, 0), Evidence(1))


def _analyzed(ledger: Ledger) -> None:
    _closed(ledger)
    run = Run("1.2", 1, 1)
    ledger.studies.start_analysis(run, "engine", "digest")
    assert ledger.deliveries.start(
        run, [Result("1.1", "1", "report", "s", "gone.dcm", "x")], ["pacs"]
    )
