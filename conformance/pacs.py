"""A small PACS inside the tool: it remembers what the node sends back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
COMMITMENT = "1.2.840.10008.1.20.1"
_VERIFICATION = "1.2.840.10008.1.1"
_NATIVE = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
_JPEG_LS = "1.2.840.10008.1.2.4.80"


@dataclass(frozen=True, slots=True)
class Received:
    """An object that came, and on what association."""

    dataset: Dataset
    calling_ae: str
    called_ae: str
    class_uid: str
    """Implementation Class UID that the requestor stated."""
    version_name: str
    at: float
    """By the monotonic clock."""


@dataclass(slots=True)
class ResultsPacs:
    """What came, newest last. Safe to ask from another thread than the one that listens."""

    ae_title: str
    port: int
    objects: list[Received] = field(default_factory=list)
    reports: list[tuple[int, Dataset]] = field(default_factory=list)
    """Storage commitment reports: event type and event information."""
    requests: list[Dataset] = field(default_factory=list)
    """Storage commitment requests of the node for its results."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def of(self, study_uid: str) -> list[Received]:
        """What came for a study."""
        with self.changed:
            return [r for r in self.objects if r.dataset.StudyInstanceUID == study_uid]

    def wait(self, condition: Callable[[], object], within_s: float) -> bool:
        """Whether something became so while objects and reports came in."""
        with self.changed:
            return bool(self.changed.wait_for(condition, within_s))

    def quiet(self, study_uid: str, for_s: float) -> bool:
        """Wait; whether nothing came for the study meanwhile."""
        before = len(self.of(study_uid))
        time.sleep(for_s)
        return len(self.of(study_uid)) == before


@contextmanager
def listening(ae_title: str, bind: str, port: int) -> Iterator[ResultsPacs]:
    """A running PACS; port 0 takes a free one. Raises OSError where it cannot listen."""
    pacs = ResultsPacs(ae_title, port)
    entity = AE(ae_title)
    entity.maximum_pdu_size = 128 << 10
    entity.require_called_aet = False
    entity.supported_contexts = [
        build_context(_VERIFICATION, _NATIVE),
        build_context(SEGMENTATION, [_JPEG_LS, *_NATIVE]),
        build_context(COMPREHENSIVE_3D_SR, _NATIVE),
    ]
    # Both roles: the node may ask for commitment of its results, and report on that of ours.
    entity.add_supported_context(COMMITMENT, _NATIVE, scu_role=True, scp_role=True)
    handlers: list[Any] = [
        (evt.EVT_C_STORE, _store, [pacs]),
        (evt.EVT_N_EVENT_REPORT, _report, [pacs]),
        (evt.EVT_N_ACTION, _requested, [pacs]),
    ]
    server = entity.start_server((bind, port), block=False, evt_handlers=handlers)
    pacs.port = int(server.server_address[1])
    try:
        yield pacs
    finally:
        server.shutdown()


def _store(event: Any, pacs: ResultsPacs) -> int:
    dataset = event.dataset
    dataset.file_meta = FileMetaDataset(event.file_meta)
    requestor = event.assoc.requestor
    received = Received(
        dataset,
        requestor.primitive.calling_ae_title.strip(),
        requestor.primitive.called_ae_title.strip(),
        str(requestor.implementation_class_uid or ""),
        str(requestor.implementation_version_name or ""),
        time.monotonic(),
    )
    with pacs.changed:
        pacs.objects.append(received)
        pacs.changed.notify_all()
    return 0x0000


def _report(event: Any, pacs: ResultsPacs) -> tuple[int, None]:
    with pacs.changed:
        pacs.reports.append((int(event.event_type), event.event_information))
        pacs.changed.notify_all()
    return 0x0000, None


def _requested(event: Any, pacs: ResultsPacs) -> tuple[int, None]:
    with pacs.changed:
        pacs.requests.append(event.action_information)
        pacs.changed.notify_all()
    return 0x0000, None
