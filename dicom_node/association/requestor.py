"""Associations that we ask for."""

from __future__ import annotations

from collections.abc import Sequence

from pynetdicom import AE
from pynetdicom.association import Association

from dicom_node.association.contexts import proposed_contexts
from dicom_node.association.limits import REQUESTED, Limits, prepare
from dicom_node.sop_classes import SopClass


def request(
    *,
    host: str,
    port: int,
    called_ae: str,
    calling_ae: str,
    sop_classes: Sequence[SopClass],
    limits: Limits = REQUESTED,
) -> Association:
    """An association with every class and transfer syntax proposed; look whether it stands.

    Raises OSError and RuntimeError where the network fails in the middle.
    """
    entity = AE(ae_title=calling_ae)
    prepare(entity, limits)
    return entity.associate(
        host,
        port,
        contexts=proposed_contexts(sop_classes),
        ae_title=called_ae,
        max_pdu=limits.pdu_bytes,
    )
