"""JPEG 2000 and HTJ2K codestreams: what they say of their colors, and where they are broken.

OpenJPEG decodes zeroed and overwritten packets without a word, and nothing of what it gives back
says whether it has undone a color transform.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

Stream = bytes | memoryview

_START = b"\xff\x4f\xff\x51"  # SOC, then SIZ (ITU T.800 A.4.1, A.5.1)
_BOXES = b"\0\0\0\x0cjP  "  # the signature box of a JP2 file (ITU T.800 I.5.1)
_SIZ, _COD, _SOT, _SOD, _EOC = 0x51, 0x52, 0x90, b"\xff\x93", b"\xff\xd9"
_HAS_SOP, _HAS_EPH = 0x02, 0x04
_IS_HIGH_THROUGHPUT = 0x40
_DEFAULT_PRECINCTS = 15
_SPARE_ZEROS = 64
"""Zero bytes in a row that no arithmetic coder wrote in any sound stream looked at: 4 were most.
High-throughput coders do write them; their decoder notices what was overwritten by itself."""
# Coders stuff bits so that no two bytes of a packet make a marker (ITU T.800 B.10.1, D.4.1).
_MARKERS = re.compile(rb"\xff[\x90-\xff]")
_MARKERS_BESIDE_EPH = re.compile(rb"\xff[\x90\x91\x93-\xff]")


@dataclass(frozen=True, slots=True)
class Jpeg2000:
    """What a codestream says in its main header (ITU T.800 A.5.1, A.6.1)."""

    rows: int
    cols: int
    bits: tuple[int, ...]
    """Bits of each component's samples; negative where they are signed."""
    steps: tuple[tuple[int, int], ...]
    """Columns and rows per sample of each component: (1, 1) where it is not subsampled."""
    is_transformed: bool
    """That a multiple component transform was applied, which its decoder undoes: RGB comes out."""
    is_high_throughput: bool
    uses_sop: bool
    uses_eph: bool
    most_packets: int
    """Upper limit of the packets of a tile; an empty one may be a zero byte."""
    header_length: int
    """Bytes before the first tile-part."""

    @property
    def is_subsampled(self) -> bool:
        """Whether the second and third components have fewer samples: then they are chroma."""
        return len(set(self.steps)) > 1


def is_jpeg_2000(data: Stream) -> bool:
    """Whether it starts as a codestream does."""
    return bytes(data[:4]) == _START


def codestream(data: Stream) -> Stream:
    """The codestream in the boxes of a JP2 file, which has no place in DICOM but is met (PS3.5
    A.4.4); anything else as it is. What boxes say of colors thus reaches no decoder."""
    if bytes(data[:8]) != _BOXES:
        return data
    at = 0
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        head = 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        end = len(data) if length == 0 else at + length
        if kind == b"jp2c":
            return data[at + head : end]
        if end <= at:
            break
        at = end
    return data


def read_jpeg_2000(data: Stream) -> Jpeg2000 | None:
    """The facts of a codestream; None where its main header does not hold them."""
    siz = cod = b""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _SOT:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = bytes(data[at + 4 : at + 2 + length])
        siz = body if data[at + 1] == _SIZ else siz
        cod = body if data[at + 1] == _COD else cod
        at += 2 + max(length, 2)
    components = siz[36:]
    if len(siz) < 39 or len(components) != 3 * int.from_bytes(siz[34:36], "big") or len(cod) < 10:
        return None
    x1, y1, x0, y0 = (int.from_bytes(siz[n : n + 4], "big") for n in (2, 6, 10, 14))
    depths, columns, rows = components[::3], components[1::3], components[2::3]
    return Jpeg2000(
        rows=y1 - y0,
        cols=x1 - x0,
        bits=tuple(-(d & 0x7F) - 1 if d & 0x80 else d + 1 for d in depths),
        steps=tuple(zip(columns, rows, strict=True)),
        is_transformed=cod[4] != 0,
        is_high_throughput=bool(cod[8] & _IS_HIGH_THROUGHPUT),
        uses_sop=bool(cod[0] & _HAS_SOP),
        uses_eph=bool(cod[0] & _HAS_EPH),
        most_packets=_most_packets(cod, y1, x1, len(depths)),
        header_length=at,
    )


def damage(data: bytes, stream: Jpeg2000) -> str:
    """Why the packets of a codestream are not as a coder wrote them, or ''.

    Single bits that changed inside of a code-block cannot be told from a picture.
    """
    markers = _MARKERS_BESIDE_EPH if stream.uses_eph else _MARKERS
    zeros = b"" if stream.is_high_throughput else bytes(_SPARE_ZEROS + stream.most_packets)
    end = stream.header_length
    for start, end in _tile_parts(data, stream.header_length):
        if end > len(data):
            return "the JPEG 2000 stream ends before its last tile-part does"
        if zeros and data.find(zeros, start, end) >= 0:
            return "part of the JPEG 2000 stream was overwritten with zeros"
        # A packet number in a SOP segment may look like a marker.
        if not stream.uses_sop and markers.search(data, start, end):
            return "the JPEG 2000 stream has a marker where none can be"
    # Some coders leave the end marker out; then nothing may follow but padding.
    if end == stream.header_length or (data[end : end + 2] != _EOC and any(data[end:])):
        return "the JPEG 2000 stream does not end where its last tile-part does"
    return ""


def _tile_parts(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Where the packets of each tile-part begin and end (ITU T.800 A.4.2)."""
    while data[at : at + 2] == bytes((0xFF, _SOT)) and at + 12 <= len(data):
        length = int.from_bytes(data[at + 6 : at + 10], "big")
        # Without a length the last tile-part goes up to the end of the codestream.
        end = at + length if length else max(data.rfind(_EOC), at + 12)
        start = data.find(_SOD, at + 12, end)
        yield (end if start < 0 else start + 2), end
        at = max(end, at + 12)


def _most_packets(cod: bytes, rows: int, cols: int, components: int) -> int:
    layers, resolutions = int.from_bytes(cod[2:4], "big"), cod[5] + 1
    sizes = cod[10 : 10 + resolutions] if cod[0] & 1 else b""
    low = min((min(size & 0x0F, size >> 4) for size in sizes), default=_DEFAULT_PRECINCTS)
    precincts = -(-rows // 2**low) * -(-cols // 2**low)
    return int(min(layers * resolutions * components * precincts, 2**20))
