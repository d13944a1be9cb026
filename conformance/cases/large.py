"""An instance of more than 4 GiB: no length in it has 32 bits to say so (PS3.5 A.4)."""

from __future__ import annotations

import struct

from conformance.case import Case, Need
from conformance.session import Session
from conformance.slides import syntaxes
from conformance.slides.encodings import JPEG_BASELINE
from conformance.slides.tiny import tiny
from conformance.verdicts import expect_equal
from conformance.wire import commands, pdus, split, stores
from conformance.wire.stores import CONTEXT_ID, storing

_ITEM, _DELIMITER = 0xE000, 0xE0DD
_FRAME_BYTES = 1 << 20


def _tag(element: int, length: int) -> bytes:
    return struct.pack("<HHL", 0xFFFE, element, length)


def _large(session: Session) -> None:
    """Encapsulated frames of 1 MiB until the whole is longer than 4 GiB."""
    dataset = tiny(session, syntax=JPEG_BASELINE)
    frames = -(-session.large_bytes // _FRAME_BYTES)
    dataset.NumberOfFrames = frames
    del dataset.PixelData
    head = stores.data_of(dataset) + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + _tag(_ITEM, 0)
    frame = _tag(_ITEM, _FRAME_BYTES) + b"\xff\xd8" + bytes(_FRAME_BYTES - 4) + b"\xff\xd9"
    with storing(session, syntaxes.WSM, JPEG_BASELINE) as wire:
        wire.send(*split.message(
            CONTEXT_ID, commands.store_rq(syntaxes.WSM, str(dataset.SOPInstanceUID))
        ))  # fmt: skip
        wire.send(_open(head))
        packed = b"".join(_open(part) for part in split.pieces(frame, 16_000))
        for _ in range(frames):
            wire.send(packed)
        end = _tag(_DELIMITER, 0)
        wire.send(pdus.p_data([pdus.pdv(CONTEXT_ID, end, is_command=False, is_last=True)]))
        wire.patience_s = max(120.0, session.patience_s)
        expect_equal(stores.status(wire.response()), "0000", "status")


def _open(data: bytes) -> bytes:
    """A P-DATA-TF with a piece of the data set that is not the last."""
    return pdus.p_data([pdus.pdv(CONTEXT_ID, data, is_command=False, is_last=False)])


CASES = (
    Case("large.4-gib", "PS3.5 A.4", "An instance of more than 4 GiB is stored", _large,
         frozenset({Need.STORE, Need.LARGE})),
)  # fmt: skip
