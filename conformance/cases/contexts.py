"""Presentation contexts: what is taken, what is refused and with which result (PS3.8 9.3.3.2)."""

from __future__ import annotations

from functools import partial

from conformance.case import Case
from conformance.peers import associations
from conformance.session import Session
from conformance.slides import syntaxes
from conformance.verdicts import expect, expect_equal
from conformance.wire import commands
from conformance.wire.commands import EXPLICIT_VR_LE, IMPLICIT_VR_LE, VERIFICATION
from conformance.wire.connection import ECHO, associated
from conformance.wire.pdus import Context

_SECTION = "PS3.8 9.3.3.2"
_NO_CLASS, _NO_SYNTAX = 3, 4  # PS3.8 Table 9-18
_WSM = syntaxes.WSM
_UNKNOWN_CLASSES = {
    "ct": "1.2.840.10008.5.1.4.1.1.2",
    "mr": "1.2.840.10008.5.1.4.1.1.4",
    "secondary-capture": "1.2.840.10008.5.1.4.1.1.7",
    "vl-photographic": "1.2.840.10008.5.1.4.1.1.77.1.4",
    "printing": "1.2.840.10008.5.1.1.9",
    "private": "1.2.826.0.1.3680043.8.498.999.1",
}


def _result(session: Session, context: Context) -> tuple[int, str]:
    """Result and transfer syntax of a context that is proposed beside one for C-ECHO."""
    with associated(session, [ECHO, context]) as (wire, accepted):
        expect_equal(accepted.contexts.get(1, (None,))[0], 0, "result of the other context")
        found = accepted.contexts.get(context.id)
        expect(found is not None, found="no answer for a context", expected="one for each")
        wire.release()
    return found or (-1, "")


def _taken(session: Session, syntax: str) -> None:
    proposals = [(_WSM, [syntax])]
    with associations.association(session, proposals) as association:
        expect_equal(associations.accepted(association), [(_WSM, syntax)], "accepted")


def _refused_class(session: Session, uid: str) -> None:
    result, _ = _result(session, Context(3, uid, (EXPLICIT_VR_LE, IMPLICIT_VR_LE)))
    expect_equal(result, _NO_CLASS, "result")


def _refused_syntax(session: Session, syntax: str) -> None:
    result, _ = _result(session, Context(3, _WSM, (syntax,)))
    expect_equal(result, _NO_SYNTAX, "result")


def _compressed_first(session: Session, proposed: tuple[str, ...]) -> None:
    result, syntax = _result(session, Context(3, _WSM, proposed))
    expect_equal(result, 0, "result")
    native = (EXPLICIT_VR_LE, IMPLICIT_VR_LE)
    expect(
        syntax in proposed and syntax not in native,
        found=syntax,
        expected="a compressed one of those proposed",
    )


def _among_unknown(session: Session) -> None:
    result, syntax = _result(session, Context(3, _WSM, ("1.2.3.4.5", EXPLICIT_VR_LE, "1.2.3.4.6")))
    expect_equal((result, syntax), (0, EXPLICIT_VR_LE), "result and transfer syntax")


def _many(session: Session) -> None:
    contexts = [ECHO, *(Context(n, _WSM, (EXPLICIT_VR_LE,)) for n in range(3, 256, 2))]
    with associated(session, contexts) as (wire, accepted):
        expect_equal(sorted(accepted.contexts), [c.id for c in contexts], "answered contexts")
        wire.release()


def _same_class_often(session: Session) -> None:
    contexts = [Context(2 * n + 1, _WSM, (s,)) for n, s in enumerate(syntaxes.TAKEN)]
    with associated(session, contexts) as (wire, accepted):
        expected = {c.id: (0, c.transfer_syntaxes[0]) for c in contexts}
        expect_equal(accepted.contexts, expected, "contexts")
        wire.release()


def _highest_id(session: Session) -> None:
    context = Context(255, VERIFICATION, (IMPLICIT_VR_LE,))
    with associated(session, [context]) as (wire, _):
        status = commands.number(wire.echo(context_id=255), commands.STATUS)
        expect_equal(status, 0, "status")
        wire.release()


def _descending(session: Session) -> None:
    contexts = [Context(n, VERIFICATION, (IMPLICIT_VR_LE,)) for n in (9, 5, 1)]
    with associated(session, contexts) as (wire, accepted):
        expect_equal(set(accepted.contexts), {1, 5, 9}, "answered contexts")
        for context in contexts:
            status = commands.number(wire.echo(context_id=context.id), commands.STATUS)
            expect_equal(status, 0, f"status in context {context.id}")
        wire.release()


def _uid_with_null(session: Session) -> None:
    """An odd UID that is padded with a null (PS3.8 F forbids it; senders in use do it)."""
    result, _ = _result(session, Context(3, VERIFICATION + "\0", (IMPLICIT_VR_LE,)))
    expect(result in (0, _NO_CLASS), found=f"result {result}", expected="0 or 3")


_ORDERS = (
    ("last", (IMPLICIT_VR_LE, EXPLICIT_VR_LE, "1.2.840.10008.1.2.4.50")),
    ("first", ("1.2.840.10008.1.2.4.91", EXPLICIT_VR_LE)),
    ("between", (EXPLICIT_VR_LE, "1.2.840.10008.1.2.4.90", IMPLICIT_VR_LE)),
)

CASES = (
    *(
        Case(f"contexts.takes-{name}", "PS3.5 10", f"Whole slide images are taken as {name}",
             partial(_taken, syntax=uid))
        for uid, name in syntaxes.TAKEN.items()
    ),
    *(
        Case(f"contexts.refuses-{name}", _SECTION, f"{name} is refused with result 4",
             partial(_refused_syntax, syntax=uid))
        for uid, name in syntaxes.NOT_TAKEN.items()
    ),
    *(
        Case(f"contexts.refuses-class-{name}", _SECTION,
             "A class that is not offered is refused with result 3, others are not",
             partial(_refused_class, uid=uid))
        for name, uid in _UNKNOWN_CLASSES.items()
    ),
    *(
        Case(f"contexts.compressed-{name}", _SECTION,
             "A compressed transfer syntax is chosen before an uncompressed one",
             partial(_compressed_first, proposed=proposed))
        for name, proposed in _ORDERS
    ),
    Case("contexts.among-unknown", _SECTION, "A known syntax among unknown ones is chosen",
         _among_unknown),
    Case("contexts.128", "PS3.8 9.3.2.2", "Of 128 contexts each is answered under its own id",
         _many),
    Case("contexts.one-class-each-syntax", _SECTION,
         "One class in a context for each syntax is taken in all of them", _same_class_often),
    Case("contexts.id-255", "PS3.8 9.3.2.2", "A context with id 255 works", _highest_id),
    Case("contexts.descending", "PS3.8 9.3.2.2", "Context ids may come in any order", _descending),
    Case("contexts.padded-uid", "PS3.8 F", "A UID with a null after it is an answer, not an end",
         _uid_with_null),
)  # fmt: skip
