"""The steps of mutants of pixel data: offset tables, fragments, and the streams of frames."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import simplejpeg
from letters import STEP, Image, Pixels
from mutants import Mutant, NotHere, Step, colored
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

_BLACK = "native zeros are black pixels, scanned or not"
_LEAST = 4
"""Bytes of a frame that can be changed: an earlier step may have taken them."""
_ITEM = b"\xfe\xff\x00\xe0"
_PIXELS = (
    b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff",
    b"\xe0\x7f\x10\x00OW\x00\x00\xff\xff\xff\xff",
)


def tables() -> dict[str, Step]:
    """Offset tables and fragments."""
    return {
        "basic table": _basic_table,
        "extended table": _extended_table,
        "item length": _item_length,
        "item tag": _item_tag,
        "fragments": _fragments,
    }


def streams() -> dict[str, Step]:
    """Bytes of frames."""
    return {
        "cut": _cut,
        "hole": _hole,
        "flipped": _flipped,
        "flipped head": _flipped_head,
        "zeroed": _zeroed,
        "swapped": _swapped,
        "repeated": _repeated,
        "nothing": _nothing,
        "rows of noise": _noise,
        "frame added": _added,
        "frame taken": _taken,
        "frame taken, and counted": _taken_and_counted,
    }


class _PassedOver(Exception):
    """A frame with bytes that belong to no segment."""


def strictly(image: Image, data: bytes) -> Pixels | None:
    """What an independent decoder that takes no warning makes of a frame; None: it refuses."""
    try:
        if image.syntax == JPEGBaseline8Bit:
            try:
                found = simplejpeg.decode_jpeg(data, "RGB", strict=True)
            except ValueError as error:
                if "extraneous bytes before marker" in str(error):
                    raise _PassedOver from None
                raise
        elif image.syntax == JPEG2000Lossless:
            found = imagecodecs.jpeg2k_decode(data)
        else:
            found = np.frombuffer(data, np.uint8).reshape(*image.frame, 3)
    except (ValueError, RuntimeError):
        return None
    return found if found.shape == (*image.frame, 3) else None


def _picked(mutant: Mutant, rng: random.Random) -> tuple[Image, int]:
    image = rng.choice(mutant.slide.images)
    if not image.frames or len(image.frames) != len(image.cells):
        raise NotHere
    return image, rng.randrange(len(image.frames))


def _replace(mutant: Mutant, image: Image, n: int, data: bytes) -> None:
    """Other bytes for a frame, and the truth that follows from them."""
    image.frames[n] = data
    number = mutant.slide.images.index(image)
    try:
        found = strictly(image, data)
    except _PassedOver:
        mutant.unknowable = "bytes between the segments of a frame are passed over"
        return
    if found is None:
        mutant.broken.add((number, n))
        return
    _show(mutant, image, n, found)


def _show(mutant: Mutant, image: Image, n: int, found: Pixels) -> None:
    """The truth with another picture in the place of a frame."""
    if len(mutant.truths) > 1:
        mutant.unknowable = "a frame of one of several scans was changed, and either may be chosen"
        return
    rows, cols = image.frame
    top, left = image.cells[n][0] * rows, image.cells[n][1] * cols
    is_lower = image.pixels.shape[:2] != mutant.truths[0].pixels.shape[:2]
    alone = len({i.pixels.shape for i in mutant.slide.images}) == 1
    if not is_lower:
        for truth in mutant.truths:
            pixels = truth.pixels.copy()
            part = pixels[top : top + rows, left : left + cols]
            part[:] = found[: part.shape[0], : part.shape[1]]
            mutant.moved(pixels=pixels)
            break
    if is_lower or alone:
        scale = STEP if is_lower else 1
        mask = mutant.truths[0].mask.copy()
        tissue = colored(found).repeat(scale, 0).repeat(scale, 1)
        part = mask[top * scale : (top + rows) * scale, left * scale : (left + cols) * scale]
        part[:] = tissue[: part.shape[0], : part.shape[1]]
        mutant.moved(mask=mask)


def _cut(mutant: Mutant, rng: random.Random) -> str:
    image, n = _picked(mutant, rng)
    data = image.frames[n]
    if len(data) < _LEAST:
        raise NotHere
    left = rng.randrange(len(data))
    ending = rng.choice((b"", b"\xff\xd9"))
    _replace(mutant, image, n, data[:left] + ending)
    return f"frame {n} to {left} of {len(data)} bytes"


def _hole(mutant: Mutant, rng: random.Random) -> str:
    """Zeros in the coded data, the end as it was."""
    image, n = _picked(mutant, rng)
    data = image.frames[n]
    if len(data) < _LEAST:
        raise NotHere
    start = rng.randrange(len(data) // 3, len(data) - 2)
    stop = rng.randrange(start + 1, len(data) - 1) if start + 1 < len(data) - 1 else start + 1
    if not image.syntax.is_encapsulated:
        mutant.unknowable = _BLACK
    _replace(mutant, image, n, data[:start] + bytes(stop - start) + data[stop:])
    return f"frame {n}, bytes {start} to {stop}"


def _flipped(mutant: Mutant, rng: random.Random) -> str:
    """Bits of the entropy-coded data."""
    image, n = _picked(mutant, rng)
    data = bytearray(image.frames[n])
    first = _head(image, data)
    if first >= len(data) - 2:
        raise NotHere
    for _ in range(rng.choice((1, 1, 3, 10))):
        data[rng.randrange(first, len(data) - 2)] ^= 1 << rng.randrange(8)
    _replace(mutant, image, n, bytes(data))
    return f"bits of frame {n}"


def _flipped_head(mutant: Mutant, rng: random.Random) -> str:
    """Bytes of a frame's own header: nothing else says what its colors should be."""
    image, n = _picked(mutant, rng)
    data = bytearray(image.frames[n])
    first = _head(image, data)
    if not 0 < first <= len(data):
        raise NotHere
    at = rng.randrange(first)
    data[at] = rng.randrange(256)
    image.frames[n] = bytes(data)
    mutant.unknowable = "the coding tables of a frame are the only source of its colors"
    return f"byte {at} of frame {n}"


def _zeroed(mutant: Mutant, rng: random.Random) -> str:
    image, n = _picked(mutant, rng)
    if not image.syntax.is_encapsulated:
        mutant.unknowable = _BLACK
    _replace(mutant, image, n, bytes(len(image.frames[n])))
    return f"frame {n}"


def _swapped(mutant: Mutant, rng: random.Random) -> str:
    image, n = _picked(mutant, rng)
    other = rng.randrange(len(image.frames))
    one, two = image.frames[n], image.frames[other]
    _replace(mutant, image, n, two)
    _replace(mutant, image, other, one)
    return f"frames {n} and {other}"


def _repeated(mutant: Mutant, rng: random.Random) -> str:
    image, n = _picked(mutant, rng)
    other = rng.randrange(len(image.frames))
    _replace(mutant, image, n, image.frames[other])
    return f"frame {other} in the place of {n}"


def _nothing(mutant: Mutant, rng: random.Random) -> str:
    image, n = _picked(mutant, rng)
    _replace(mutant, image, n, b"")
    return f"frame {n} of no bytes"


def _noise(mutant: Mutant, rng: random.Random) -> str:
    image, n = _picked(mutant, rng)
    _replace(mutant, image, n, rng.randbytes(len(image.frames[n])))
    if not image.syntax.is_encapsulated:
        mutant.unknowable = "native noise is a picture"
    return f"frame {n}"


def _added(mutant: Mutant, rng: random.Random) -> str:
    image, n = _picked(mutant, rng)
    image.frames.insert(n, image.frames[n])
    return f"frame {n} twice, counted once"


def _taken(mutant: Mutant, rng: random.Random) -> str:
    image, n = _picked(mutant, rng)
    del image.frames[n]
    return f"frame {n}, not counted"


def _taken_and_counted(mutant: Mutant, rng: random.Random) -> str:
    """Of a sparse image frames may be absent: what shows elsewhere was not there to be read."""
    image, _ = _picked(mutant, rng)
    count = rng.randrange(1, max(2, len(image.frames) // 2))
    gone = set(rng.sample(range(len(image.frames)), min(count, len(image.frames) - 1)))
    kept = [n for n in range(len(image.frames)) if n not in gone]
    groups = image.header.get("PerFrameFunctionalGroupsSequence")
    if groups and len(groups) == len(image.frames):
        image.header.PerFrameFunctionalGroupsSequence = [groups[n] for n in kept]
    alone = len({i.pixels.shape for i in mutant.slide.images}) == 1
    white = np.full((*image.frame, 3), 255, np.uint8)
    if alone:  # no other level tells that there was more
        for n in gone:
            _show(mutant, image, n, white)
    image.keep(kept)
    return f"{len(gone)} frames, the count follows"


def _basic_table(mutant: Mutant, rng: random.Random) -> str:
    image = _encapsulated(mutant, rng)
    how = rng.choice(
        ("one more", "one less", "reversed", "zeros", "all one item on", "huge", "odd length",
         "first repeated", "shuffled")
    )  # fmt: skip
    seed = rng.random()

    def rewrite(data: bytes) -> bytes:
        at = _pixel_data(data)
        if at < 0 or data[at : at + 4] != _ITEM:
            return data
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        raw = data[at + 8 : at + 8 + length]
        found = list(struct.unpack(f"<{len(raw) // 4}I", raw))
        changed = {
            "one more": [*found, (found or [0])[-1] + 8],
            "one less": found[:-1],
            "reversed": found[::-1],
            "zeros": [0] * len(found),
            "all one item on": [*found[1:], (found or [0])[-1]],
            "huge": [v + 2**31 for v in found],
            "first repeated": [*found[:1], *found[:-1]],
            "shuffled": random.Random(seed).sample(found, len(found)),
        }.get(how, found)
        table = b"".join(struct.pack("<I", v % 2**32) for v in changed)
        table += b"\0\0" if how == "odd length" else b""
        head = data[: at + 4] + len(table).to_bytes(4, "little")
        return head + table + data[at + 8 + length :]

    image.rewrite = rewrite
    return f"{how} in file {mutant.slide.images.index(image)}"


def _extended_table(mutant: Mutant, rng: random.Random) -> str:
    image = _encapsulated(mutant, rng)
    keyword = rng.choice(("ExtendedOffsetTable", "ExtendedOffsetTableLengths"))
    how = rng.choice(("one less", "zeros", "huge", "reversed", "odd length", "one on", "absent"))
    image.table = rng.choice(("extended", "both"))

    def change(paths: list[Path]) -> list[Path]:
        from pydicom import dcmread

        path = paths[mutant.slide.images.index(image)]
        try:
            ds = dcmread(path)
            if keyword not in ds:
                return paths
            raw = bytes(ds[keyword].value or b"")
            found = list(struct.unpack(f"<{len(raw) // 8}Q", raw[: len(raw) // 8 * 8]))
            changed = {
                "one less": found[:-1],
                "zeros": [0] * len(found),
                "huge": [v + 2**62 for v in found],
                "reversed": found[::-1],
                "one on": [*found[1:], *found[-1:]],
            }.get(how, found)
            table = b"".join(struct.pack("<Q", v % 2**64) for v in changed)
            setattr(ds, keyword, table[:-4] if how == "odd length" else table)
            if how == "absent":
                delattr(ds, keyword)
            ds.save_as(path)
        except Exception:  # noqa: BLE001, S110 - an earlier step made it what no library writes
            pass
        return paths

    mutant.after.append(change)
    return f"{keyword} {how} in file {mutant.slide.images.index(image)}"


def _item_length(mutant: Mutant, rng: random.Random) -> str:
    image = _encapsulated(mutant, rng)
    n = rng.randrange(len(image.frames) or 1)
    by = rng.choice((-2, 2, 8, -8, 2**20, 2**31))

    def rewrite(data: bytes) -> bytes:
        at = _nth_item(data, n)
        if at < 0:
            return data
        length = (int.from_bytes(data[at + 4 : at + 8], "little") + by) % 2**32
        return data[: at + 4] + length.to_bytes(4, "little") + data[at + 8 :]

    image.rewrite = rewrite
    return f"of frame {n} by {by} in file {mutant.slide.images.index(image)}"


def _item_tag(mutant: Mutant, rng: random.Random) -> str:
    image = _encapsulated(mutant, rng)
    n = rng.randrange(len(image.frames) or 1)
    tag = rng.choice((b"\xfe\xff\xdd\xe0", b"\xfe\xff\x0d\xe0", b"\0\0\0\0", b"\xe0\x7f\x10\x00"))

    def rewrite(data: bytes) -> bytes:
        at = _nth_item(data, n)
        return data if at < 0 else data[:at] + tag + data[at + 4 :]

    image.rewrite = rewrite
    return f"of frame {n} is {tag.hex()} in file {mutant.slide.images.index(image)}"


def _fragments(mutant: Mutant, rng: random.Random) -> str:
    image = _encapsulated(mutant, rng)
    image.fragments = rng.choice((2, 3))
    image.table = rng.choice(("basic", "empty"))
    return f"{image.fragments} a frame, table {image.table}"


def _encapsulated(mutant: Mutant, rng: random.Random) -> Image:
    found = [i for i in mutant.slide.images if i.syntax.is_encapsulated]
    if not found:
        raise NotHere
    return rng.choice(found)


def _pixel_data(data: bytes) -> int:
    """Where the items of the pixel data begin; -1 where there are none."""
    found = [data.find(head) for head in _PIXELS]
    at = max(found)
    return at + 12 if at >= 0 else -1


def _nth_item(data: bytes, n: int) -> int:
    at = _pixel_data(data)
    for _ in range(n + 1):
        if at < 0 or data[at : at + 4] != _ITEM:
            return -1
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
    return at if data[at : at + 4] == _ITEM else -1


def _head(image: Image, data: bytes | bytearray) -> int:
    """Bytes before the coded data of a frame; 0 for native pixels."""
    if image.syntax == JPEGBaseline8Bit:
        return data.find(b"\xff\xda") + 14
    return data.find(b"\xff\x93") + 2 if image.syntax == JPEG2000Lossless else 0
