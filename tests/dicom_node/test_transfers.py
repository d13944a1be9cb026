"""What arrives keeps studies open only as fast as a sender sends, and who reports it is watched."""

from __future__ import annotations

import sqlite3
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from structlog.testing import capture_logs
from wsm_files import WSM

from dicom_node.config.peers import Sender
from dicom_node.ledger.ledger import Ledger
from dicom_node.processes.ingest import Ingest
from dicom_node.services.store import transfers
from dicom_node.spool.spool import Spool

SENDER = Sender(ae_title="STORESCU", networks=(IPv4Network("127.0.0.0/8"),))


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[Ingest]:
    one = Ingest(
        ae_title="NODE",
        bind="127.0.0.1",
        port=0,
        senders=[SENDER],
        spool=Spool(tmp_path / "spool", reserve_bytes=0),
        ledger=Ledger.open(tmp_path / "node.sqlite"),
        maximum_associations=4,
    )
    one.start()
    yield one
    one.drain(0.1)


def pdus_of_a_store(context_id: int, piece: int) -> Iterator[bytes]:
    """The command of a C-STORE, then pieces of its dataset without end."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = WSM, generate_uid()
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    message.command_set.CommandDataSetType = 0x0001
    (command, *_) = message.encode_msg(context_id, 16382)
    ((_, value),) = command.presentation_data_value_list
    yield pdu(context_id, value[0], value[1:])
    while True:
        yield pdu(context_id, 0, bytes(piece))


def pdu(context_id: int, control: int, value: bytes) -> bytes:
    item = struct.pack(">LBB", len(value) + 2, context_id, control) + value
    return struct.pack(">BBL", 4, 0, len(item)) + item


def trickled(ingest: Ingest, piece: int, every_s: float, for_s: float) -> float:
    """For how long bytes of a transfer were told to the ledger that came for so long."""
    entity = AE("STORESCU")
    entity.add_requested_context(WSM, ExplicitVRLittleEndian)
    association: Any = entity.associate("127.0.0.1", ingest.port, ae_title="NODE")
    sock = association.dul.socket.socket
    try:
        came: list[tuple[float, float]] = []
        until = time.monotonic() + for_s
        for part in pdus_of_a_store(association.accepted_contexts[0].context_id, piece):
            sock.sendall(part)
            time.sleep(every_s)
            came += transfer_rows(ingest)
            if time.monotonic() > until:
                break
    finally:
        association.abort()
    assert came
    return came[-1][1] - came[0][0]


def transfer_rows(ingest: Ingest) -> list[tuple[float, float]]:
    with ingest.ledger.database.read() as db:
        rows = db.exec_driver_sql("SELECT opened_at, last_byte_at FROM transfers").all()
    return [(float(row[0]), float(row[1])) for row in rows]


def test_a_transfer_that_trickles_keeps_no_study_of_its_sender_open(ingest: Ingest) -> None:
    assert trickled(ingest, piece=1000, every_s=0.5, for_s=6) < 1


def test_a_transfer_over_a_slow_line_keeps_the_studies_of_its_sender_open(ingest: Ingest) -> None:
    assert trickled(ingest, piece=8000, every_s=0.5, for_s=6) > 3


def test_an_error_nobody_expected_ends_no_report_of_what_arrives(ingest: Ingest) -> None:
    path = ingest.ledger.database.engine.url.database
    with closing(sqlite3.connect(str(path))) as db:
        db.execute(
            "CREATE TRIGGER broken BEFORE UPDATE ON transfers BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    with capture_logs() as said:
        trickled(ingest, piece=16000, every_s=0.2, for_s=3)
    (first, *_) = [line for line in said if line["event"] == "transfers_failed"]
    assert first["trace"]
    with closing(sqlite3.connect(str(path))) as db:
        db.execute("DROP TRIGGER broken")
    assert trickled(ingest, piece=16000, every_s=0.2, for_s=4) > 1


def test_a_report_of_what_arrives_that_hangs_is_seen(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "_ROUND_WITHIN_S", 3.0)
    until = time.monotonic() + 6
    while time.monotonic() < until:
        assert ingest.is_turning
        time.sleep(0.1)
    free = threading.Event()

    def hangs(transfer_id: int) -> None:
        free.wait(30)

    monkeypatch.setattr(ingest.ledger.arrivals, "touch_transfer", hangs)
    with suppress(AssertionError):
        trickled(ingest, piece=16000, every_s=0.2, for_s=6)
    assert not ingest.is_turning
    free.set()
