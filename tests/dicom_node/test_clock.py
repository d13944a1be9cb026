"""The ledger's clock: what the host's clock is set to decides nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dicom_node.ledger.database import clock, schema
from dicom_node.ledger.database.clock import ServerClock
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance

DAY_S = 86_400.0


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch):
    """Sets the host's clock, as an administrator or a time server would."""
    real = time.time

    def set_by(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return set_by


def an_instance(uid: str) -> ReceivedInstance:
    return ReceivedInstance(uid, "1.2", "1.9", "1.9.1", "1.2.1", 10, f"aa/{uid}", "PACS", "::1")


@pytest.mark.parametrize("days", [-400, -1, 1, 400])
def test_a_clock_that_is_set_moves_no_process_that_runs_or_starts(
    days: int, tmp_path: Path, set_clock
) -> None:
    ledger = Ledger.open(tmp_path / "node.sqlite")
    before = ledger.database.now()
    assert before == pytest.approx(time.time(), abs=5)
    set_clock(days * DAY_S)
    other = Ledger.open(tmp_path / "node.sqlite")
    assert before <= ledger.database.now() <= other.database.now() < before + 60


def test_quiet_time_is_counted_through_a_jump(tmp_path: Path, set_clock) -> None:
    ledger = Ledger.open(tmp_path / "node.sqlite")
    ledger.arrivals.record(an_instance("1.2.1"))
    set_clock(30 * DAY_S)
    stored_at, _ = ledger.queries.last_byte_at("1.9")
    assert 0 <= ledger.database.now() - stored_at < 60


def test_people_are_told_the_time_of_the_clock_on_the_wall(tmp_path: Path, set_clock) -> None:
    set_clock(-3 * DAY_S)  # the host started with a clock that was behind
    ledger = Ledger.open(tmp_path / "node.sqlite")
    at = ledger.database.now()
    set_clock(0)
    assert ledger.database.wall_time(at) == pytest.approx(time.time(), abs=5)


def test_after_a_start_of_the_host_the_clock_is_not_behind_what_is_written(
    tmp_path: Path, set_clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(tmp_path / "node.sqlite")
    ledger.arrivals.record(an_instance("1.2.1"))
    stored_at, _ = ledger.queries.last_byte_at("1.9")
    monkeypatch.setattr(schema, "boot_id", lambda: "another start")
    monkeypatch.setattr(clock, "since_boot", lambda: 5.0)
    monkeypatch.setattr(schema, "since_boot", lambda: 5.0)
    set_clock(-365 * DAY_S)
    assert Ledger.open(tmp_path / "node.sqlite").database.now() >= stored_at


def test_a_server_is_asked_now_and_then_and_counted_on_while_it_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host, answers = [100.0], [1000.0]
    monkeypatch.setattr(clock, "since_boot", lambda: host[0])

    def ask() -> float:
        if not answers:
            raise ConnectionError
        return answers.pop()

    now = ServerClock(ask, ConnectionError)
    assert now() == 1000.0
    host[0] = 105.0
    assert now() == 1005.0, "not asked again so soon"
    host[0] = 200.0
    assert now() == 1100.0, "away, so counted on"
    answers.append(5000.0)
    host[0] = 220.0
    assert now() == 5000.0
    never = ServerClock(ask, ConnectionError)
    with pytest.raises(ConnectionError):
        never()
