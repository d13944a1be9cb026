"""The process that delivers: it beats as long as all of its threads go round, and no longer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from nodes import free_port, wait_for
from structlog.testing import capture_logs

from dicom_node.config.whole import Config
from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance, Result, Run
from dicom_node.processes import egress
from dicom_node.processes.heartbeat import Heart, Pulse

STUDY = "1.2.3"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate(
        {
            "node": {"ae_title": "DICOMNODE", "data_dir": tmp_path},
            "destinations": [
                {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": free_port()}
            ],
        }
    )


def due(config: Config, path: str) -> None:
    """A study with one object to deliver, in a file of this name."""
    ledger = Ledger.open(config.ledger_at)
    uid = f"{STUDY}.9"
    ledger.arrivals.record(ReceivedInstance(uid, "1", STUDY, "1", "1", 1, uid, "A", "p"))
    ledger.studies.close(Run(STUDY, 1, 0), Evidence(1))
    run = Run(STUDY, 1, 1)
    ledger.studies.start_analysis(run, "engine", "digest")
    result = Result(f"{STUDY}.1", "1", "report", "s", path, "digest")
    assert ledger.deliveries.start(run, [result], ["pacs"])


@contextmanager
def running(config: Config) -> Iterator[tuple[Pulse, list[dict[str, Any]]]]:
    """The process as a thread: what the supervisor hears of it, and its log."""
    stop, pulse = threading.Event(), Pulse()
    with capture_logs() as said:
        arguments = (config, stop, Heart(pulse.write))
        thread = threading.Thread(target=egress.run_egress, args=arguments)
        thread.start()
        try:
            yield pulse, said
        finally:
            stop.set()
            thread.join(30)
    assert not thread.is_alive()


def heard(pulse: Pulse, for_s: float) -> Callable[[], bool]:
    """Whether nothing was heard for so long; to be waited for."""

    def look() -> bool:
        pulse.listen()
        return pulse.silent_s > for_s

    return look


def events(said: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in said if line["event"] == event]


def test_a_lane_that_hangs_ends_the_heartbeat_and_is_named(config, tmp_path, monkeypatch):
    monkeypatch.setattr(egress, "_HANGS_AFTER_S", 3.0)
    os.mkfifo(tmp_path / "hangs")  # whoever opens it to read waits until somebody writes
    due(config, "hangs")
    with running(config) as (pulse, said):
        try:
            wait_for(heard(pulse, 4), within_s=30, what="silence")
        finally:
            os.close(os.open(tmp_path / "hangs", os.O_WRONLY))
        assert [line["thread"] for line in events(said, "thread_hangs")] == ["lane-pacs"]
        wait_for(lambda: not heard(pulse, 1)(), within_s=60, what="a heartbeat after all")


def test_lanes_with_nothing_to_do_beat_on(config, monkeypatch):
    monkeypatch.setattr(egress, "_HANGS_AFTER_S", 3.0)
    Ledger.open(config.ledger_at)
    with running(config) as (pulse, said):
        until = time.monotonic() + 8
        while time.monotonic() < until:
            assert not heard(pulse, 3)()
            time.sleep(0.1)
    assert events(said, "thread_hangs") == []


def test_an_error_nobody_expected_in_the_rounds_ends_no_lane(config, monkeypatch):
    monkeypatch.setattr(egress, "_AFTER_ERROR_S", 0.5)
    due(config, "absent")
    with Ledger.open(config.ledger_at).database.write() as db:
        db.exec_driver_sql("UPDATE revisions SET evidence = '[\"no evidence\"]'")
    with running(config) as (pulse, said):
        wait_for(lambda: len(events(said, "round_failed")) > 1, within_s=20, what="two rounds")
        assert not heard(pulse, 3)()
    assert events(said, "round_failed")[0]["trace"]
