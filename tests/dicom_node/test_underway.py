"""Which workflows run, when the database cannot say it."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from dicom_node.ledger.errors import LedgerBusy
from dicom_node.work.underway import Underway


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def underway(clock):
    return Underway(clock)


def test_a_workflow_that_runs_is_never_lost(underway, clock):
    with underway.run("a"):
        for _ in range(5):
            clock.now += 100
            assert not underway.is_lost("a")
        assert underway.any()
    assert not underway.any()


def test_a_pending_workflow_that_nobody_runs_is_lost_after_a_moment(underway, clock):
    assert not underway.is_lost("a")
    clock.now += 2
    assert not underway.is_lost("a")
    clock.now += 2
    assert underway.is_lost("a")


def test_the_moment_starts_anew_when_it_was_seen_running_between(underway, clock):
    assert not underway.is_lost("a")
    clock.now += 2
    with underway.run("a"):
        assert not underway.is_lost("a")
    clock.now += 2
    assert not underway.is_lost("a")


@pytest.mark.parametrize(
    "error", [OperationalError("", {}, Exception()), NoConnectionFree(), LedgerBusy("full")]
)
def test_an_outcome_that_could_not_be_written_is_known_until_it_runs_again(error, underway):
    with pytest.raises(type(error)), underway.run("a"):
        raise error
    assert underway.was_unwritten("a")
    assert underway.was_unwritten("a"), "what is asked while the disk is still full is asked again"
    with underway.run("a"):
        assert not underway.was_unwritten("a")


def test_another_error_is_no_unwritten_outcome(underway):
    with pytest.raises(ValueError, match="x"), underway.run("a"):
        raise ValueError("x")
    assert not underway.was_unwritten("a")
