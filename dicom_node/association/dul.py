"""The thread that reads an association's socket, in place of pynetdicom's (see seams.py)."""

from __future__ import annotations

import time
from contextlib import suppress
from queue import Empty
from typing import Any

import structlog
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.timer import Timer

from dicom_node.association.channel import ConnectionLost
from dicom_node.association.pdus import PduStream
from dicom_node.association.wire import (
    ABORT_TYPE,
    ASSOCIATE_AC,
    ASSOCIATE_LIMIT_BYTES,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    HEADER_BYTES,
    Malformed,
    readable,
)

log = structlog.get_logger()

P_DATA_TF = 0x04  # PS3.8 Table 9-11 and following: PDU types 1 to 7
CONTROL_LIMIT_BYTES = 64  # release and abort PDUs carry 4 bytes
PDU_SLACK_BYTES = 64  # some senders do not count the PDV headers
BURST_BYTES = 64 << 20  # bytes of an instance read before the reactor looks at its timers again
BURST_WAIT_MS = 20
_BEFORE = ("Sta1", "Sta2")  # the request is there before the library knows of the connection
_OVER = ("Sta1", "Sta2", "Sta13")  # PS3.8 Table 9-10: no association, and none is being answered


class SteadyTimer(Timer):  # type: ignore[misc]  # untyped base
    """A timer of the library that goes by a clock that nobody can set: by its own, a time server
    that moves the host's clock ends associations, or keeps them for ever."""

    _start_time: float | None
    _end_time: float | None

    @property
    def remaining(self) -> float:
        """Seconds until it expires; 1 if it never does."""
        if self.timeout is None:
            return 1.0
        if self._start_time is None:
            return float(self.timeout)
        now = time.monotonic() if self._end_time is None else self._end_time
        return float(self.timeout - (now - self._start_time))

    def start(self) -> None:
        """Begin anew."""
        self._start_time, self._end_time = time.monotonic(), None

    def stop(self) -> None:
        """Stand still."""
        self._end_time = time.monotonic()


class LenientDul(DULServiceProvider):  # type: ignore[misc]  # untyped base
    """Ignores items of association negotiation that it does not know, as acceptor or requestor."""

    def _decode_pdu(self, bytestream: bytearray) -> tuple[Any, str]:
        """PDU and event of the library. Raises Malformed, and whatever the library raises."""
        pdu, event = super()._decode_pdu(bytearray(readable(bytes(bytestream))))
        return pdu, event

    @classmethod
    def take_over(cls, dul: DULServiceProvider) -> None:
        """Make one of the library, before its thread begins, one of this class."""
        # The classes only add behavior; pynetdicom changes a message's class the same way.
        dul.__class__ = cls
        for timer in (dul.artim_timer, dul._idle_timer):
            timer.__class__ = SteadyTimer


class ReceivingDul(LenientDul):
    """Reads PDUs of bounded size in bounded time; dataset bytes are passed on without copies."""

    stream: PduStream

    def patience_s(self) -> float:
        """Seconds in which a whole PDU has to arrive."""
        established = self.state_machine.current_state == "Sta6"
        return float(self.assoc.dimse_timeout if established else self.assoc.acse_timeout)

    def _process_recv_primitive(self) -> bool:
        """Take up what our own side wants to say, as long as there is an association.

        An answer may come just after the peer's last PDU has ended everything: the library takes
        that for a state that cannot be, and its thread ends in the middle.
        """
        if self.state_machine.current_state in _OVER:
            with suppress(Empty):
                self.to_provider_queue.get(block=False)
            return False
        return bool(super()._process_recv_primitive())

    def _read_pdu_data(self) -> None:
        """Deal with the next PDU as far as it has arrived; called when `ready`."""
        try:
            if not self.stream.whole():
                self.stream.receive()
        except ConnectionLost as error:
            self.lost(error.reason)
            return
        header = self.stream.header()
        if header is None or not self._admitted(*header) or not self.stream.has(header[1]):
            return
        pdu_type, length = header
        if pdu_type == P_DATA_TF and self._store_burst():
            return
        overrun = self.assoc.dimse.overrun()
        if overrun is None:
            self._decode(self.stream.peek(length))
            self.stream.skip(length)
        else:
            self._refuse(pdu_type, length, overrun)

    def _store_burst(self) -> bool:
        """Store fragments of the arriving dataset as long as they keep coming.

        Meanwhile the association's own thread rests: it wakes a thousand times a second otherwise.
        False when the next PDU is not such a fragment.
        """
        arriving = self.assoc.dimse.arriving()
        if arriving is None or self.state_machine.current_state != "Sta6":
            return False
        context_id, sink = arriving
        stored = 0
        self.assoc._reactor_checkpoint.clear()
        try:
            more = True
            while more and stored < BURST_BYTES and not self._wanted_elsewhere():
                pieces, more = self._next_fragments(context_id)
                sink.write(*pieces)
                stored += sum(map(len, pieces))
                more = more and self._receive_more()
        finally:
            self.assoc._reactor_checkpoint.set()
        self._idle_timer.restart()
        return stored > 0

    def _wanted_elsewhere(self) -> bool:
        return self._kill_thread or bool(self.to_provider_queue.queue)

    def _receive_more(self) -> bool:
        try:
            return self.stream.receive() or self.stream.readable(BURST_WAIT_MS)
        except ConnectionLost:  # seen again by who reads next
            return False

    def _next_fragments(self, context_id: int) -> tuple[list[memoryview], bool]:
        """Fragments that have arrived, and whether nothing else than fragments comes after them."""
        pieces: list[memoryview] = []
        while (header := self.stream.header()) is not None:
            pdu_type, length = header
            if pdu_type != P_DATA_TF or length > self.data_limit:
                return pieces, False
            if not self.stream.has(length):
                break
            found = _plain_fragments(self.stream.peek(length)[HEADER_BYTES:], context_id)
            if not found:
                return pieces, False
            pieces += found
            self.stream.skip(length)
        return pieces, True

    @property
    def data_limit(self) -> int:
        """Longest P-DATA-TF PDU taken."""
        return int(self.assoc.acceptor.maximum_length) + PDU_SLACK_BYTES

    def _admitted(self, pdu_type: int, length: int) -> bool:
        """Whether a PDU of this type and length may be read; if not, the connection is ended."""
        limit = CONTROL_LIMIT_BYTES
        if pdu_type == P_DATA_TF:
            limit = self.data_limit
        elif pdu_type in (ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ):
            limit = ASSOCIATE_LIMIT_BYTES
        if 0x01 <= pdu_type <= 0x07 and length <= limit:
            return True
        self._refuse(pdu_type, length, f"PDU type 1 to 7 and at most {limit} bytes expected")
        return False

    def _refuse(self, pdu_type: int, length: int, reason: str) -> None:
        """Abort the association and end the connection at once."""
        peer = self.assoc.requestor.address_info.address
        log.warning("pdu_refused", peer=peer, pdu_type=pdu_type, length=length, reason=reason)
        if pdu_type != ABORT_TYPE:  # an abort is not answered, whatever is wrong with it
            self.abort_at_once()
        self.lost("refused")

    def abort_at_once(self) -> None:
        """Send an A-ABORT past the state machine."""
        abort = A_ABORT_RQ()
        abort.source = 0x02  # PS3.8 Table 9-26: the service provider
        abort.reason_diagnostic = 0x06  # invalid PDU parameter value
        self._send(abort)

    def lost(self, reason: str) -> None:
        """End the connection: the stream has ended or cannot be trusted any more."""
        log.debug("connection_lost", reason=reason)
        self.socket._shutdown_socket()
        if self.state_machine.current_state in _BEFORE:
            # No association yet: wake its thread, which would wait for the A-ASSOCIATE timeout.
            self.to_user_queue.put(None)
        self.event_queue.put("Evt17")  # transport connection closed

    def _decode(self, view: memoryview) -> None:
        """Hand a PDU to pynetdicom."""
        try:
            pdu, event = self._decode_pdu(bytearray(view))
            if view[0] == ASSOCIATE_RQ:
                _require_contexts(pdu.to_primitive())
        except Exception as error:  # noqa: BLE001 - whatever a hostile PDU breaks in the decoder
            peer = self.assoc.requestor.address_info.address
            log.warning("pdu_undecodable", peer=peer, error=type(error).__name__)
            if view[0] == ABORT_TYPE:
                self.lost("aborted")
            elif self.state_machine.current_state in _BEFORE:
                self.abort_at_once()  # and end: no place is kept by a request that says nothing
                self.lost("undecodable")
            else:
                self.event_queue.put("Evt19")  # invalid PDU
            return
        self.event_queue.put(event)
        self._recv_pdu.put(pdu)


def _require_contexts(request: Any) -> None:
    """Raise Malformed where a context proposes nothing: the library would fail over it, in a thread
    that has no answer for that."""
    for context in request.presentation_context_definition_list:
        if not context.abstract_syntax or not context.transfer_syntax:
            raise Malformed


def _plain_fragments(items: memoryview, context_id: int) -> list[memoryview]:
    """The dataset bytes of a P-DATA-TF PDU that holds nothing but further fragments of a dataset.

    PS3.8 9.3.5 and Annex E: items of length, context id, control byte, bytes. Empty when the PDU
    is one for pynetdicom: the last fragment, a command, anything odd.
    """
    fragments = []
    offset = 0
    while offset < len(items):
        end = offset + 4 + int.from_bytes(items[offset : offset + 4], "big")
        if end <= offset + 6 or end > len(items):
            return []
        if items[offset + 4] != context_id or items[offset + 5] & 3:
            return []
        fragments.append(items[offset + 6 : end])
        offset = end
    return fragments
