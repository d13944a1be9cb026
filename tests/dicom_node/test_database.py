"""What the ledger says of a file that is damaged, locked, or no database: in words of ours."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing, suppress

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from dicom_node.ledger.database.sqlite import require_sound
from dicom_node.ledger.errors import LedgerBusy, LedgerDamaged
from dicom_node.ledger.ledger import IngestLedger, Ledger, WorkerLedger
from dicom_node.ledger.states import State

PAGE = 4096


@pytest.fixture
def path(tmp_path):
    """A database with a few hundred events, closed."""
    path = tmp_path / "node.sqlite"
    ledger = Ledger.open(path)
    for number in range(300):
        ledger.events.record("note", study_instance_uid=f"1.2.{number}", text="x" * 100)
    ledger.database.engine.dispose()
    return path


def test_a_sound_file_and_an_absent_one_pass_and_nothing_is_made(path, tmp_path):
    require_sound(path)
    require_sound(tmp_path / "absent" / "node.sqlite")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_any_zeroed_page_is_found(path):
    content = path.read_bytes()
    for at in range(0, len(content), PAGE):
        path.write_bytes(content[:at] + bytes(PAGE) + content[at + PAGE :])
        with pytest.raises(LedgerDamaged, match="found damage"):
            require_sound(path)


@pytest.mark.parametrize("content", [b"garbage" * 5000, bytes(50_000)])
def test_what_is_no_database_is_damage_to_whoever_opens_or_uses_it(path, content):
    ledger = Ledger.open(path)
    ledger.database.engine.dispose()
    path.write_bytes(content)
    with pytest.raises(LedgerDamaged, match="SQLITE_NOTADB"):
        Ledger.open(path)
    with pytest.raises(LedgerDamaged, match="dicom-node recover"):
        ledger.arrivals.known_paths()
    with (
        pytest.raises(LedgerDamaged),
        ledger.database.engine.connect(),
    ):  # as the workflow library does
        pass


def test_a_text_that_cannot_be_decoded_is_damage(path):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE events SET fields = CAST(X'FF00FF' AS TEXT) WHERE id = 7")
    with pytest.raises(LedgerDamaged, match="cannot be decoded"):
        Ledger.open(path).queries.events()


def test_a_locked_file_is_busy_and_named_by_the_code_not_by_the_text_of_the_library(path):
    ledger = Ledger.open(path)
    sa.event.listen(
        ledger.database.engine, "begin", lambda db: db.exec_driver_sql("PRAGMA busy_timeout=50")
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerBusy) as raised:
            ledger.events.record("note", text="DOE^JANE")
    assert str(raised.value) == f"{path}: cannot be used now (SQLITE_BUSY)"


def test_a_process_that_uses_all_its_connections_is_busy_and_goes_on(path):
    ledger = Ledger.open(path)
    pool = ledger.database.engine.pool
    pool._timeout = 0.1
    with ExitStack() as held:
        with suppress(NoConnectionFree):
            while True:
                held.enter_context(ledger.database.engine.connect())
        with pytest.raises(LedgerBusy, match="all connections of this process are in use"):
            ledger.queries.events()
        with pytest.raises(LedgerBusy):
            ledger.events.record("note")
    ledger.events.record("note")


def test_the_parameters_of_a_statement_stand_in_no_exception(path):
    ledger = Ledger.open(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE events")
    with pytest.raises(LedgerDamaged) as raised:
        ledger.events.record("note", text="DOE^JANE")
    assert "DOE^JANE" not in f"{raised.value}{raised.value.__cause__}"


def test_tables_of_another_version_are_no_busy_database(tmp_path):
    path = tmp_path / "node.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE revisions (study_instance_uid TEXT PRIMARY KEY)")
        db.commit()
    with pytest.raises(LedgerDamaged, match="tables are not those of this version"):
        Ledger.open(path).queries.in_state(State.QUEUED)


def test_each_process_has_the_writers_it_needs_and_no_others(tmp_path):
    where = tmp_path / "node.sqlite"
    ingest, worker = IngestLedger.open(where), WorkerLedger.open(where)
    assert not any(hasattr(ingest, name) for name in ("studies", "deliveries", "queries"))
    assert not hasattr(worker, "arrivals")
