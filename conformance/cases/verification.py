"""Verification: is C-ECHO answered, whoever asks and however often (PS3.4 Annex A)?"""

from __future__ import annotations

from functools import partial

from conformance.case import Case, Need
from conformance.peers import associations, dcmjs, dcmtk
from conformance.session import Session
from conformance.verdicts import expect, expect_equal
from conformance.wire import commands, pdus
from conformance.wire.commands import EXPLICIT_VR_LE, IMPLICIT_VR_LE, VERIFICATION
from conformance.wire.connection import Ended, associated, command_pdv

_BOTH = (EXPLICIT_VR_LE, IMPLICIT_VR_LE)


def _echo(session: Session, syntaxes: tuple[str, ...], times: int = 1) -> None:
    with associations.association(session, [(VERIFICATION, syntaxes)]) as association:
        for _ in range(times):
            expect_equal(association.send_c_echo().get("Status"), 0, "status")


def _message_id(session: Session, message_id: int) -> None:
    with associated(session) as (wire, _):
        answer = wire.echo(message_id=message_id)
        found = commands.number(answer, commands.RESPONDED_TO)
        expect_equal(found, message_id, "Message ID Being Responded To")
        wire.release()


def _shape(session: Session) -> None:
    with associated(session) as (wire, _):
        answer = wire.echo()
        field = commands.number(answer, commands.COMMAND_FIELD)
        expect_equal(field, commands.C_ECHO_RSP, "Command Field")
        data = commands.number(answer, commands.DATA_SET_TYPE)
        expect_equal(data, commands.NO_DATA_SET, "Command Data Set Type")
        wire.release()


def _names_the_class(session: Session) -> None:
    with associated(session) as (wire, _):
        found = commands.text(wire.echo(), commands.AFFECTED_CLASS)
        expect(found in ("", VERIFICATION), found=found, expected=f"{VERIFICATION} or nothing")
        wire.release()


def _three_at_once(session: Session) -> None:
    with (
        associated(session) as (a, _),
        associated(session) as (b, _),
        associated(session) as (c, _),
    ):
        for wire in (c, a, b):
            expect_equal(commands.number(wire.echo(), commands.STATUS), 0, "status")


def _echoscu(session: Session, *options: str) -> None:
    done = dcmtk.echoscu(session, *options)
    expect(done.returncode == 0, found=f"echoscu ended with {done.returncode}", expected="0")


def _odd(session: Session, fields: commands.Fields, may_be_taken: bool) -> None:
    """A command that no C-ECHO should be: anything but silence, and not 0000 for another one."""
    command = commands.command({commands.DATA_SET_TYPE: commands.NO_DATA_SET, **fields})
    with associated(session) as (wire, _):
        wire.send(pdus.p_data([command_pdv(1, command)]))
        found = wire.reply()
        is_over = found == str(Ended()) or found.startswith("A-ABORT")
        is_right = is_over or (found.startswith("status") and found != "status 0000")
        is_right = is_right or (may_be_taken and found == "status 0000")
        expect(is_right, found=found, expected="a status, A-ABORT or the end")


_ECHO: commands.Fields = {commands.COMMAND_FIELD: commands.C_ECHO_RQ, commands.MESSAGE_ID: 1}
_ODD: dict[str, tuple[commands.Fields, bool, str]] = {
    "without-class": (_ECHO, True, "A C-ECHO without its class is not met with silence"),
    "without-message-id": (
        {commands.AFFECTED_CLASS: VERIFICATION, commands.COMMAND_FIELD: commands.C_ECHO_RQ},
        True,
        "A C-ECHO without Message ID is not met with silence",
    ),
    "other-class": (
        {**_ECHO, commands.AFFECTED_CLASS: "1.2.840.10008.5.1.4.1.1.2"},
        True,
        "A C-ECHO of another class is not met with silence",
    ),
    "other-operation": (
        {
            commands.AFFECTED_CLASS: VERIFICATION,
            commands.COMMAND_FIELD: commands.C_FIND_RQ,
            commands.MESSAGE_ID: 1,
        },
        False,
        "An operation that Verification does not have is answered no",
    ),
    "unknown-operation": (
        {**_ECHO, commands.AFFECTED_CLASS: VERIFICATION, commands.COMMAND_FIELD: 0x0777},
        False,
        "An operation that DICOM does not have is answered no",
    ),
    "no-operation": (
        {commands.AFFECTED_CLASS: VERIFICATION, commands.MESSAGE_ID: 1},
        False,
        "A command without Command Field is answered no",
    ),
}

CASES = (
    Case("echo.implicit", "PS3.4 A.4", "C-ECHO is answered 0000 in Implicit VR Little Endian",
         partial(_echo, syntaxes=(IMPLICIT_VR_LE,))),
    Case("echo.explicit", "PS3.4 A.4", "C-ECHO is answered 0000 in Explicit VR Little Endian",
         partial(_echo, syntaxes=(EXPLICIT_VR_LE,))),
    Case("echo.both", "PS3.4 A.4", "Of two transfer syntaxes one is chosen, and C-ECHO answered",
         partial(_echo, syntaxes=_BOTH)),
    Case("echo.ten", "PS3.4 A.4", "Ten C-ECHO on one association are all answered",
         partial(_echo, syntaxes=_BOTH, times=10)),
    Case("echo.three-at-once", "PS3.4 A.4", "Three associations at once are all answered",
         _three_at_once),
    *(
        Case(f"echo.message-id-{n}", "PS3.7 9.3.5.2",
             f"The response to message {n} says that it responds to {n}",
             partial(_message_id, message_id=n))
        for n in (0, 1, 255, 256, 32768, 65535)
    ),
    Case("echo.response", "PS3.7 9.3.5.2", "The response is a C-ECHO-RSP without a data set",
         _shape),
    Case("echo.class", "PS3.7 9.3.5.2", "The response names the class that was asked for, or none",
         _names_the_class),
    Case("echo.dcmtk", "PS3.4 A.4", "echoscu of DCMTK is answered", _echoscu),
    Case("echo.dcmtk-128-contexts", "PS3.8 9.3.2.2", "echoscu of DCMTK may propose 128 contexts",
         lambda session: _echoscu(session, "--propose-pc", "128")),
    *(
        Case(f"echo.{name}", "PS3.7 C.5", sentence,
             partial(_odd, fields=fields, may_be_taken=may_be_taken), frozenset({Need.HOSTILE}))
        for name, (fields, may_be_taken, sentence) in _ODD.items()
    ),
    Case("echo.dcmjs", "PS3.4 A.4", "The client of dcmjs-dimse is answered", dcmjs.echo),
)  # fmt: skip
