"""C-STORE byte by byte: command and data set may say different things, and be cut in any way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from conformance.session import Session
from conformance.verdicts import expect
from conformance.wire import commands, pdus, split
from conformance.wire.commands import IMPLICIT_VR_LE, Fields
from conformance.wire.connection import ECHO, Wire, associated
from conformance.wire.pdus import Context

CONTEXT_ID = 3
Cut = Callable[[bytes, bytes], Iterable[bytes]]
"""Command set and data set to PDUs."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a C-STORE request carries."""

    class_uid: str
    """Of the command; empty to leave it out."""
    instance_uid: str
    data: bytes
    further: Fields | None = None


def data_of(dataset: Dataset) -> bytes:
    """The data set in its own transfer syntax, without file meta information."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = dataset.file_meta.TransferSyntaxUID == IMPLICIT_VR_LE
    write_dataset(buffer, dataset)
    return bytes(buffer.getvalue())


def message_of(dataset: Dataset) -> Message:
    """The request that sends a dataset as it is."""
    return Message(dataset.SOPClassUID, dataset.SOPInstanceUID, data_of(dataset))


def usual(command: bytes, data: bytes) -> Iterable[bytes]:
    """Items of 16,000 bytes, one in a PDU."""
    return split.message(CONTEXT_ID, command, data)


@contextmanager
def storing(session: Session, class_uid: str, syntax: str) -> Iterator[Wire]:
    """An association with a context for a class in one syntax, and one for C-ECHO. At the end it
    must still answer C-ECHO and be released: no refusal of an instance may end it."""
    context = Context(CONTEXT_ID, class_uid, (syntax,))
    with associated(session, [ECHO, context]) as (wire, accepted):
        result = accepted.contexts.get(CONTEXT_ID, (None, ""))[0]
        expect(result == 0, found=f"context result {result}", expected="0, accepted")
        yield wire
        status = commands.number(wire.echo(), commands.STATUS)
        expect(status == 0, found=f"C-ECHO answered {status}", expected="0000 after a C-STORE")
        wire.release()


def store(
    wire: Wire, message: Message, *, cut: Cut = usual, message_id: int = 7
) -> dict[int, bytes]:
    """Send an instance; elements of the response, which must be a well-formed one."""
    command = commands.store_rq(
        message.class_uid, message.instance_uid, message_id=message_id, further=message.further
    )
    for part in cut(command, message.data):
        wire.send(part)
    answer = wire.response()
    field = commands.number(answer, commands.COMMAND_FIELD)
    expect(field == commands.C_STORE_RSP, found=f"command {field}", expected="C-STORE-RSP")
    responded = commands.number(answer, commands.RESPONDED_TO)
    expect(responded == message_id, found=f"answer to {responded}", expected=message_id)
    comment = commands.text(answer, commands.ERROR_COMMENT)
    expect(len(comment) <= 64, found=f"a comment of {len(comment)}", expected="at most 64")
    return answer


def status(answer: dict[int, bytes]) -> str:
    """Status of a response as four digits."""
    found = commands.number(answer, commands.STATUS)
    return "none" if found is None else f"{found:04X}"


def in_one_pdu(command: bytes, data: bytes) -> Iterable[bytes]:
    """Command set and data set as two items of one PDU."""
    return [
        pdus.p_data(
            [
                pdus.pdv(CONTEXT_ID, command, is_command=True, is_last=True),
                pdus.pdv(CONTEXT_ID, data, is_command=False, is_last=True),
            ]
        )
    ]


def sized(command_size: int, data_size: int, most: int = 0) -> Cut:
    """Items of these sizes; one in a PDU, or as many as fit into `most` bytes."""

    def cut(command: bytes, data: bytes) -> Iterable[bytes]:
        items = split.items(CONTEXT_ID, command, command_size, is_command=True)
        items += split.items(CONTEXT_ID, data, data_size, is_command=False)
        return split.packed(items, most) if most else split.one_each(items)

    return cut


def empty_last(command: bytes, data: bytes) -> Iterable[bytes]:
    """Command set and data set, each with a last item without bytes."""
    items = split.with_empty_last(CONTEXT_ID, command, is_command=True)
    rest = split.items(CONTEXT_ID, data, 16_000, is_command=False)
    *before, last = rest
    opened = pdus.pdv(CONTEXT_ID, last[6:], is_command=False, is_last=False)
    end = pdus.pdv(CONTEXT_ID, b"", is_command=False, is_last=True)
    return split.one_each([*items, *before, opened, end])
