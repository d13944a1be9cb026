"""A small PACS for the demo and the tests: it keeps what it is sent, and it sends slides."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom import dcmread
from pynetdicom import AE, _config, evt
from pynetdicom.presentation import build_context

from dicom_node.results.kinds import usual_classes
from dicom_node.sop_classes import VERIFICATION

_SUCCESS = 0x0000
_NO_RESPONSE = 0xFFFF
"""Reported for an instance without an answer; no status of PS3.4 B.2.3 has this value."""
_MAX_PDU = 128 * 1024


class SmallPacs:
    """A PACS on loopback that takes Verification and the node's result classes.

    Each object becomes one file in `folder`, named by the order of arrival: 0001.dcm, 0002.dcm.
    Files that a PACS kept there before count as arrived. A context manager; it listens between
    entry and exit. `port` 0 takes a free one.
    """

    def __init__(self, folder: Path, *, port: int = 0, ae_title: str = "DEMOPACS") -> None:
        self.folder = folder
        self.port = port
        self.ae_title = ae_title
        self._arrived = threading.Condition()
        self._paths: list[Path] = []
        self._server: Any = None  # pynetdicom's ThreadedAssociationServer is untyped

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._paths = sorted(self.folder.glob("[0-9]*.dcm"))
        entity = AE(ae_title=self.ae_title)
        entity.maximum_pdu_size = _MAX_PDU
        for sop_class in (VERIFICATION, *usual_classes().values()):
            entity.add_supported_context(
                sop_class.uid, [t.uid for t in sop_class.transfer_syntaxes]
            )
        self._server = entity.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._store), (evt.EVT_C_ECHO, _answer_echo)],
        )
        self.port = self._server.server_address[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files of the objects that arrived, in order of arrival."""
        with self._arrived:
            return tuple(self._paths)

    def wait_for(self, n: int, timeout_s: float) -> tuple[Path, ...]:
        """The files, once at least `n` objects arrived; TimeoutError when they do not."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self._paths) >= n, timeout_s):
                raise TimeoutError(
                    f"{len(self._paths)} of {n} objects reached {self.ae_title} in {timeout_s} s"
                )
            return tuple(self._paths)

    def _store(self, event: Any) -> int:
        with self._arrived:
            path = self.folder / f"{len(self._paths) + 1:04d}.dcm"
            path.write_bytes(event.encoded_dataset())
            self._paths.append(path)
            self._arrived.notify_all()
        return _SUCCESS


def send_folder(
    paths: Iterable[Path], *, host: str, port: int, calling_ae: str, called_ae: str
) -> list[tuple[Path, int]]:
    """Sends DICOM files by C-STORE over one association; each file with its status.

    Files go out in pieces, as they are: nothing is decoded or held in memory. Status 0xFFFF means
    that no answer came, the association being lost. Raises ConnectionError when the peer cannot be
    reached or refuses the association, ValueError when it refuses the class or transfer syntax of
    a file.
    """
    files = list(paths)
    entity = AE(ae_title=calling_ae)
    entity.requested_contexts = [build_context(*pair) for pair in sorted(_kinds(files))]
    association = entity.associate(host, port, ae_title=called_ae, max_pdu=_MAX_PDU)
    refused = [c for c in association.rejected_contexts if c.abstract_syntax]
    if refused:
        association.release()
        kinds = ", ".join(f"{c.abstract_syntax} in {c.transfer_syntax[0]}" for c in refused)
        raise ValueError(f"{called_ae} at {host}:{port} does not take {kinds}")
    if not association.is_established:
        raise ConnectionError(
            f"no association with {called_ae} at {host}:{port}: check that it runs and knows "
            f"{calling_ae}"
        )
    sent = []
    try:
        with _in_pieces():
            for path in files:
                status = _NO_RESPONSE
                if association.is_established:
                    answer = association.send_c_store(path)
                    status = int(answer.get("Status", _NO_RESPONSE))
                sent.append((path, status))
    finally:
        association.release()
    return sent


@contextmanager
def _in_pieces() -> Iterator[None]:
    """Has pynetdicom read files while it sends them; it knows only a setting of the process."""
    before = _config.STORE_SEND_CHUNKED_DATASET
    _config.STORE_SEND_CHUNKED_DATASET = True
    try:
        yield
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = before


def _kinds(files: Iterable[Path]) -> set[tuple[str, str]]:
    """SOP class and transfer syntax of each file, which together need a context."""
    kinds = set()
    for path in files:
        header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        kinds.add((str(header.SOPClassUID), str(header.file_meta.TransferSyntaxUID)))
    return kinds


def _answer_echo(event: Any) -> int:
    return _SUCCESS
