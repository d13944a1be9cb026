"""Storage: every transfer syntax, every way to cut a message, every second sending (PS3.4 B)."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial

from pydicom.dataset import Dataset
from pydicom.uid import UID

from conformance.case import Case, Need
from conformance.peers import associations, dcmtk
from conformance.session import Session
from conformance.slides import syntaxes
from conformance.slides.encodings import EXPLICIT_VR_LE, IMPLICIT_VR_LE
from conformance.slides.tiny import study, tiny
from conformance.verdicts import expect, expect_equal
from conformance.wire import commands, pdus, stores
from conformance.wire.commands import AFFECTED_CLASS, AFFECTED_INSTANCE, text
from conformance.wire.connection import ECHO, associated
from conformance.wire.stores import CONTEXT_ID, Message, storing

_STORE = frozenset({Need.STORE})
_WSM = syntaxes.WSM


def _syntax(session: Session, syntax: str) -> None:
    dataset = tiny(session, syntax=syntax)
    with associations.association(session, [(_WSM, [syntax])]) as association:
        expect_equal(f"{associations.store(association, dataset):04X}", "0000", "status")


def _once(session: Session, message: Message, syntax: str = EXPLICIT_VR_LE) -> str:
    with storing(session, _WSM, syntax) as wire:
        return stores.status(stores.store(wire, message))


def _cut(session: Session, cut: stores.Cut) -> None:
    """Cut in some way, then again the usual way: only the same bytes are answered 0000."""
    message = stores.message_of(tiny(session))
    with storing(session, _WSM, EXPLICIT_VR_LE) as wire:
        first = stores.status(stores.store(wire, message, cut=cut))
        expect_equal(first, "0000", "status")
        again = stores.status(stores.store(wire, message))
        expect_equal(again, "0000", "status of the same bytes cut the usual way")


def _answer_names(session: Session) -> None:
    message = stores.message_of(tiny(session))
    with storing(session, _WSM, EXPLICIT_VR_LE) as wire:
        answer = stores.store(wire, message)
    for which, sent in ((AFFECTED_CLASS, _WSM), (AFFECTED_INSTANCE, message.instance_uid)):
        found = text(answer, which)
        expect(found in ("", sent), found=found, expected="the UID of the request, or none")


def _identical(session: Session) -> None:
    message = stores.message_of(tiny(session))
    expect_equal(_once(session, message), "0000", "first status")
    expect_equal(_once(session, message), "0000", "status of the same instance again")


def _other_content(session: Session) -> None:
    message = stores.message_of(tiny(session))
    changed = replace(message, data=message.data[:-1] + bytes([message.data[-1] ^ 1]))
    expect_equal(_once(session, message), "0000", "first status")
    expect_equal(_once(session, changed), "0111", "status of other content under the same UID")
    expect_equal(_once(session, message), "0000", "status of the first content again")


def _other_syntax(session: Session) -> None:
    dataset = tiny(session)
    expect_equal(_once(session, stores.message_of(dataset)), "0000", "first status")
    dataset.file_meta.TransferSyntaxUID = UID(IMPLICIT_VR_LE)
    message = stores.message_of(dataset)
    found = _once(session, message, IMPLICIT_VR_LE)
    expect_equal(found, "0111", "status of the same UID in another transfer syntax")


def _other_study(session: Session) -> None:
    dataset = tiny(session)
    expect_equal(_once(session, stores.message_of(dataset)), "0000", "first status")
    dataset.StudyInstanceUID = study(session).series_uid
    found = _once(session, stores.message_of(dataset))
    expect_equal(found, "0111", "status of the same UID in another study")


def _at_once(session: Session) -> None:
    message = stores.message_of(tiny(session))
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(_once(session, message))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect_equal(found, ["0000"] * 4, "statuses")


def _eight_associations(session: Session) -> None:
    messages = [stores.message_of(tiny(session)) for _ in range(8)]
    found: list[str] = []

    def send(message: Message) -> None:
        found.append(_once(session, message))

    threads = [threading.Thread(target=send, args=(m,)) for m in messages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect_equal(found, ["0000"] * 8, "statuses")


def _many(session: Session) -> None:
    with storing(session, _WSM, EXPLICIT_VR_LE) as wire:
        for n in range(50):
            message = stores.message_of(tiny(session))
            found = stores.status(stores.store(wire, message, message_id=n))
            expect_equal(found, "0000", f"status of instance {n + 1}")


def _echo_between(session: Session) -> None:
    with storing(session, _WSM, EXPLICIT_VR_LE) as wire:
        for _ in range(3):
            found = stores.status(stores.store(wire, stores.message_of(tiny(session))))
            expect_equal(found, "0000", "status")
            expect_equal(stores.status(wire.echo()), "0000", "status of C-ECHO")


def _after_an_abort(session: Session) -> None:
    """What was cut off is not kept: the whole instance is new later, whatever the half held."""
    message = stores.message_of(tiny(session))
    half = replace(message, data=message.data[: len(message.data) // 2])
    with associated(session, [ECHO, _context()]) as (wire, _):
        *parts, last = stores.usual(commands.store_rq(_WSM, half.instance_uid), half.data)
        opened = pdus.pdv(CONTEXT_ID, last[12:], is_command=False, is_last=False)
        wire.send(*parts, pdus.p_data([opened]), pdus.abort())
    expect_equal(_once(session, message), "0000", "status after an aborted transfer")


def _context() -> pdus.Context:
    return pdus.Context(CONTEXT_ID, _WSM, (EXPLICIT_VR_LE,))


def _further(session: Session, fields: dict[int, bytes | int | str]) -> None:
    message = replace(stores.message_of(tiny(session)), further=fields)
    expect_equal(_once(session, message), "0000", "status")


def _characters(session: Session, character_set: str, name: str) -> None:
    def edit(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = character_set.split("\\")
        dataset.ReferringPhysicianName = name

    expect_equal(_once(session, stores.message_of(tiny(session, edit=edit))), "0000", "status")


def _private(session: Session) -> None:
    def edit(dataset: Dataset) -> None:
        block = dataset.private_block(0x0099, "CONFORMANCE TEST", create=True)
        block.add_new(0x01, "UN", b"\1\2\3\4")

    expect_equal(_once(session, stores.message_of(tiny(session, edit=edit))), "0000", "status")


def _storescu(session: Session, *options: str) -> None:
    done = dcmtk.storescu(session, [tiny(session), tiny(session)], "-R", *options)
    expect(done.returncode == 0, found=f"storescu ended with {done.returncode}", expected="0")


_CUTS: dict[str, tuple[str, stores.Cut]] = {
    "one-pdu": ("command set and data set in one PDU", stores.in_one_pdu),
    "1-1": ("items of one byte, many in a PDU", stores.sized(1, 1, 8_000)),
    "7-3": ("items of 7 and 3 bytes, many in a PDU", stores.sized(7, 3, 5_000)),
    "40-500": ("items of 40 and 500 bytes", stores.sized(40, 500)),
    "200-999": ("items of an odd length", stores.sized(200, 999)),
    "200-16378": ("items that fill a PDU of 16,384 bytes", stores.sized(200, 16_378)),
    "packed": ("items of both kinds in the same PDUs", stores.sized(30, 2_000, 7_000)),
    "empty-last": ("last items without a byte", stores.empty_last),
}
_CHARACTERS = {
    "latin-1": ("ISO_IR 100", "Müller^Jürgen"),
    "greek": ("ISO_IR 126", "Διονυσιος"),
    "cyrillic": ("ISO_IR 144", "Люкceмбypг"),
    "japanese": ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎"),
    "utf-8": ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
}

CASES = (
    *(
        Case(f"storage.{name}", "PS3.4 B.2.2", f"An instance in {name} is stored",
             partial(_syntax, syntax=uid), _STORE)
        for uid, name in syntaxes.TAKEN.items()
    ),
    *(
        Case(f"storage.cut-{name}", "PS3.8 E.2", f"Sent in {what}, it is the same instance",
             partial(_cut, cut=cut), _STORE)
        for name, (what, cut) in _CUTS.items()
    ),
    Case("storage.response", "PS3.7 9.3.1.2", "The response names what was sent, or nothing",
         _answer_names, _STORE),
    Case("storage.identical", "PS3.4 B.2.2", "The same instance again is answered 0000",
         _identical, _STORE),
    Case("storage.other-content", "PS3.7 C.5.7", "Other content under a known UID is refused 0111",
         _other_content, _STORE),
    Case("storage.other-syntax", "PS3.7 C.5.7", "A known UID in another syntax is refused 0111",
         _other_syntax, _STORE),
    Case("storage.other-study", "PS3.7 C.5.7", "A known UID in another study is refused 0111",
         _other_study, _STORE),
    Case("storage.at-once", "PS3.4 B.2.2", "The same instance four times at once is 0000 each time",
         _at_once, _STORE),
    Case("storage.eight", "PS3.4 B.2.2", "Eight associations store at once", _eight_associations,
         _STORE),
    Case("storage.fifty", "PS3.4 B.2.2", "One association stores fifty instances", _many, _STORE),
    Case("storage.echo-between", "PS3.7 9.1", "C-ECHO between C-STORE is answered", _echo_between,
         _STORE),
    Case("storage.after-abort", "PS3.4 B.2.2", "An aborted instance is not kept", _after_an_abort,
         _STORE),
    *(
        Case(f"storage.priority-{n}", "PS3.7 9.3.1.1", "Any priority is served",
             partial(_further, fields={0x0700: n}), _STORE)
        for n in (0, 1, 2)
    ),
    Case("storage.move-originator", "PS3.7 9.3.1.1", "A move originator may be named",
         partial(_further, fields={0x1030: "SOMEBODY", 0x1031: 5}), _STORE),
    *(
        Case(f"storage.characters-{name}", "PS3.3 C.12.1.1.2", f"Text in {characters} is stored",
             partial(_characters, character_set=characters, name=text_), _STORE)
        for name, (characters, text_) in _CHARACTERS.items()
    ),
    Case("storage.private", "PS3.5 7.8", "Private attributes are no reason to refuse", _private,
         _STORE),
    Case("storage.dcmtk", "PS3.4 B.2.1", "storescu of DCMTK sends two instances", _storescu,
         _STORE),
    Case("storage.dcmtk-pdu-4096", "PS3.4 B.2.1", "storescu of DCMTK sends with PDUs of 4096 bytes",
         lambda session: _storescu(session, "-pdu", "4096"), _STORE),
    Case("storage.dcmtk-pdu-131072", "PS3.4 B.2.1",
         "storescu of DCMTK sends with PDUs of 131072 bytes",
         lambda session: _storescu(session, "-pdu", "131072"), _STORE),
)  # fmt: skip
