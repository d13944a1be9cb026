"""A sender that asks the node to commit to what it stored, and hears the reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    VLWholeSlideMicroscopyImageStorage,
)

INSTANCE = "1.2.840.10008.1.20.1.1"
WSM = str(VLWholeSlideMicroscopyImageStorage)
Reference = tuple[str, str]


@dataclass
class AskingSender:
    """What it was told, and how it behaves."""

    node_port: int
    title: str = "PACS"
    port: int = 0
    answers: int = 0x0000
    """To reports."""
    reports: list[tuple[int, Dataset]] = field(default_factory=list)
    """Event type and information, in the order in which they came."""
    called: list[str] = field(default_factory=list)
    """Calling AE titles of the associations that reports came on."""
    roles: list[tuple[bool, bool]] = field(default_factory=list)
    """SCU and SCP role that the node proposed for itself on them."""

    def store(self, datasets: Sequence[Dataset]) -> None:
        """Send instances, all on one association."""
        entity = AE(self.title)
        syntaxes = {str(d.file_meta.TransferSyntaxUID) for d in datasets}
        for syntax in syntaxes:
            entity.add_requested_context(WSM, syntax)
        association = self._associate(entity)
        for dataset in datasets:
            assert association.send_c_store(dataset).Status == 0x0000
        association.release()

    def ask(
        self,
        references: Sequence[Reference],
        transaction: str | None = None,
        *,
        action: int = 1,
        instance: str = INSTANCE,
    ) -> tuple[str, int | None]:
        """Transaction UID and status of an N-ACTION for SOP class and SOP Instance UIDs."""
        uid = transaction or generate_uid()
        ds = Dataset()
        ds.TransactionUID = uid
        ds.ReferencedSOPSequence = []
        for sop_class, sop_instance in references:
            item = Dataset()
            item.ReferencedSOPClassUID = sop_class
            item.ReferencedSOPInstanceUID = sop_instance
            ds.ReferencedSOPSequence.append(item)
        return uid, self.send(ds, action=action, instance=instance)

    def send(self, ds: Dataset, *, action: int = 1, instance: str = INSTANCE) -> int | None:
        """Status of an N-ACTION; None without an answer."""
        entity = AE(self.title)
        entity.add_requested_context(StorageCommitmentPushModel)
        association = self._associate(entity)
        status, _ = association.send_n_action(ds, action, StorageCommitmentPushModel, instance)
        association.release()
        code: int | None = status.get("Status")
        return code

    def _associate(self, entity: AE) -> Any:
        association = entity.associate("127.0.0.1", self.node_port, ae_title="DICOMNODE")
        assert association.is_established
        return association

    def of(self, transaction: str) -> list[tuple[int, dict[Reference, str]]]:
        """What was reported on a transaction: event type, and `committed` or the reason of each."""
        return [
            (kind, outcomes_of(ds)) for kind, ds in self.reports if ds.TransactionUID == transaction
        ]

    def told(self, transaction: str, *, within_s: float = 20) -> dict[Reference, str]:
        """Outcomes of the first report on a transaction."""
        _until(lambda: self.of(transaction), within_s)
        (kind, outcomes) = self.of(transaction)[0]
        assert kind == (1 if set(outcomes.values()) == {"committed"} else 2)
        return outcomes

    def on_report(self, event: Any) -> tuple[int, None]:
        requestor = event.assoc.requestor
        self.called.append(requestor.primitive.calling_ae_title.strip())
        for uid, role in requestor.role_selection.items():
            assert uid == StorageCommitmentPushModel
            self.roles.append((role.scu_role, role.scp_role))
        self.reports.append((int(event.event_type), event.event_information))
        return self.answers, None


def outcomes_of(ds: Dataset) -> dict[Reference, str]:
    """`committed` or the failure reason by SOP class and SOP Instance UID."""
    found: dict[Reference, str] = {}
    for item in ds.get("ReferencedSOPSequence") or []:
        found[item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID] = "committed"
    for item in ds.get("FailedSOPSequence") or []:
        pair = item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID
        assert pair not in found
        found[pair] = f"{item.FailureReason:04X}"
    return found


def _until(condition: Callable[[], object], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "no report"
        time.sleep(0.02)


@contextmanager
def asking_sender(
    node_port: int, *, title: str = "PACS", port: int = 0, takes: bool = True, answers: int = 0
) -> Iterator[AskingSender]:
    """A running one; unless it `takes` the role that the node proposes."""
    sender = AskingSender(node_port, title, answers=answers)
    with hearing(sender, port=port, takes=takes):
        yield sender


@contextmanager
def hearing(sender: AskingSender, *, port: int = 0, takes: bool = True) -> Iterator[None]:
    """Its listener."""
    entity = AE(sender.title)
    roles = {"scu_role": True, "scp_role": True} if takes else {"scu_role": True, "scp_role": False}
    entity.add_supported_context(StorageCommitmentPushModel, **roles)
    server = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, sender.on_report)]
    )
    sender.port = int(server.server_address[1])
    try:
        yield
    finally:
        server.shutdown()
