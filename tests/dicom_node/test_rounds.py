"""Threads that go round, and how it is seen that one gets on no more."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dicom_node.observe.rounds import Rounds


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rounds(clock: Clock) -> Rounds:
    return Rounds(clock=clock)


def in_thread(name: str, act: Callable[[], object]) -> None:
    """Do something in a thread of this name, which has ended then."""
    thread = threading.Thread(target=act, name=name)
    thread.start()
    thread.join(10)


def silent(rounds: Rounds, patience_s: float = 60) -> set[str]:
    return set(rounds.silent(lambda _name: patience_s))


def test_who_goes_round_is_not_silent_and_who_hangs_or_has_ended_is(rounds, clock):
    in_thread("lane", lambda: rounds.wait(0))
    in_thread("lookout", lambda: rounds.wait(0))
    clock.now = 61
    in_thread("lane", lambda: rounds.wait(0))
    assert silent(rounds) == {"lookout"}


def test_a_round_that_takes_long_gets_on_as_long_as_it_asks(rounds, clock):
    in_thread("lane", lambda: rounds.wait(0))
    for _ in range(5):
        clock.now += 50
        in_thread("lane", rounds.is_set)
    assert silent(rounds) == set()


def test_who_only_asks_in_passing_is_not_waited_for(rounds, clock):
    in_thread("of one request", rounds.is_set)
    clock.now = 1e6
    assert silent(rounds) == set()


def test_who_rests_is_not_silent(rounds, clock):
    resting = threading.Thread(target=lambda: rounds.wait(3600), name="purge")
    resting.start()
    clock.now = 3000
    assert silent(rounds) == set()
    clock.now = 3700
    assert silent(rounds) == {"purge"}, "it should have gone on"
    rounds.set()
    resting.join(10)


def test_each_has_a_patience_of_its_own(rounds, clock):
    in_thread("purge", lambda: rounds.wait(0))
    in_thread("lane", lambda: rounds.wait(0))
    clock.now = 100
    assert rounds.silent({"purge": 1000.0, "lane": 60.0}.__getitem__) == {"lane": 100.0}


def test_it_is_set_when_the_process_is_asked_to_stop():
    asked = threading.Event()
    rounds = Rounds(asked)
    assert not rounds.wait(0)
    asked.set()
    assert rounds.is_set()
    assert rounds.wait()
