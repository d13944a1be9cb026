"""What the two databases say differently."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from lost_results import STUDY, analyze, arrive

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.dialects import array_length, insert_once
from dicom_node.ledger.database.tables import deliveries, revisions
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Result
from dicom_node.results.kinds import KINDS


def test_a_row_is_inserted_once_and_the_second_time_is_told(where: Path | str) -> None:
    database = Database.open(where)
    row = {"sop_instance_uid": "1.2", "destination": "pacs", "state": "pending"}
    with database.write() as db:
        assert insert_once(db, deliveries, **row)
        assert not insert_once(db, deliveries, **row)
        assert insert_once(db, deliveries, **{**row, "destination": "other"})
    with database.read() as db:
        assert db.scalar(sa.select(sa.func.count()).select_from(deliveries)) == 2


def test_an_array_inside_of_json_is_counted_and_no_json_is_none(where: Path | str) -> None:
    database = Database.open(where)
    row = {"state": "done", "opened_at": 1.0, "last_instance_at": 1.0, "study_instance_uid": "1.2"}
    with database.write() as db:
        for number, evidence in enumerate([{"slides": [1, [2, 3]]}, {"slides": []}, None], 1):
            db.execute(revisions.insert().values(**row, revision=number, evidence=evidence))
    query = sa.select(array_length(revisions.c.evidence, "slides", database.engine))
    with database.read() as db:
        assert list(db.scalars(query.order_by(revisions.c.revision))) == [2, 0, None]


def test_the_kind_of_an_object_of_the_longest_map_fits(where: Path | str) -> None:
    ledger = Ledger.open(where)
    arrive(ledger, 1)
    run = analyze(ledger, 1)
    made = [Result(f"1.{n}", "1", f"{k.name}-{'x' * 64}", "s", "p", "x")
            for n, k in enumerate(KINDS)]  # fmt: skip
    assert ledger.deliveries.start(run, made, ["pacs"])
    assert ledger.queries.results(STUDY, 1) == made
