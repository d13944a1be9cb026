"""Runs cases one after another; whatever happens in one is its own verdict."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from conformance.case import EXCLUSIVE, Case, Need, Result
from conformance.session import Session
from conformance.verdicts import Failed, NotApplicable, Skipped, Verdict
from conformance.wire.connection import Ended, Silence, echoes_soon

_BROKEN = (
    OSError, RuntimeError, ValueError, LookupError, AttributeError, TypeError, EOFError,
    NotImplementedError, struct.error, Ended, Silence,
)  # fmt: skip
"""What an answer that nobody expected may raise, here or in a library that reads it."""


def chosen(cases: Iterable[Case], given: frozenset[Need], only: Sequence[str]) -> list[Case]:
    """The cases of a run: those whose id begins with one of `only`, if any is named.

    With a state of the node among what was given, the cases for that state and no others.
    """
    state = given & EXCLUSIVE
    return [
        case
        for case in cases
        if (not only or any(case.id.startswith(beginning) for beginning in only))
        and (not state or case.needs & state)
    ]


def run(
    cases: Iterable[Case],
    session: Session,
    given: frozenset[Need],
    note: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Ask every case; `note` is called after each."""
    return list(_each(cases, session, given, note))


def _each(
    cases: Iterable[Case],
    session: Session,
    given: frozenset[Need],
    note: Callable[[Result], None],
) -> Iterator[Result]:
    for case in cases:
        lacking = sorted(case.needs - given)
        if lacking:
            why = f"asked for by {' and '.join(lacking)}"
            result = Result(case, Verdict.SKIPPED, 0.0, why=why)
        else:
            result = judge(case, session)
        note(result)
        yield result


def judge(case: Case, session: Session) -> Result:
    """Ask one case. After one that is hostile the node must still answer somebody else."""
    began = time.monotonic()

    def after(verdict: Verdict, **said: str) -> Result:
        return Result(case, verdict, round(time.monotonic() - began, 3), **said)

    try:
        case.ask(session)
        if Need.HOSTILE in case.needs:
            echoes_soon(session)
    except Failed as failure:
        return after(Verdict.FAILED, found=failure.found, expected=failure.expected)
    except Skipped as skip:
        return after(Verdict.SKIPPED, why=str(skip))
    except NotApplicable as reason:
        return after(Verdict.NOT_APPLICABLE, why=str(reason))
    except _BROKEN as error:
        found = f"{type(error).__name__}: {error}"
        return after(Verdict.FAILED, found=found, expected=case.sentence)
    return after(Verdict.PASSED)
