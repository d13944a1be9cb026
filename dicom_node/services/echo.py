"""Verification as SCP (PS3.4 Annex A): C-ECHO is answered by the library itself."""

from __future__ import annotations

from dicom_node.association.service import Service
from dicom_node.sop_classes import VERIFICATION


def service() -> Service:
    """Only the presentation context: there is nothing to handle."""
    return Service(sop_classes=(VERIFICATION,), handlers=())
