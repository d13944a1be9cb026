"""Who may open an association, and what a refusal says (PS3.8 9.3.4)."""

from __future__ import annotations

import contextlib
from functools import partial

from conformance.case import Case, Need
from conformance.session import Session
from conformance.verdicts import Skipped, expect, expect_equal
from conformance.wire import pdus
from conformance.wire.connection import ECHO, Ended, Wire, connect, still_echoes

_STRANGER = "NOBODY_KNOWS_ME"
_SECTION = "PS3.8 9.3.4"


def _answer(session: Session, wire: Wire, **changes: str | bytes | int) -> str:
    """What a request is answered with, other than the one of the target in some respect."""
    given: dict[str, object] = {
        "called": session.target.called_ae,
        "calling": session.target.calling_ae,
        **changes,
    }
    wire.send(pdus.associate_rq(contexts=[ECHO], **given))  # type: ignore[arg-type] # as the caller says
    return wire.answer()


def _refused(session: Session, code: str, **changes: str | bytes | int) -> None:
    with connect(session) as wire:
        expect_equal(_answer(session, wire, **changes), f"A-ASSOCIATE-RJ {code}", "answer:")
    still_echoes(session)


def _not_taken(session: Session, **changes: str | bytes | int) -> None:
    """A title of spaces is no AE title (PS3.5 6.2): whether it is refused or aborted is open."""
    with connect(session) as wire:
        found = _answer(session, wire, **changes)
        is_no = found.startswith(("A-ASSOCIATE-RJ", "A-ABORT"))
        expect(is_no, found=found, expected="A-ASSOCIATE-RJ or A-ABORT")


def _taken(session: Session, **changes: str | bytes | int) -> None:
    with connect(session) as wire:
        expect_equal(_answer(session, wire, **changes), "A-ASSOCIATE-AC", "answer:")


def _calling_padded(session: Session) -> None:
    _taken(session, calling=_padded(session.target.calling_ae))


def _called_padded(session: Session) -> None:
    _taken(session, called=_padded(session.target.called_ae))


def _padded(title: str) -> bytes:
    if len(title) == 16:
        raise Skipped("the AE title has 16 characters: no room for a space before it")
    return f" {title}".encode().ljust(16)


def _other_case(session: Session) -> None:
    title = session.target.called_ae
    if title.swapcase() == title:
        raise Skipped("the AE title has no letters")
    _refused(session, "1/1/7", called=title.swapcase())


def _nothing_after_refusal(session: Session) -> None:
    with connect(session) as wire:
        _answer(session, wire, calling=_STRANGER)
        wire.socket.settimeout(session.patience_s)
        with contextlib.suppress(Ended):
            wire.send(pdus.associate_rq(
                called=session.target.called_ae, calling=session.target.calling_ae, contexts=[ECHO]
            ))  # fmt: skip
        found = wire.answer()
        is_over = found.startswith("A-ABORT") or found == str(Ended())
        expect(is_over, found=found, expected="A-ABORT or the end: the association was refused")


def _closes_after_refusal(session: Session) -> None:
    with connect(session) as wire:
        found = _answer(session, wire, calling=_STRANGER)
        expect(found.startswith("A-ASSOCIATE-RJ"), found=found, expected="A-ASSOCIATE-RJ")
        expect_equal(wire.answer(), str(Ended()), "then")


def _limit(session: Session) -> None:
    """Hold associations until one is refused, as the last of 2/3/2."""
    with contextlib.ExitStack() as held:
        for _ in range(session.most_associations):
            wire = held.enter_context(connect(session))
            found = _answer(session, wire)
            if found != "A-ASSOCIATE-AC":
                expect_equal(found, "A-ASSOCIATE-RJ 2/3/2", "at the limit:")
                break
        else:
            raise Skipped(f"{session.most_associations} associations were taken at once")


def _draining(session: Session) -> None:
    with connect(session) as wire:
        expect_equal(_answer(session, wire), "A-ASSOCIATE-RJ 2/3/1", "answer:")


CASES = (
    Case("admission.calling-unknown", _SECTION, "An unknown calling AE title is refused 1/1/3",
         partial(_refused, code="1/1/3", calling=_STRANGER)),
    Case("admission.calling-empty", _SECTION, "A calling AE title of spaces is not taken",
         partial(_not_taken, calling=b" " * 16)),
    Case("admission.called-unknown", _SECTION, "Another called AE title is refused 1/1/7",
         partial(_refused, code="1/1/7", called=_STRANGER)),
    Case("admission.called-empty", _SECTION, "A called AE title of spaces is not taken",
         partial(_not_taken, called=b" " * 16)),
    Case("admission.called-case", "PS3.8 9.3.2", "Upper and lower case are not the same title",
         _other_case),
    Case("admission.calling-padded", "PS3.8 9.3.2",
         "Spaces before a calling AE title do not count", _calling_padded),
    Case("admission.called-padded", "PS3.8 9.3.2",
         "Spaces before a called AE title do not count", _called_padded),
    Case("admission.application-context", _SECTION,
         "Another application context is refused 1/1/2",
         partial(_refused, code="1/1/2", application_context="1.2.840.10008.3.1.1.99")),
    Case("admission.version-other", _SECTION, "Another protocol version is refused 1/2/2",
         partial(_refused, code="1/2/2", version=2)),
    Case("admission.version-more", "PS3.8 9.3.2",
         "Of the protocol version only bit 0 is looked at", partial(_taken, version=3)),
    Case("admission.refusal-closes", "PS3.8 9.2.3",
         "After a refusal the connection is closed in the end", _closes_after_refusal),
    Case("admission.refusal-is-final", "PS3.8 9.2.3",
         "A second request on a refused connection is not answered with an association",
         _nothing_after_refusal),
    Case("admission.limit", _SECTION, "One association too many is refused 2/3/2", _limit,
         frozenset({Need.HOSTILE})),
    Case("admission.draining", _SECTION, "A node that is stopping refuses with 2/3/1", _draining,
         frozenset({Need.DRAINING})),
)  # fmt: skip
