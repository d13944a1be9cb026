"""Requests that lack something, or that a class does not have: each is answered, or ends it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import connect, echo, read_pdu

from conformance.wire import commands, pdus, split
from conformance.wire.commands import Fields
from conformance.wire.connection import Wire, command_pdv
from conformance.wire.pdus import Context
from dicom_node.config.peers import Sender
from dicom_node.ledger.ledger import Ledger
from dicom_node.processes.ingest import Ingest
from dicom_node.sop_classes import STORAGE_COMMITMENT, VERIFICATION, VL_WHOLE_SLIDE_MICROSCOPY
from dicom_node.spool.spool import Spool

WSM, COMMITMENT, ECHO = VL_WHOLE_SLIDE_MICROSCOPY.uid, STORAGE_COMMITMENT.uid, VERIFICATION.uid
NATIVE = (commands.EXPLICIT_VR_LE,)
CONTEXTS = [Context(1, ECHO, NATIVE), Context(3, WSM, NATIVE), Context(5, COMMITMENT, NATIVE)]
INSTANCE = "1.2.840.10008.1.20.1.1"
N_GET, N_SET, N_CREATE, N_DELETE, C_GET, C_MOVE = 0x0110, 0x0120, 0x0140, 0x0150, 0x0010, 0x0021
EVENT_TYPE, ACTION_TYPE = 0x1002, 0x1008


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


@pytest.fixture(scope="module")
def ingest(folder: Path) -> Iterator[Ingest]:
    sender = Sender.model_validate({"ae_title": "STORESCU", "networks": ["127.0.0.0/8"]})
    made = Ingest(
        ae_title="NODE",
        bind="127.0.0.1",
        port=0,
        senders=[sender],
        spool=Spool(folder / "spool", reserve_bytes=0),
        ledger=Ledger.open(folder / "node.sqlite"),
        maximum_associations=4,
    )
    made.start()
    yield made
    made.drain(0.5)


@pytest.fixture
def wire(ingest: Ingest) -> Iterator[Wire]:
    assert ingest.port is not None
    with connect(ingest.port) as sock:
        made = Wire(sock, 5)
        made.send(pdus.associate_rq(called="NODE", calling="STORESCU", contexts=CONTEXTS))
        accepted = made.accepted()
        assert [accepted.contexts[c.id][0] for c in CONTEXTS] == [0, 0, 0]
        yield made


def ask(wire: Wire, context_id: int, fields: Fields, data: bytes | None = None) -> str:
    """The status that a request is answered with, in words."""
    given = {commands.MESSAGE_ID: 9, commands.DATA_SET_TYPE: 1 if data else 0x0101, **fields}
    command = commands.command({k: v for k, v in given.items() if v != ""})
    wire.send(pdus.p_data([command_pdv(context_id, command)]))
    if data:
        wire.send(*split.one_each(split.items(context_id, data, 8000, is_command=False)))
    return wire.reply()


STORE = {
    commands.COMMAND_FIELD: commands.C_STORE_RQ,
    commands.AFFECTED_CLASS: WSM,
    commands.AFFECTED_INSTANCE: "1.2.3",
    commands.PRIORITY: 0,
}
ACTION = {
    commands.COMMAND_FIELD: commands.N_ACTION_RQ,
    commands.REQUESTED_CLASS: COMMITMENT,
    commands.REQUESTED_INSTANCE: INSTANCE,
    ACTION_TYPE: 1,
}
REPORT = {
    commands.COMMAND_FIELD: commands.N_EVENT_REPORT_RQ,
    commands.AFFECTED_CLASS: COMMITMENT,
    commands.AFFECTED_INSTANCE: INSTANCE,
    EVENT_TYPE: 1,
}


@pytest.mark.parametrize("size", [20, 40_000, 400_000])
@pytest.mark.parametrize("lacking", [commands.AFFECTED_CLASS, commands.AFFECTED_INSTANCE])
def test_a_c_store_command_without_a_uid_is_answered_and_the_next_one_too(
    folder: Path, wire: Wire, lacking: int, size: int
) -> None:
    for _ in range(3):
        assert ask(wire, 3, {**STORE, lacking: ""}, bytes(size)) == "status C002"
    assert commands.number(wire.echo(), commands.STATUS) == 0
    assert list((folder / "spool").rglob("*.dcm")) == []


def test_a_c_store_command_without_a_priority_is_served_as_any_other(wire: Wire) -> None:
    assert ask(wire, 3, {**STORE, commands.PRIORITY: ""}, bytes(400)) == "status C001"


def test_a_c_store_without_a_data_set_is_answered(wire: Wire) -> None:
    assert ask(wire, 3, STORE) == "status C001"


@pytest.mark.parametrize("named", [ECHO, COMMITMENT, "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"])
def test_a_c_store_is_answered_as_one_whatever_class_it_names(wire: Wire, named: str) -> None:
    assert ask(wire, 3, {**STORE, commands.AFFECTED_CLASS: named}, bytes(4000)) in (
        "status 0122",
        "status C001",
    )


LACKING = [
    (1, {commands.COMMAND_FIELD: commands.C_ECHO_RQ}, "0212"),
    *((5, {**ACTION, k: ""}, "0212") for k in ACTION if k != commands.COMMAND_FIELD),
    *((5, {**REPORT, k: ""}, "0212") for k in REPORT if k != commands.COMMAND_FIELD),
]


@pytest.mark.parametrize(("context_id", "fields", "status"), LACKING)
def test_a_command_without_one_of_its_fields_is_answered(
    wire: Wire, context_id: int, fields: Fields, status: str
) -> None:
    assert ask(wire, context_id, fields) == f"status {status}"
    assert commands.number(wire.echo(), commands.STATUS) == 0


@pytest.mark.parametrize(
    ("context_id", "fields", "status"),
    [
        (1, {commands.COMMAND_FIELD: commands.C_ECHO_RQ, commands.AFFECTED_CLASS: WSM}, "0122"),
        (5, {**ACTION, commands.REQUESTED_CLASS: ECHO}, "0118"),
        (5, {**REPORT, commands.AFFECTED_CLASS: ECHO}, "0118"),
    ],
)
def test_a_command_for_another_class_than_its_context_is_answered_no(
    wire: Wire, context_id: int, fields: Fields, status: str
) -> None:
    assert ask(wire, context_id, fields) == f"status {status}"


@pytest.mark.parametrize("context_id", [1, 3, 5])
@pytest.mark.parametrize(
    "operation", [commands.C_FIND_RQ, C_GET, C_MOVE, N_GET, N_SET, N_CREATE, N_DELETE]
)
def test_an_operation_that_a_class_does_not_have_is_answered_no(
    wire: Wire, context_id: int, operation: int
) -> None:
    named = {c.id: c.abstract_syntax for c in CONTEXTS}[context_id]
    fields = {
        commands.COMMAND_FIELD: operation,
        commands.AFFECTED_CLASS: named,
        commands.REQUESTED_CLASS: named,
        commands.REQUESTED_INSTANCE: "1.2.3",
        commands.PRIORITY: 0,
    }
    assert ask(wire, context_id, fields, bytes(100)) == "status 0211"
    assert commands.number(wire.echo(), commands.STATUS) == 0


@pytest.mark.parametrize("context_id", [1, 5])
def test_a_c_store_where_nothing_is_stored_is_answered_no_and_is_not_written(
    folder: Path, wire: Wire, context_id: int
) -> None:
    assert ask(wire, context_id, STORE, bytes(100_000)) == "status 0211"
    assert list((folder / "spool").rglob("*.dcm")) == []


@pytest.mark.parametrize("context_id", [1, 3, 5])
def test_a_command_without_a_message_id_ends_the_association(
    ingest: Ingest, wire: Wire, context_id: int
) -> None:
    fields = {**STORE, commands.MESSAGE_ID: ""}
    assert ask(wire, context_id, fields, bytes(100)).startswith("A-ABORT")
    assert ingest.port is not None
    echo(ingest.port)


@pytest.mark.parametrize("lacking", [commands.COMMAND_FIELD, commands.DATA_SET_TYPE])
def test_a_command_that_does_not_say_what_it_is_ends_the_association(
    wire: Wire, lacking: int
) -> None:
    assert ask(wire, 3, {**STORE, lacking: ""}).startswith("A-ABORT")


def test_a_flood_of_reports_takes_no_thread_for_each(ingest: Ingest, wire: Wire) -> None:
    before, most = threading.active_count(), 0
    command = commands.command({**REPORT, commands.MESSAGE_ID: 9, commands.DATA_SET_TYPE: 0x0101})
    flood = pdus.p_data([command_pdv(5, command)])
    for _ in range(40):
        try:
            wire.socket.sendall(flood * 25)
        except OSError:
            break  # cut off for its haste
        most = max(most, threading.active_count())
    assert most - before < 8
    while read_pdu(wire.socket):
        pass
    assert ingest.port is not None
    echo(ingest.port)


def test_data_right_behind_a_request_ends_no_thread_in_the_middle(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[object] = []
    monkeypatch.setattr(threading, "excepthook", ended.append)
    assert ingest.port is not None
    for _ in range(30):
        with connect(ingest.port) as sock:
            echo_rq = pdus.p_data([command_pdv(1, commands.echo_rq())])
            asks = pdus.associate_rq(called="NODE", calling="STORESCU", contexts=CONTEXTS)
            sock.sendall(asks + echo_rq * 3)
            while read_pdu(sock)[:1] not in (b"", b"\x07"):
                sock.sendall(pdus.abort())
    assert ended == []
