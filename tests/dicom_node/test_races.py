"""Instances that arrive while their study is closed, on both databases."""

from __future__ import annotations

from pathlib import Path

import races

from dicom_node.ledger.ledger import Ledger

RACES = 60


def test_no_revision_is_closed_with_an_instance_that_was_not_counted(where: Path | str) -> None:
    ledgers = [Ledger.open(where) for _ in range(4)]
    refused = 0
    for number in range(RACES):
        race = races.Race(f"1.2.{number}")
        races.run(race, ledgers, seed=number)
        assert races.faults(race, ledgers[0]) == []
        refused += race.refused
        assert race.conflicts >= 1, "one instance came twice"
    assert refused == 0


def test_a_study_that_was_closed_too_early_would_be_found(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "node.sqlite")
    race = races.Race("1.2.3")
    races.run(race, [ledger, ledger], seed=1)
    with ledger.database.write() as db:
        db.exec_driver_sql("UPDATE revisions SET state = 'queued', evidence = '{\"instances\": 1}'")
    assert any("closed with 1 of 6" in fault for fault in races.faults(race, ledger))
