"""Associations of pynetdicom as it is: the library of others that many senders use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.presentation import build_context

from conformance.session import Session
from conformance.verdicts import Failed, expect
from conformance.wire.pdus import CLASS_UID, VERSION_NAME

Proposals = Sequence[tuple[str, Sequence[str]]]
"""Abstract syntaxes, each with transfer syntaxes; one context for every line."""


def ask(
    session: Session,
    proposals: Proposals,
    *,
    negotiation: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Any:
    """An association of the library, established or not."""
    target = session.target
    entity = AE(target.calling_ae)
    entity.implementation_class_uid = CLASS_UID
    entity.implementation_version_name = VERSION_NAME
    entity.connection_timeout = entity.acse_timeout = session.patience_s
    entity.dimse_timeout = entity.network_timeout = max(60.0, session.patience_s)
    return entity.associate(
        target.host,
        target.port,
        contexts=[build_context(abstract, list(syntaxes)) for abstract, syntaxes in proposals],
        ae_title=target.called_ae,
        max_pdu=128 << 10,
        ext_neg=list(negotiation),
        tls_args=(target.tls, target.host) if target.tls is not None else None,
        evt_handlers=list(handlers),
    )


@contextmanager
def association(session: Session, proposals: Proposals, **further: Any) -> Iterator[Any]:
    """An association that stands, released at the end. Raises Failed when it was not to be had."""
    made = ask(session, proposals, **further)
    if not made.is_established:
        raise Failed(why_not(made), "an association with an accepted context")
    try:
        yield made
    finally:
        if made.is_established:
            made.release()


def why_not(association: Any) -> str:
    """What became of an association that does not stand."""
    if association.is_rejected:
        answer = association.acceptor.primitive
        code = f"{answer.result}/{answer.result_source}/{answer.diagnostic}"
        return f"A-ASSOCIATE-RJ {code}"
    if association.rejected_contexts:
        return "no context accepted"
    return "aborted" if association.is_aborted else "no association"


def accepted(association: Any) -> list[tuple[str, str]]:
    """Abstract and transfer syntax of the accepted contexts."""
    return [
        (str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts
    ]


def store(association: Any, dataset: Dataset) -> int:
    """The status that a C-STORE is answered with. Raises Failed where it is not answered."""
    answer = association.send_c_store(dataset)
    status = answer.get("Status")
    expect(status is not None, found="no answer to C-STORE", expected="a status")
    return int(status)
