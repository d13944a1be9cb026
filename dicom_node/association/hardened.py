"""The parts of pynetdicom 3.0.4 that the listener replaces, on its own associations only.

As released, its acceptor trusts the length a peer puts into a PDU, waits for ever for the rest of
one, reads 4 KiB at a time, keeps or flushes every fragment, and leaves a partial file behind when
a transfer is aborted. It has two threads for every connection, also for one that never says
anything: here the lobby listens, and an association begins when it has been asked for. Nothing is
patched globally: `ReceivingHandler` gives the objects of each new association subclasses of their
own, so that a sender in the same process is untouched.
These are private seams: tests/dicom_node/test_seams.py pins what they rely on.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any

import structlog
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import uid_to_service_class
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler

from dicom_node.association.admission import Caller
from dicom_node.association.channel import Channel, ConnectionLost
from dicom_node.association.dul import ReceivingDul
from dicom_node.association.lobby.visitor import Entrant
from dicom_node.association.pdus import PduStream
from dicom_node.association.service import Sink
from dicom_node.association.unserved import Operations, answer, is_answer, status_against
from dicom_node.observe.log import trace_of
from dicom_node.sop_classes import STORAGE_COMMITMENT

log = structlog.get_logger()

MESSAGE_LIMIT_BYTES = 256 << 10  # a command set, or a dataset that is no C-STORE
REPORT_LIMIT_BYTES = 4 << 20  # 35,000 references of storage commitment, from who may associate
_WITH_LISTS = {STORAGE_COMMITMENT.uid}
QUEUE_LIMIT = 8  # requests waiting; we negotiate no asynchronous operations (PS3.7 D.3.3.3)


class ReceivingServer(AssociationServer):  # type: ignore[misc]  # untyped base
    """What the library asks of a listener, without the listening: the lobby does that.

    `open_sink(association, context_id, command_set)` is called when a C-STORE request begins;
    `ended(caller)` when an association is over, however it ended.
    """

    open_sink: Callable[[Association, int, Any], Sink]
    operations: Operations
    ended: Callable[[Caller], None]

    def server_bind(self) -> None:
        """Bind nothing: connections come from the lobby."""
        self.socket.close()

    def server_activate(self) -> None:
        """Listen to nothing."""

    def shutdown_request(self, request: Any) -> None:
        """Leave the socket to the association, which closes it at its end."""

    def prepare(self, entrant: Entrant) -> Association:
        """The association that has been asked for, to be started."""
        handler = ReceivingHandler.__new__(ReceivingHandler)  # its constructor would serve at once
        handler.request, handler.server = entrant.sock, self
        handler.client_address = entrant.host, entrant.port
        association: Association = handler.prepare(entrant)
        association.caller = entrant.caller
        return association


class ReceivingHandler(RequestHandler):  # type: ignore[misc]  # untyped base
    """Sets up the association of one accepted connection."""

    def prepare(self, entrant: Entrant) -> Association:
        """An association that goes on where the lobby has stopped reading."""
        association = self._create_association()
        # The classes only add behavior; pynetdicom changes a message's class the same way.
        association.__class__ = ReceivingAssociation
        ReceivingDul.take_over(association.dul)
        association.dul.socket.__class__ = ReceivingSocket
        association.dimse.__class__ = ReceivingDimse
        channel = entrant.channel()
        association.dul.socket.channel = channel
        association.dul.stream = PduStream(channel, entrant.request)
        association.dimse.sinks = set()
        return association


class ReceivingAssociation(Association):  # type: ignore[misc]  # untyped base
    """Answers every request, and closes every sink that no handler took, whatever ended it."""

    def run(self) -> None:
        """Serve the association, then give everything back."""
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 - whatever a hostile request breaks in the library
            log.error("association_failed", trace=trace_of(error))
            self.dul.abort_at_once()
        finally:
            self.dul.kill_dul()
            self.dul.socket._shutdown_socket()
            if self.dul.is_alive():
                self.dul.join()
            for sink in list(self.dimse.sinks):
                self.take(sink)
                sink.close()
            self._server.ended(self.caller)

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """Have a request served by the class of its context; the library goes by the one that the
        command names, and leaves requests that lack something without an answer."""
        if threading.current_thread() is not self:
            # Reports of commitment come in threads of their own, as many as the peer sends.
            self.dimse.msg_queue.put((context_id, msg))
            return
        if self._sent_release or is_answer(msg):
            return
        context = self._accepted_cx.get(context_id)
        if context is None or msg.MessageID is None:  # without one nothing can be answered
            self.abort()
            return
        sop_class = context.abstract_syntax
        status = status_against(msg, sop_class, self._server.operations.get(sop_class, ()))
        if status is not None:
            log.warning("request_refused", request=type(msg).__name__, status=f"{status:04X}")
            self.dimse.send_msg(answer(msg, status), context_id)
        else:
            self._have_served(msg, context)

    def _have_served(self, msg: Any, context: Any) -> None:
        if isinstance(msg, C_STORE) and msg.DataSet is None and msg._dataset_file is None:
            msg.DataSet = BytesIO()  # a command that has announced none
        self._is_paused = True  # a service may send requests of its own
        try:
            uid_to_service_class(context.abstract_syntax)(self).SCP(msg, context)
        except Exception as error:  # noqa: BLE001 - whatever a peer's request breaks in the library
            log.error("request_failed", request=type(msg).__name__, trace=trace_of(error))
            self.abort()
        self._is_paused = False
        self.dimse.cancel_req = {}  # of no use here: no operation of ours can be canceled

    def take(self, sink: Sink) -> None:
        """Make the caller the owner of a sink: it closes it."""
        self.dimse.sinks.discard(sink)


class ReceivingSocket(AssociationSocket):  # type: ignore[misc]  # untyped base
    """A channel whose received bytes are in the association's stream."""

    channel: Channel

    @property
    def ready(self) -> bool:
        """Whether a PDU, bytes, or the end of the stream wait to be read."""
        if self.socket is None or not self._is_connected:
            return False
        if not self.channel.is_open:  # closed by another thread
            self.event_queue.put("Evt17")  # transport connection closed
            return False
        dul = self.assoc.dul
        if dul.stream.whole() or dul.stream.readable(0):
            return True
        if dul.stream.overdue(dul.patience_s()):
            dul.lost("a PDU did not arrive in time")
        return False

    def _shutdown_socket(self) -> None:
        """Close the connection."""
        self.channel.close()

    def send(self, bytestream: bytes) -> None:
        """Send everything, or end the connection when the peer does not take it in time."""
        try:
            self.channel.send(bytestream, time.monotonic() + self.assoc.dimse_timeout)
        except ConnectionLost:
            self.event_queue.put("Evt17")


class ReceivingDimse(DIMSEServiceProvider):  # type: ignore[misc]  # untyped base
    """Opens a sink as soon as the command of a C-STORE request is known."""

    sinks: set[Sink]

    def receive_primitive(self, primitive: Any) -> None:
        """Process a P-DATA primitive."""
        try:
            super().receive_primitive(primitive)
        except Exception as error:  # noqa: BLE001 - whatever a hostile command breaks in the decoder
            log.warning("command_undecodable", error=type(error).__name__)
            self.dul.event_queue.put("Evt19")  # invalid PDU
            return
        message = self.message  # None when it is complete
        if message is None or message._data_set_file or not isinstance(message, C_STORE_RQ):
            return
        if not self._stores(message.context_id):
            return  # its bytes are counted against MESSAGE_LIMIT_BYTES
        sink = self.assoc._server.open_sink(self.assoc, message.context_id, message.command_set)
        self.sinks.add(sink)
        sink.write(message.data_set.getvalue())
        message.data_set = BytesIO()
        message._data_set_file = sink

    def _stores(self, context_id: int) -> bool:
        context = self.assoc._accepted_cx.get(context_id)
        operations = self.assoc._server.operations
        return context is not None and "C_STORE" in operations.get(context.abstract_syntax, ())

    def arriving(self) -> tuple[int, Sink] | None:
        """Context id and sink of the dataset that is arriving."""
        message = self.message
        if message is None or message._data_set_file is None:
            return None
        return message.context_id, message._data_set_file

    def overrun(self) -> str | None:
        """What the peer has sent too much of, if anything."""
        message = self.message
        if self.msg_queue.qsize() > QUEUE_LIMIT:
            return "requests before the answer to earlier ones"
        if message is None:
            early = len(self.sinks) > 1
            return "C-STORE requests before the answer to earlier ones" if early else None
        held = message.encoded_command_set.tell() + message.data_set.tell()
        return "bytes in one message" if held > self._limit_bytes(message) else None

    def _limit_bytes(self, message: Any) -> int:
        context = self.assoc._accepted_cx.get(message.context_id)
        lists = context is not None and context.abstract_syntax in _WITH_LISTS
        return REPORT_LIMIT_BYTES if lists else MESSAGE_LIMIT_BYTES


def quiet() -> None:
    """Keep pynetdicom from decoding each PDU for a debug log of its own, and Python from keeping
    every text of a warning about what a peer has sent, in this process."""
    _config.LOG_HANDLER_LEVEL = "none"
    warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")
