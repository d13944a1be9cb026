"""PDUs out of a byte stream, however the network cuts it."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator

import pytest

from dicom_node.association.channel import ConnectionLost, PlainChannel
from dicom_node.association.pdus import CAPACITY_BYTES, PduStream

Pair = tuple[socket.socket, PduStream]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    yield peer, PduStream(PlainChannel(ours))
    peer.close()
    ours.close()


def pdu(kind: int, body: bytes) -> bytes:
    return bytes([kind, 0]) + len(body).to_bytes(4, "big") + body


def read_all(stream: PduStream) -> list[bytes]:
    """Every whole PDU that can be read without waiting."""
    found = []
    while stream.whole() or stream.receive():
        while stream.whole():
            header = stream.header()
            assert header is not None
            found.append(bytes(stream.peek(header[1])))
            stream.skip(header[1])
    return found


def test_pdus_come_out_as_they_went_in_whatever_the_pieces(pair: Pair) -> None:
    peer, stream = pair
    rng = random.Random(5)
    sent = [
        pdu(rng.randrange(1, 8), rng.randbytes(rng.choice((0, 4, 100, 131_072, 262_000))))
        for _ in range(80)
    ]
    wire = b"".join(sent)
    received: list[bytes] = []
    while wire:
        count = peer.send(wire[: rng.choice((1, 5, 7, 1000, 60_000))])
        wire = wire[count:]
        received += read_all(stream)
    assert received == sent


def test_a_pdu_that_can_never_fit_is_announced_at_once(pair: Pair) -> None:
    peer, stream = pair
    peer.send(b"\x04\x00" + CAPACITY_BYTES.to_bytes(4, "big"))
    assert stream.receive()
    assert stream.whole()
    assert not stream.has(CAPACITY_BYTES)


def test_an_unfinished_pdu_is_overdue_and_a_finished_one_is_not(pair: Pair) -> None:
    peer, stream = pair
    peer.send(pdu(4, bytes(10))[:-1])
    stream.receive()
    time.sleep(0.05)
    peer.send(b"")
    assert stream.overdue(0.01)
    assert not stream.overdue(60)
    peer.send(b"\0")
    stream.receive()
    stream.skip(10)
    assert not stream.overdue(0)


def test_the_end_of_the_stream_comes_after_what_was_sent_before_it(pair: Pair) -> None:
    peer, stream = pair
    peer.send(pdu(5, bytes(4)))
    peer.close()
    assert stream.receive()
    assert stream.has(4)
    stream.skip(4)
    with pytest.raises(ConnectionLost, match="end of the stream"):
        stream.receive()
