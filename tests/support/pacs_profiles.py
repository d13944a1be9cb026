"""PACS as they are found in hospitals: what each takes, how it answers, and what came in."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

EXPLICIT, IMPLICIT, JPEG_LS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.80"
SR_3D = "1.2.840.10008.5.1.4.1.1.88.34"
SR_ENHANCED, SR_TEXT = "1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.88.11"
SEG, PDF = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.104.1"
SC, WSM = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.77.1.6"
_PENDING, _SUCCESS = 0xFF00, 0x0000


@dataclass
class ProfiledPacs:
    """What it takes, by SOP class, and how it behaves."""

    takes: Mapping[str, Sequence[str]]
    answers: int = _SUCCESS
    """To C-STORE."""
    answers_to: Mapping[str, int] = field(default_factory=dict)
    """The same by SOP class, where it differs."""
    takes_s: float = 0.0
    """Seconds that it needs for an object."""
    aborts: Sequence[str] = ()
    """SOP classes at whose objects it breaks the association off, and answers nothing."""
    most: int = 16382
    """Bytes of a PDU that it takes."""
    fragments: list[int] = field(default_factory=list)
    """Lengths of the fragments of data and commands that came."""
    rejects: int = 0
    """So many associations are rejected first: "temporary congestion"."""
    finds: bool = False
    gets: bool = False
    tells: Sequence[str] = ()
    """Keywords that its answers to queries hold, besides the UID."""
    holds: dict[str, Dataset] = field(default_factory=dict)
    """By SOP Instance UID; what comes is added where the answer is 0000."""
    came: list[Dataset] = field(default_factory=list)
    """All that was sent, in the order of its coming, whatever was answered."""
    port: int = 0

    def on_store(self, event: Any) -> int:
        time.sleep(self.takes_s)
        ds = event.dataset
        ds.file_meta = event.file_meta
        self.came.append(ds)
        if ds.SOPClassUID in self.aborts:
            event.assoc.abort()
        answer = self.answers_to.get(str(ds.SOPClassUID), self.answers)
        if answer == _SUCCESS and ds.SOPClassUID not in self.aborts:
            self.holds[str(ds.SOPInstanceUID)] = ds
        return answer

    def on_find(self, event: Any) -> Iterator[tuple[int, Dataset]]:
        held = self.holds.get(str(event.identifier.SOPInstanceUID))
        if held is not None:
            match = Dataset()
            match.QueryRetrieveLevel = "IMAGE"
            match.SOPInstanceUID = held.SOPInstanceUID
            for keyword in self.tells:
                setattr(match, keyword, held.get(keyword))
            yield _PENDING, match

    def on_get(self, event: Any) -> Iterator[Any]:
        held = self.holds.get(str(event.identifier.SOPInstanceUID))
        yield int(held is not None)
        if held is not None:
            yield _PENDING, held

    def on_pdu(self, event: Any) -> None:
        for item in getattr(event.pdu, "presentation_data_value_items", None) or ():
            self.fragments.append(len(item.presentation_data_value) - 1)

    def on_request(self, event: Any) -> None:
        if self.rejects:
            self.rejects -= 1
            event.assoc.acse.send_reject(0x02, 0x03, 0x01)
            event.assoc.kill()


@contextmanager
def running(pacs: ProfiledPacs) -> Iterator[ProfiledPacs]:
    """The PACS as a server on loopback."""
    entity = AE("PACS")
    entity.maximum_pdu_size = pacs.most
    entity.add_supported_context(Verification)
    for sop_class, syntaxes in pacs.takes.items():
        role = True if pacs.gets else None
        entity.add_supported_context(sop_class, list(syntaxes), scu_role=role, scp_role=role)
    if pacs.finds:
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    if pacs.gets:
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    handlers = [
        (evt.EVT_REQUESTED, pacs.on_request),
        (evt.EVT_PDU_RECV, pacs.on_pdu),
        (evt.EVT_C_STORE, pacs.on_store),
        (evt.EVT_C_FIND, pacs.on_find),
        (evt.EVT_C_GET, pacs.on_get),
    ]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    pacs.port = int(server.server_address[1])
    try:
        yield pacs
    finally:
        server.shutdown()
