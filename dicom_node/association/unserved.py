"""Requests that no service can serve, and the status they are answered with (PS3.7 Annex C)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pynetdicom.dimse_primitives import C_ECHO, C_STORE

Operations = Mapping[str, Collection[str]]
"""Names of the DIMSE operations that are served, such as C_STORE, by SOP class."""

UNRECOGNIZED_OPERATION = 0x0211
MISTYPED_ARGUMENT = 0x0212
_CLASS_NOT_SUPPORTED = 0x0122  # of DIMSE-C
_NO_SUCH_CLASS = 0x0118  # of DIMSE-N


def is_answer(message: Any) -> bool:
    """Whether a message is no request: a response, or a C-CANCEL, which has none itself."""
    return message.MessageIDBeingRespondedTo is not None


def status_against(message: Any, sop_class: str, served: Collection[str]) -> int | None:
    """What a request in a context of this class is answered before any service has seen it; None
    where a service is to answer. Whatever a C-STORE lacks has a status of its own there."""
    if type(message).__name__ not in served:
        return UNRECOGNIZED_OPERATION
    if isinstance(message, C_STORE):
        return None
    if not message.is_valid_request:
        return MISTYPED_ARGUMENT
    if _class_of(message) != sop_class:
        return _CLASS_NOT_SUPPORTED if isinstance(message, C_ECHO) else _NO_SUCH_CLASS
    return None


def answer(message: Any, status: int) -> Any:
    """The response to a request that has a Message ID."""
    response = type(message)()
    response.MessageIDBeingRespondedTo = message.MessageID
    response.Status = status
    return response


def _class_of(message: Any) -> str | None:
    """DIMSE-C, N-EVENT-REPORT and N-CREATE have an affected class, the others a requested one."""
    for keyword in ("AffectedSOPClassUID", "RequestedSOPClassUID"):
        if (uid := getattr(message, keyword, None)) is not None:
            return str(uid)
    return None
