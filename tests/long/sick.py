"""A destination that is there and does not answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from pynetdicom import AE, evt

from dicom_node.sop_classes import COMPREHENSIVE_3D_SR, SEGMENTATION, VERIFICATION

Silence = Literal["A-ASSOCIATE", "C-ECHO", "C-STORE"]
"""From which message on it does not answer any more."""


class Sick:
    """Listens on a port, and hangs from a chosen message on; never releases what it holds."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._stop = threading.Event()
        self._server: Any = None
        self._listener: socket.socket | None = None

    def hang(self, silence: Silence) -> None:
        """Drop every connection, listen again, and hang from this message on."""
        self.stop()
        self._stop = threading.Event()
        if silence == "A-ASSOCIATE":
            self._listen()
        else:
            self._serve(silence)

    def stop(self) -> None:
        """Free the port."""
        self._stop.set()
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._listener.close()
            self._listener = None
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self._listener, stop = listener, self._stop
        held = []

        def accept() -> None:
            with suppress(OSError):  # closed
                while not stop.is_set():
                    held.append(listener.accept()[0])
            for connection in held:
                connection.close()

        threading.Thread(target=accept, daemon=True).start()

    def _serve(self, silence: Silence) -> None:
        entity = AE("PACS")
        entity.maximum_associations = 1000
        entity.network_timeout = entity.dimse_timeout = None
        for sop_class in (SEGMENTATION, COMPREHENSIVE_3D_SR, VERIFICATION):
            syntaxes = [syntax.uid for syntax in sop_class.transfer_syntaxes]
            entity.add_supported_context(sop_class.uid, syntaxes)
        stop = self._stop

        def hang(_event: evt.Event) -> int:
            stop.wait()
            return 0xA700

        def echo(event: evt.Event) -> int:
            return hang(event) if silence == "C-ECHO" else 0x0000

        handlers = [(evt.EVT_C_ECHO, echo), (evt.EVT_C_STORE, hang)]
        self._server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=handlers
        )


@contextmanager
def sick(port: int, silence: Silence) -> Iterator[Sick]:
    """A destination on this port that hangs."""
    made = Sick(port)
    made.hang(silence)
    try:
        yield made
    finally:
        made.stop()
