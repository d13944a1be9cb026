"""The tables of the ledger from one version to the next."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.database import schema
from dicom_node.ledger.errors import LedgerDamaged, LedgerTooNew
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.states import State

ROOT = Path(__file__).parent.parent.parent

OF_0_1_0 = """
CREATE TABLE instances (
    sop_instance_uid VARCHAR(64) NOT NULL, sop_class_uid VARCHAR(64) NOT NULL,
    study_instance_uid VARCHAR(64) NOT NULL, series_instance_uid VARCHAR(64) NOT NULL,
    transfer_syntax_uid VARCHAR(64) NOT NULL, size_bytes INTEGER NOT NULL, path TEXT NOT NULL,
    calling_ae VARCHAR(16) NOT NULL, peer TEXT NOT NULL, received_at FLOAT NOT NULL,
    revision INTEGER NOT NULL, PRIMARY KEY (sop_instance_uid));
CREATE INDEX ix_instances_study_instance_uid ON instances (study_instance_uid);
CREATE TABLE transfers (
    id INTEGER NOT NULL, calling_ae VARCHAR(16) NOT NULL, peer TEXT NOT NULL,
    opened_at FLOAT NOT NULL, last_byte_at FLOAT NOT NULL, PRIMARY KEY (id));
CREATE TABLE revisions (
    study_instance_uid VARCHAR(64) NOT NULL, revision INTEGER NOT NULL,
    state VARCHAR(16) NOT NULL, reason TEXT, opened_at FLOAT NOT NULL,
    last_instance_at FLOAT NOT NULL, closed_at FLOAT, started_at FLOAT, analyzed_at FLOAT,
    finished_at FLOAT, evidence JSON, attempt INTEGER NOT NULL, failures INTEGER NOT NULL,
    crashes INTEGER NOT NULL, not_before FLOAT NOT NULL, engine TEXT, bundle_digest VARCHAR(64),
    resend BOOLEAN NOT NULL, slide TEXT, tiles_done INTEGER NOT NULL,
    tiles_total INTEGER NOT NULL, tiles_per_s FLOAT NOT NULL,
    PRIMARY KEY (study_instance_uid, revision));
CREATE INDEX ix_revisions_state ON revisions (state);
CREATE TABLE results (
    id INTEGER NOT NULL, study_instance_uid VARCHAR(64) NOT NULL, revision INTEGER NOT NULL,
    sop_instance_uid VARCHAR(64) NOT NULL, sop_class_uid VARCHAR(64) NOT NULL,
    kind VARCHAR(32) NOT NULL, slide TEXT NOT NULL, path TEXT NOT NULL,
    sha256 VARCHAR(64) NOT NULL, PRIMARY KEY (id),
    UNIQUE (study_instance_uid, revision, sop_instance_uid));
CREATE TABLE deliveries (
    sop_instance_uid VARCHAR(64) NOT NULL, destination VARCHAR(32) NOT NULL,
    state VARCHAR(16) NOT NULL, status VARCHAR(4), error TEXT, attempts INTEGER NOT NULL,
    next_attempt_at FLOAT, delivered_at FLOAT, PRIMARY KEY (sop_instance_uid, destination));
CREATE TABLE events (
    id INTEGER NOT NULL, at FLOAT NOT NULL, study_instance_uid VARCHAR(64),
    kind VARCHAR(64) NOT NULL, fields TEXT NOT NULL, PRIMARY KEY (id));
CREATE INDEX ix_events_study_instance_uid ON events (study_instance_uid);
CREATE TABLE destinations (
    name VARCHAR(32) NOT NULL, checked_at FLOAT NOT NULL, reachable BOOLEAN NOT NULL,
    accepted JSON NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (name));
INSERT INTO instances VALUES
    ('1.2.1', '1.2', '1.2', '1.2.9', '1.2.840.10008.1.2.1', 5, 'ab/c.dcm', 'PACS', '::1', 10, 1);
INSERT INTO revisions VALUES
    ('1.2', 1, 'done', NULL, 10, 10, 40, 41, 50, 60, '{"instances": 1}', 1, 0, 0, 0, 'openvino',
     'd1', 0, NULL, 9, 9, 30);
INSERT INTO results VALUES (1, '1.2', 1, '2.25.1', '1.2', 'report', 'k', 'r/1.dcm', 'd2');
INSERT INTO deliveries VALUES ('2.25.1', 'pacs', 'delivered', '0000', NULL, 1, NULL, 60);
INSERT INTO events VALUES (1, 10, '1.2', 'revision_opened', '{"revision": 1}');
INSERT INTO destinations VALUES ('pacs', 5, 1, '{"1.2": ["1.2.840.10008.1.2.1"]}', '');
"""
"""As 0.1.0 wrote them, with one study that was delivered."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "node.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(OF_0_1_0)
    return path


def shape(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Columns by table: name, type, whether needed, place in the key."""
    with closing(sqlite3.connect(path)) as db:
        names = [n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            n: [(c[1], c[2], c[3], c[5]) for c in db.execute(f"PRAGMA table_info({n})")]
            for n in names
        }


def test_a_database_of_0_1_0_goes_on_with_all_its_studies(old: Path, tmp_path: Path) -> None:
    ledger = Ledger.open(old)
    revision = ledger.queries.revision("1.2")
    assert revision is not None
    assert (revision.state, revision.evidence) == (State.DONE, Evidence(1))
    assert [i.path for i in ledger.queries.instances("1.2", 1)] == ["ab/c.dcm"]
    (delivery,) = ledger.queries.deliveries("1.2", 1)
    assert (delivery.destination, delivery.status) == ("pacs", "0000")
    assert [e.fields for e in ledger.queries.events("1.2")] == [{"revision": 1}]
    assert ledger.queries.destinations()["pacs"].accepted == {"1.2": ["1.2.840.10008.1.2.1"]}
    assert ledger.studies.retry("1.2") == 2

    Ledger.open(tmp_path / "new.sqlite")
    assert shape(old) == shape(tmp_path / "new.sqlite")


def test_the_tables_that_migrations_make_are_those_that_the_code_uses(tmp_path: Path) -> None:
    from sqlalchemy import create_engine

    from dicom_node.ledger.database.tables import metadata

    Ledger.open(tmp_path / "new.sqlite")
    engine = create_engine(f"sqlite:///{tmp_path / 'meant.sqlite'}")
    metadata.create_all(engine)
    made = shape(tmp_path / "new.sqlite")
    del made["alembic_version"]
    assert made == shape(tmp_path / "meant.sqlite")


def test_alembic_finds_nothing_to_change_in_the_tables_that_migrations_make(
    old: Path, tmp_path: Path
) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from dicom_node.ledger.database.tables import metadata

    for path in (old, tmp_path / "new.sqlite"):
        with Ledger.open(path).database.engine.connect() as db:
            assert compare_metadata(MigrationContext.configure(db), metadata) == []
        with closing(sqlite3.connect(path)) as raw:
            (made,) = raw.execute("SELECT sql FROM sqlite_master WHERE name = 'events'").fetchone()
            assert "AUTOINCREMENT" in made


def write_version(path: Path, version: int, oldest_reader: int) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE schema_version SET version = ?, oldest_reader = ?",
                   (version, oldest_reader))  # fmt: skip


def test_a_later_schema_is_used_when_it_says_that_this_version_may(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    Ledger.open(path)
    write_version(path, schema.VERSION + 1, schema.VERSION)
    ledger = Ledger.open(path)
    ledger.events.record("note")
    assert [e.kind for e in ledger.queries.events()] == ["note"]


def test_a_schema_that_this_version_may_not_use_is_refused_with_both_numbers(
    tmp_path: Path,
) -> None:
    path = tmp_path / "node.sqlite"
    Ledger.open(path)
    later = schema.VERSION + 1
    write_version(path, later, later)
    with pytest.raises(LedgerTooNew) as refusal:
        Ledger.open(path)
    assert f"found tables of schema {later}" in str(refusal.value)
    assert f"this one knows {schema.VERSION}" in str(refusal.value)


OPENS = """
import sys
from pathlib import Path
from dicom_node.ledger.ledger import Ledger
sys.stdin.readline()
Ledger.open(Path(sys.argv[1])).events.record("opened")
"""


def test_processes_that_start_at_once_change_the_tables_once(old: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPENS, str(old)],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [p.wait() for p in processes] == [0, 0, 0, 0]
    opened = [e for e in Ledger.open(old).queries.events() if e.kind == "opened"]
    assert len(opened) == 4


def test_a_migration_that_fails_half_way_leaves_the_tables_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    with closing(sqlite3.connect(path)) as db, db:  # stands where a late index should
        db.execute("CREATE TABLE ix_events_study_instance_uid (other TEXT)")
    before = shape(path)
    with pytest.raises(LedgerDamaged, match="tables are not those of this version"):
        Ledger.open(path)
    assert shape(path) == before
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE ix_events_study_instance_uid")
    Ledger.open(path).events.record("note")
