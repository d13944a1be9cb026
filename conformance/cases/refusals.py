"""Instances that must not be answered 0000, and what they are answered (PS3.4 B.2.3, PS3.7 C)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pydicom.dataset import Dataset

from conformance.case import Case, Need
from conformance.session import Session
from conformance.slides import syntaxes
from conformance.slides.encodings import EXPLICIT_VR_LE
from conformance.slides.objects import PATIENT_ID, PATIENT_NAME, new_uid
from conformance.slides.tiny import tiny
from conformance.verdicts import expect, expect_equal
from conformance.wire import commands, pdus, stores
from conformance.wire.commands import ERROR_COMMENT, text
from conformance.wire.connection import ECHO, Ended, associated, command_pdv
from conformance.wire.pdus import Context
from conformance.wire.stores import Message, storing

_STORE = frozenset({Need.STORE})
_SECTION = "PS3.4 B.2.3"
_WSM = syntaxes.WSM
_CT = "1.2.840.10008.5.1.4.1.1.2"
_MUCH = 3 << 20
_CONTEXTS = (ECHO, Context(stores.CONTEXT_ID, _WSM, (EXPLICIT_VR_LE,)))


def _refused(session: Session, message: Message, expected: str) -> None:
    """`expected` is a pattern of four digits. The comment must say nothing of the patient."""
    with storing(session, _WSM, EXPLICIT_VR_LE) as wire:
        answer = stores.store(wire, message)
    comment = text(answer, ERROR_COMMENT)
    for value in (PATIENT_ID, PATIENT_NAME.partition("^")[0], "SECRET"):
        expect(value not in comment, found="a comment with a value", expected="no values in it")
    found = stores.status(answer)
    expect(re.fullmatch(expected, found), found=f"status {found}", expected=expected)


def _edited(session: Session, edit: Callable[[Dataset], None], expected: str) -> None:
    """The data set is changed, the command is as it was."""
    dataset = tiny(session)
    message = stores.message_of(dataset)
    edit(dataset)
    _refused(session, replace(message, data=stores.data_of(dataset)), expected)


def _without(session: Session, keyword: str) -> None:
    _edited(session, lambda dataset: delattr(dataset, keyword), "C[0-9A-F]{3}")


def _empty(session: Session, keyword: str) -> None:
    _edited(session, lambda dataset: setattr(dataset, keyword, ""), "C[0-9A-F]{3}")


def _illegal(session: Session, keyword: str, value: str) -> None:
    """Written by hand: no library writes such a UID."""
    dataset = tiny(session)
    message = stores.message_of(dataset)
    held = new_uid()[:40].rstrip(".")
    setattr(dataset, keyword, held)
    data = stores.data_of(dataset)
    tag = dataset[keyword].tag
    head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little") + b"UI"
    padded = value.encode() + b"\0" * (len(value) % 2)
    at = data.index(head)
    old = int.from_bytes(data[at + 6 : at + 8], "little")
    rest = data[at + 8 + old :]
    changed = data[:at] + head + len(padded).to_bytes(2, "little") + padded + rest
    _refused(session, replace(message, data=changed), "C[0-9A-F]{3}")


def _bytes(session: Session, data: bytes) -> None:
    message = stores.message_of(tiny(session))
    _refused(session, replace(message, data=data), "C[0-9A-F]{3}")


def _cut_off(session: Session) -> None:
    message = stores.message_of(tiny(session))
    _refused(session, replace(message, data=message.data[:40]), "C[0-9A-F]{3}")


def _header_without_end(session: Session) -> None:
    """Megabytes before the UIDs that say where an instance belongs."""

    def edit(dataset: Dataset) -> None:
        dataset.add_new(0x00104000, "UT", "SECRET " * (_MUCH // 7))

    _edited(session, edit, "C[0-9A-F]{3}|A7[0-9A-F]{2}")


def _other_class(session: Session) -> None:
    _edited(session, lambda dataset: setattr(dataset, "SOPClassUID", _CT), "A9[0-9A-F]{2}")


def _other_instance(session: Session) -> None:
    _edited(session, lambda dataset: setattr(dataset, "SOPInstanceUID", new_uid()), "A9[0-9A-F]{2}")


def _command(session: Session, *, class_uid: str, instance_uid: str | None, expected: str) -> None:
    message = stores.message_of(tiny(session))
    uid = message.instance_uid if instance_uid is None else instance_uid
    _refused(session, replace(message, class_uid=class_uid, instance_uid=uid), expected)


def _lacking(session: Session, *, class_uid: str, instance_uid: str) -> None:
    """A command without a mandatory element: a status or an abort, but not silence."""
    message = replace(stores.message_of(tiny(session)), class_uid=class_uid)
    uid = instance_uid and message.instance_uid
    with associated(session, _CONTEXTS) as (wire, _):
        wire.send(*stores.usual(commands.store_rq(class_uid, uid), message.data))
        _is_no(wire.reply())


def _is_no(found: str) -> None:
    is_no = found == str(Ended()) or found.startswith("A-ABORT")
    is_no = is_no or (found.startswith("status") and found != "status 0000")
    expect(is_no, found=found, expected="a status that is not 0000, A-ABORT or the end")


def _nothing_follows(session: Session) -> None:
    """A command that says of itself that no data set follows, and none does."""
    message = stores.message_of(tiny(session))
    nothing = {commands.DATA_SET_TYPE: commands.NO_DATA_SET}
    command = commands.store_rq(_WSM, message.instance_uid, further=nothing)
    with associated(session, _CONTEXTS) as (wire, _):
        wire.send(pdus.p_data([command_pdv(stores.CONTEXT_ID, command)]))
        _is_no(wire.reply())


def _other_operation(session: Session, fields: dict[int, bytes | int | str]) -> None:
    """In a context for images, something else than C-STORE."""
    command = commands.command({commands.MESSAGE_ID: 1, **fields})
    with associated(session, _CONTEXTS) as (wire, _):
        wire.send(pdus.p_data([command_pdv(stores.CONTEXT_ID, command)]))
        if fields[commands.DATA_SET_TYPE] != commands.NO_DATA_SET:
            data = pdus.pdv(stores.CONTEXT_ID, bytes(8), is_command=False, is_last=True)
            wire.send(pdus.p_data([data]))
        _is_no(wire.reply())


def _full(session: Session) -> None:
    message = stores.message_of(tiny(session))
    _refused(session, message, "A7[0-9A-F]{2}")


def _accepted_after(session: Session) -> None:
    """A refused instance is not remembered: the right one is stored under its UID."""
    dataset = tiny(session)
    good = stores.message_of(dataset)
    delattr(dataset, "StudyInstanceUID")
    _refused(session, replace(good, data=stores.data_of(dataset)), "C[0-9A-F]{3}")
    with storing(session, _WSM, EXPLICIT_VR_LE) as wire:
        expect_equal(stores.status(stores.store(wire, good)), "0000", "status of the right one")


_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_ILLEGAL = {
    "letters": "1.2.not.a.uid",
    "path": "../../../../etc/passwd",
    "long": "1." + "2" * 70,
    "dots": "1..2.3",
}
_COMMANDS = {
    "other-class": (_CT, None, "0122|A9[0-9A-F]{2}", "for a class that is not the context's"),
    "path": (_WSM, "../../SECRET", "[0-9A-F]{4}(?<!0000)", "for an instance UID that is none"),
}
_OPERATIONS: dict[str, dict[int, bytes | int | str]] = {
    "find": {
        commands.AFFECTED_CLASS: _WSM,
        commands.COMMAND_FIELD: commands.C_FIND_RQ,
        commands.PRIORITY: 0,
        commands.DATA_SET_TYPE: 1,
    },
    "echo": {
        commands.AFFECTED_CLASS: _WSM,
        commands.COMMAND_FIELD: commands.C_ECHO_RQ,
        commands.DATA_SET_TYPE: commands.NO_DATA_SET,
    },
    "get": {
        commands.REQUESTED_CLASS: _WSM,
        commands.COMMAND_FIELD: commands.N_GET_RQ,
        commands.DATA_SET_TYPE: commands.NO_DATA_SET,
        commands.REQUESTED_INSTANCE: "1.2.3",
    },
}
_NO_DATASETS = {
    "zeros": bytes(200),
    "text": b"this is no data set at all, whoever says so " * 8,
    "one-byte": b"\x08",
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4,
}

CASES = (
    *(
        Case(f"refusals.without-{keyword}", _SECTION, f"Without {keyword} it is refused Cxxx",
             partial(_without, keyword=keyword), _STORE)
        for keyword in _UIDS
    ),
    *(
        Case(f"refusals.empty-{keyword}", _SECTION, f"With an empty {keyword} it is refused Cxxx",
             partial(_empty, keyword=keyword), _STORE)
        for keyword in _UIDS
    ),
    *(
        Case(f"refusals.{name}-{keyword}", "PS3.5 9.1", f"An illegal {keyword} is refused Cxxx",
             partial(_illegal, keyword=keyword, value=value), _STORE)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID") for name, value in _ILLEGAL.items()
    ),
    *(
        Case(f"refusals.data-{name}", _SECTION, "Bytes that are no data set are refused Cxxx",
             partial(_bytes, data=data), _STORE)
        for name, data in _NO_DATASETS.items()
    ),
    Case("refusals.data-cut", _SECTION, "A data set cut off early is refused Cxxx", _cut_off,
         _STORE),
    Case("refusals.header", _SECTION, "A header of megabytes before the UIDs is refused",
         _header_without_end, _STORE),
    Case("refusals.other-class", _SECTION, "A data set of another class is refused A9xx",
         _other_class, _STORE),
    Case("refusals.other-instance", _SECTION, "A data set of another instance is refused A9xx",
         _other_instance, _STORE),
    *(
        Case(f"refusals.command-{name}", "PS3.7 9.3.1.1", f"A command {what} is refused",
             partial(_command, class_uid=class_uid, instance_uid=uid, expected=expected), _STORE)
        for name, (class_uid, uid, expected, what) in _COMMANDS.items()
    ),
    *(
        Case(f"refusals.command-without-{name}", "PS3.7 9.3.1.1",
             f"A command without a {name} UID is answered no, not with silence",
             partial(_lacking, class_uid=class_uid, instance_uid=uid), _STORE)
        for name, class_uid, uid in (("class", "", "kept"), ("instance", _WSM, ""))
    ),
    Case("refusals.command-without-data", "PS3.7 9.3.1.1",
         "A C-STORE that no data set follows is answered no", _nothing_follows, _STORE),
    *(
        Case(f"refusals.operation-{name}", "PS3.7 C.5",
             "An operation that a storage class does not have is answered no",
             partial(_other_operation, fields=fields), frozenset({Need.HOSTILE}))
        for name, fields in _OPERATIONS.items()
    ),
    Case("refusals.then-right", _SECTION, "After a refusal the right instance is stored",
         _accepted_after, _STORE),
    Case("refusals.full", _SECTION, "A node without room answers A7xx", _full,
         frozenset({Need.STORE, Need.FULL})),
)  # fmt: skip
