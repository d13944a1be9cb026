"""A PACS that commits to what it keeps, as well or as badly as a test wants it to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    SegmentationStorage,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

INSTANCE = "1.2.840.10008.1.20.1.1"


@dataclass
class KeepingPacs:
    """What it has, what it was asked, and how it behaves."""

    node_port: int
    reports: str = "new"
    """On a `new` association, the `same` one, or `never`."""
    loses: set[str] = field(default_factory=set)
    """SOP Instance UIDs that it forgets at once, the first time they come."""
    failing: dict[str, int] = field(default_factory=dict)
    """Failure reasons that it reports."""
    answers: int = 0x0000
    """To N-ACTION."""
    stores_as: int = 0x0000
    commits: bool = True
    finds: bool = True
    times: int = 1
    """How often it reports."""
    port: int = 0
    held: dict[str, Dataset] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)
    asked: list[tuple[str, list[str]]] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    """Statuses of the node to its reports."""

    def on_store(self, event: Any) -> int:
        ds = event.dataset
        uid = str(ds.SOPInstanceUID)
        self.stored.append(uid)
        if uid in self.loses:
            self.loses.discard(uid)
        elif self.stores_as == 0x0000:
            self.held[uid] = ds
        return self.stores_as

    def on_action(self, event: Any) -> tuple[int, None]:
        ds = event.action_information
        wanted = [(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID)
                  for i in ds.ReferencedSOPSequence]  # fmt: skip
        self.asked.append((str(ds.TransactionUID), [str(uid) for _, uid in wanted]))
        if self.answers == 0x0000 and self.reports != "never":
            threading.Thread(
                target=self._report, args=(event.assoc, str(ds.TransactionUID), wanted)
            ).start()
        return self.answers, None

    def _report(self, association: Any, transaction: str, wanted: list[Any]) -> None:
        kept = [(c, u) for c, u in wanted if u in self.held and u not in self.failing]
        lost = {(c, u): self.failing.get(u, 0x0112) for c, u in wanted if (c, u) not in kept}
        ds = Dataset()
        ds.TransactionUID = transaction
        ds.ReferencedSOPSequence = [_reference(*pair) for pair in kept]
        if lost:
            ds.FailedSOPSequence = [_reference(*pair) for pair in lost]
            for item, reason in zip(ds.FailedSOPSequence, lost.values(), strict=True):
                item.FailureReason = reason
        for _ in range(self.times):
            if self.reports == "same":
                self._send(association, ds)
            else:
                self.send_report(ds)

    def send_report(self, ds: Dataset, calling: str = "PACS") -> None:
        """Report on an association of its own, as SCP."""
        entity = AE(calling)
        entity.add_requested_context(StorageCommitmentPushModel, ImplicitVRLittleEndian)
        association = entity.associate(
            "127.0.0.1", self.node_port, ae_title="DICOMNODE",
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
        )  # fmt: skip
        assert association.is_established
        self._send(association, ds)
        association.release()

    def _send(self, association: Any, ds: Dataset) -> None:
        event_type = 2 if "FailedSOPSequence" in ds else 1
        status, _ = association.send_n_event_report(
            ds, event_type, StorageCommitmentPushModel, INSTANCE
        )
        self.answered.append(status.get("Status", -1))

    def on_find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for uid, ds in self.held.items():
            if event.identifier.SOPInstanceUID in ("", uid):
                if event.identifier.StudyInstanceUID != ds.StudyInstanceUID:
                    continue
                match = Dataset()
                match.QueryRetrieveLevel = "IMAGE"
                match.SOPInstanceUID = uid
                yield 0xFF00, match


def _reference(sop_class: str, instance: str) -> Dataset:
    ds = Dataset()
    ds.ReferencedSOPClassUID, ds.ReferencedSOPInstanceUID = sop_class, instance
    return ds


@contextmanager
def keeping_pacs(node_port: int, **behaves: Any) -> Iterator[KeepingPacs]:
    """A running one."""
    pacs = KeepingPacs(node_port, **behaves)
    entity = AE("PACS")
    for sop_class in (Comprehensive3DSRStorage, SegmentationStorage, Verification):
        entity.add_supported_context(sop_class)
    if pacs.commits:
        entity.add_supported_context(StorageCommitmentPushModel)
    if pacs.finds:
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    handlers = [(evt.EVT_C_STORE, pacs.on_store), (evt.EVT_N_ACTION, pacs.on_action),
                (evt.EVT_C_FIND, pacs.on_find)]  # fmt: skip
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    pacs.port = int(server.server_address[1])
    try:
        yield pacs
    finally:
        server.shutdown()
