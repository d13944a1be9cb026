"""Destinations that are not well: they take a connection or an association and then say nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification


@contextmanager
def accepts_nothing_more() -> Iterator[int]:
    """The port of a peer that accepts TCP connections and never answers an A-ASSOCIATE-RQ."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)  # the kernel accepts; nobody reads
        yield int(listener.getsockname()[1])


@contextmanager
def answers_no_request(*, echoes: bool) -> Iterator[int]:
    """The port of a PACS that accepts associations and then hangs in C-STORE, or in C-ECHO too."""
    let_go = threading.Event()

    def hang(_event: Any) -> int:
        let_go.wait()
        return 0xA700

    def echo(event: Any) -> int:
        return 0x0000 if echoes else hang(event)

    entity = AE("PACS")
    # Segmentation and Comprehensive 3D SR
    for uid in ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"):
        entity.add_supported_context(uid, ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"])
    entity.add_supported_context(Verification)
    handlers = [(evt.EVT_C_STORE, hang), (evt.EVT_C_ECHO, echo)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield int(server.server_address[1])
    finally:
        let_go.set()
        server.shutdown()
