"""Requests and answers of negotiation: what is ignored, what is refused, and in which words."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import connect, echo, read_pdu, rejection
from structlog.testing import capture_logs

from conformance.wire import pdus
from conformance.wire.pdus import Context, item, user_information
from dicom_node.association.acceptor import Acceptor
from dicom_node.association.channel import ConnectionLost, PlainChannel
from dicom_node.association.requestor import request
from dicom_node.association.service import Service
from dicom_node.association.wire import Malformed, application_context, readable
from dicom_node.config.peers import Sender
from dicom_node.sop_classes import VERIFICATION

ECHO = Context(1, VERIFICATION.uid, ("1.2.840.10008.1.2",))
ITEMS_AT = 74
CONTEXT_UNKNOWN, VERSION_UNKNOWN = (1, 1, 2), (1, 2, 2)
TYPES = {0x10, 0x20, 0x21, 0x30, 0x40, *range(0x50, 0x5A)}
unknown_items = st.lists(
    st.builds(item, st.sampled_from(sorted(set(range(256)) - TYPES)), st.binary(max_size=40)),
    max_size=4,
).map(b"".join)


@pytest.fixture
def port() -> Iterator[int]:
    sender = Sender.model_validate({"ae_title": "STORESCU", "networks": ["127.0.0.0/8"]})
    acceptor = Acceptor(
        ae_title="NODE",
        bind="127.0.0.1",
        port=0,
        senders=[sender],
        services=[Service((VERIFICATION,), (), open_sink=lambda *_: None)],
        maximum_associations=4,
    )
    acceptor.start()
    assert acceptor.port is not None
    yield acceptor.port
    acceptor.drain(0.5)


def asked(**changes: object) -> bytes:
    given: dict[str, object] = {"called": "NODE", "calling": "STORESCU", "contexts": [ECHO]}
    return pdus.associate_rq(**(given | changes))  # type: ignore[arg-type]  # as the caller says


def of_items(*items: bytes, kind: int = 1) -> bytes:
    return pdus.pdu(kind, struct.pack(">HH", 1, 0) + bytes(64) + b"".join(items))


@given(*[unknown_items] * 5)
def test_items_of_unknown_types_change_nothing_wherever_they_stand(a, b, c, d, e) -> None:
    name = item(0x10, b"1.2.840.10008.3.1.1.1")
    head = struct.pack(">BBBB", 1, 0, 0, 0)
    syntaxes = item(0x30, b"1.2.840.10008.1.1"), item(0x40, b"1.2.840.10008.1.2")
    length = item(0x51, struct.pack(">L", 16384))
    plain = of_items(name, item(0x20, head + b"".join(syntaxes)), item(0x50, length))
    strange = of_items(
        a, name, b, item(0x20, head + syntaxes[0] + c + syntaxes[1]), d, item(0x50, e + length), a
    )
    assert readable(strange) == plain == readable(plain)
    assert application_context(strange) == "1.2.840.10008.3.1.1.1"


@given(st.binary(max_size=60), st.sampled_from([1, 2]))
def test_items_are_read_whole_or_the_pdu_is_malformed(tail: bytes, kind: int) -> None:
    try:
        found = readable(of_items(tail, kind=kind))
    except Malformed:
        return
    assert int.from_bytes(found[2:6], "big") == len(found) - 6
    assert readable(found) == found


@pytest.mark.parametrize("kind", [3, 4, 5, 6, 7])
def test_pdus_of_other_types_are_left_as_they_are(kind: int) -> None:
    pdu = pdus.pdu(kind, bytes(range(200)))
    assert readable(pdu) == pdu


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("1.2.840.10008.3.1.1.1", None),
        ("1.2.840.10008.3.1.1.1\0", None),
        ("1.2.840.10008.3.1.1.2", CONTEXT_UNKNOWN),
        ("1.2.840.10008.3.1.1.11", CONTEXT_UNKNOWN),
        ("", CONTEXT_UNKNOWN),
    ],
)
def test_only_the_application_context_of_dicom_is_taken(
    port: int, name: str, answer: tuple[int, int, int] | None
) -> None:
    with capture_logs() as logs, connect(port) as sock:
        sock.sendall(asked(application_context=name))
        found = read_pdu(sock)
    if answer is None:
        assert found[0] == pdus.ASSOCIATE_AC
        return
    assert rejection(found) == answer
    (event,) = [e for e in logs if e["event"] == "association_refused"]
    assert (event["reason"], event["application_context"]) == ("another application context", name)


def test_a_request_without_an_application_context_is_refused_for_that(port: int) -> None:
    whole = asked()
    name = item(0x10, pdus.APPLICATION_CONTEXT.encode())
    with connect(port) as sock:
        sock.sendall(pdus.pdu(1, whole[6:].replace(name, b"")))
        assert rejection(read_pdu(sock)) == CONTEXT_UNKNOWN


@pytest.mark.parametrize("version", [1, 3, 0x8001, 0xFFFF])
def test_further_bits_of_the_protocol_version_are_not_looked_at(port: int, version: int) -> None:
    with connect(port) as sock:
        sock.sendall(asked(version=version))
        answer = read_pdu(sock)
        assert (answer[0], answer[6:8]) == (pdus.ASSOCIATE_AC, b"\0\1")


@pytest.mark.parametrize("version", [0, 2, 0xFFFE])
def test_a_version_without_bit_0_is_refused_for_that(port: int, version: int) -> None:
    with connect(port) as sock:
        sock.sendall(asked(version=version))
        assert rejection(read_pdu(sock)) == VERSION_UNKNOWN


@pytest.mark.parametrize("kinds", [(0x00,), (0x11, 0x2F, 0x60), (0xFF,) * 200])
def test_a_sender_may_use_items_of_a_later_standard(port: int, kinds: tuple[int, ...]) -> None:
    strange = b"".join(item(kind, b"later") for kind in kinds)
    with connect(port) as sock:
        sock.sendall(asked(extra_items=strange, user=user_information(strange)))
        assert read_pdu(sock)[0] == pdus.ASSOCIATE_AC


def test_a_request_of_nothing_but_items_holds_up_nobody(port: int) -> None:
    flood = of_items(item(0x2F, b"") * 65_000)
    titled = flood[:10] + b"NODE".ljust(16) + b"STORESCU".ljust(16) + flood[42:]
    began = time.monotonic()
    for _ in range(20):
        with connect(port) as sock:
            sock.sendall(titled)
            assert read_pdu(sock)[0] == pdus.ABORT
    echo(port)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("length", [0, 4, 5, 64, 4000, 2**32 - 1])
def test_an_abort_is_never_answered_whenever_it_comes_and_whatever_its_length(
    port: int, length: int
) -> None:
    abort = pdus.pdu(pdus.ABORT, bytes(min(length, 4000)), length=length)
    with connect(port) as sock:
        sock.sendall(abort)
        assert read_pdu(sock) == b""
    with connect(port) as sock:
        sock.sendall(asked())
        assert read_pdu(sock)[0] == pdus.ASSOCIATE_AC
        sock.sendall(abort)
        assert read_pdu(sock) == b""
    echo(port)


# -- as the one who asks ------------------------------------------------------------------------


def answering(*extra: bytes, sub_item: bytes = b"") -> tuple[int, Callable[[], None]]:
    """A peer whose A-ASSOCIATE-AC has more in it than we know; its port, and what ends it."""
    server = socket.create_server(("127.0.0.1", 0))
    context = item(0x21, bytes([1, 0, 0, 0]) + sub_item + item(0x40, b"1.2.840.10008.1.2"))
    name = item(0x10, pdus.APPLICATION_CONTEXT.encode())
    accept = of_items(name, *extra, context, user_information(sub_item), kind=2)

    def answer() -> None:
        sock, _ = server.accept()
        with sock:
            read_pdu(sock)
            sock.sendall(accept)
            if read_pdu(sock)[:1] == b"\x05":
                sock.sendall(pdus.release_rp())

    thread = threading.Thread(target=answer)
    thread.start()

    def end() -> None:
        server.close()
        thread.join()

    return int(server.getsockname()[1]), end


@pytest.mark.parametrize("kind", [0x00, 0x2F, 0x60, 0xFF])
def test_a_peer_may_answer_with_items_of_a_later_standard(kind: int) -> None:
    strange = item(kind, b"later")
    port, end = answering(strange, sub_item=strange)
    association = request(
        host="127.0.0.1", port=port, called_ae="PEER", calling_ae="NODE", sop_classes=[VERIFICATION]
    )
    assert association.is_established
    association.release()
    end()
    assert association.is_released


# -- what is said of a connection that ended ----------------------------------------------------


def test_the_reason_of_a_lost_connection_is_the_name_of_the_error_or_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    channel = PlainChannel(ours)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()  # a reset
    with pytest.raises(ConnectionLost) as reset:
        channel.receive_into(memoryview(bytearray(10)))
    assert reset.value.reason.startswith("ECONNRESET")
    channel.close()
    with pytest.raises(ConnectionLost) as closed:
        channel.send(b"x", time.monotonic() + 1)
    assert closed.value.reason == "closed by another thread"
