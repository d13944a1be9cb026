"""Sending results: one object at a time by C-STORE, every outcome a value.

Resending is harmless: an object keeps its UIDs and its bytes, and a destination that already holds
it answers success or 0111.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import gaierror
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association

from dicom_node.association.requestor import request
from dicom_node.association.tls.contexts import TlsFailed, TlsUnusable
from dicom_node.config.peers import Destination
from dicom_node.deliver.choose import Choice, choices_of, offered
from dicom_node.ledger.states import DeliveryState
from dicom_node.observe.log import os_reason, place_of
from dicom_node.results.kinds import result_classes
from dicom_node.sop_classes import (
    VERIFICATION,
    SopClass,
)

ALREADY_THERE = "0111"
_MAY_PASS = {0x0110, 0x0213}
"""Processing failure and resource limitation (PS3.7 C.5); A7xx is added below (PS3.4 B.2.3)."""
# A name that does not resolve, a peer that is gone between accepting and answering, one that does
# not agree on TLS, and files of our own that a person has to mend.
NETWORK_FAULTS = (OSError, RuntimeError, TlsUnusable)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a destination said when asked, with transfer syntaxes by SOP class UID."""

    reachable: bool
    echoes: bool
    accepted: dict[str, list[str]]
    reason: str
    """Empty when all is well; otherwise what is wrong, or is sent otherwise, for people."""
    choices: tuple[Choice, ...] = ()
    """What it is sent, as it answered; empty where it did not."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt to send one object."""

    state: DeliveryState
    status: str | None
    error: str | None
    is_answered: bool = True
    """False where nobody answered: whatever else is sent there would fare no better now."""


def ask(destination: Destination, own_ae_title: str) -> Acceptance:
    """Negotiate every result class with a destination, echo it, and send nothing."""
    try:
        return _ask(destination, own_ae_title)
    except NETWORK_FAULTS as error:
        return Acceptance(False, False, {}, _broken(destination, error))


def _ask(destination: Destination, own_ae_title: str) -> Acceptance:
    classes = result_classes()
    offers = [offered(destination, sop_class) for sop_class in classes.values()]
    association = associate(destination, own_ae_title, [*offers, VERIFICATION])
    if not association.is_established and not association.rejected_contexts:
        return Acceptance(False, False, {}, _why_not_established(association, destination))
    accepted: dict[str, list[str]] = {uid: [] for uid in classes}
    for context in association.accepted_contexts:
        if context.abstract_syntax in accepted:
            accepted[context.abstract_syntax].append(context.transfer_syntax[0])
    can_echo = any(c.abstract_syntax == VERIFICATION.uid for c in association.accepted_contexts)
    echoes = can_echo and association.send_c_echo().get("Status") == 0x0000
    if association.is_established:
        association.release()
    choices = choices_of(destination, accepted)
    reasons = [choice.told for choice in choices if choice.told]
    if not echoes:
        reasons.append("does not answer C-ECHO")
    return Acceptance(True, echoes, accepted, "; ".join(reasons), choices)


def send(path: Path, destination: Destination, own_ae_title: str) -> Outcome:
    """Send one result object; a failure that may pass leaves it PENDING.

    Where the destination refuses the object's compressed transfer syntax the pixels are sent
    decompressed, which for a lossless syntax is the same object.
    """
    dataset = dcmread(path)
    try:
        return _send_dataset(dataset, destination, own_ae_title)
    except NETWORK_FAULTS as error:
        return Outcome(DeliveryState.PENDING, None, _broken(destination, error), is_answered=False)


def _send_dataset(dataset: Dataset, destination: Destination, own_ae_title: str) -> Outcome:
    sop_class = offered(destination, result_classes()[dataset.SOPClassUID])
    association = associate(destination, own_ae_title, [sop_class])
    if not association.is_established:
        refuses_class = bool(association.rejected_contexts)
        state = DeliveryState.REFUSED if refuses_class else DeliveryState.PENDING
        why = _why_not_established(association, destination)
        return Outcome(state, None, why, is_answered=refuses_class)
    try:
        return _send(association, dataset, destination)
    finally:
        association.release()


def associate(
    destination: Destination,
    own_ae_title: str,
    sop_classes: Sequence[SopClass],
    *,
    handlers: Sequence[tuple[Any, Callable[[Any], Any]]] = (),
    taken: Sequence[SopClass] = (),
) -> Association:
    """An association with a destination; look whether it stands. Raises NETWORK_FAULTS.

    `handlers` are for what the destination sends on it, `taken` the classes that it may send.
    """
    return request(
        host=destination.host,
        port=destination.port,
        called_ae=destination.ae_title,
        calling_ae=destination.calling_ae_title or own_ae_title,
        sop_classes=sop_classes,
        tls=destination.tls,
        handlers=handlers,
        taken=taken,
    )


def _send(association: Association, dataset: Dataset, destination: Destination) -> Outcome:
    taken = {c.transfer_syntax[0] for c in association.accepted_contexts}
    own = dataset.file_meta.TransferSyntaxUID
    plain = {ExplicitVRLittleEndian, ImplicitVRLittleEndian} & taken
    if own not in taken:
        if not plain:
            name = result_classes()[dataset.SOPClassUID].name
            return Outcome(
                DeliveryState.REFUSED, None, f"{destination.name} accepts no {name} as {own.name}"
            )
        if own.is_compressed:
            dataset.decompress(generate_instance_uid=False)
        # Between the two uncompressed syntaxes the library converts by itself.
    status = association.send_c_store(dataset).get("Status")
    if status is None:
        why = f"{destination.name} gave no answer to C-STORE"
        return Outcome(DeliveryState.PENDING, None, why, is_answered=False)
    return _judge(int(status), destination)


def _judge(status: int, destination: Destination) -> Outcome:
    """Outcome of a C-STORE status (PS3.4 B.2.3, PS3.7 C)."""
    code = f"{status:04X}"
    if status == 0x0000 or status >> 12 == 0xB:  # Bxxx: stored, with a warning
        return Outcome(DeliveryState.DELIVERED, code, None)
    if code == ALREADY_THERE:
        return Outcome(DeliveryState.DELIVERED, code, "the destination already held it")
    if status in _MAY_PASS or status >> 8 == 0xA7:
        return Outcome(DeliveryState.PENDING, code, f"{destination.name} answered {code}")
    return Outcome(DeliveryState.REFUSED, code, f"{destination.name} answered {code}")


def _broken(destination: Destination, error: Exception) -> str:
    """What is wrong, in the words of the operating system or ours."""
    if isinstance(error, TlsUnusable):
        return f"{_where(destination)} cannot be asked: the files of its TLS are of no use: {error}"
    if isinstance(error, TlsFailed):
        return f"{_where(destination)} and the node do not agree on TLS: {error}"
    if isinstance(error, gaierror):
        why = f"the host name {destination.host} cannot be resolved"
    else:
        why = os_reason(error) if isinstance(error, OSError) else place_of(error)
    return f"{_where(destination)} cannot be reached: {why}"


def _where(destination: Destination) -> str:
    return f"{destination.name} ({destination.ae_title}@{destination.host}:{destination.port})"


def _why_not_established(association: Association, destination: Destination) -> str:
    where = _where(destination)
    if association.is_rejected:
        primitive = association.acceptor.primitive
        reason = getattr(primitive, "reason_str", "no reason given")
        return f"{where} rejected the association: {reason}"
    if association.rejected_contexts:
        classes = result_classes()
        names = sorted(
            {
                classes[c.abstract_syntax].name
                for c in association.rejected_contexts
                if c.abstract_syntax in classes
            }
        )
        return f"{where} accepts no {' and no '.join(names)}"
    return f"{where} cannot be reached or broke off"
