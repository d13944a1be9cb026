"""What a header says of a level's colors, against what its streams and its glass say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.errors import MALFORMED
from inference.slide.codestream.jpeg import read_jpeg
from inference.slide.codestream.jpeg2000 import (
    Jpeg2000,
    codestream,
    is_jpeg_2000,
    read_jpeg_2000,
)
from inference.slide.decoding import TRANSFORMED
from inference.slide.frames import Level
from inference.slide.stored import FrameBroken
from inference.slide.terms import photometric_name

MOST_FRAMES, MOST_PIXELS = 16, 2**24
"""How many frames of a level are looked at for glass, one of them even if it is larger."""
_MOST_OF_A_FRAME = 2**16
LEAST_GLASS, MOST_BY_CHANCE = 0.05, 0.005
"""Least share of pixels that are glass in the right reading, and largest in the wrong one."""
_GLASS_LEAST, _GLASS_TINT = 200, 15
_ERRORS = (*MALFORMED, RuntimeError, FrameBroken)
Samples = NDArray[np.uint8]


def color_fault(level: Level) -> str:
    """Why nobody can know which colors a level has, or ''.

    Samples are RGB or YCbCr by what the header and the streams say, and both err; glass is gray in
    one reading alone. Where a JPEG 2000 stream applied no transform and the header says that one
    was, both are met, and the reading is chosen by it.
    """
    stated = level.decode.photometric
    samples = _samples(level)
    stream = _first_jpeg_2000(level)
    if stream is not None and stated in TRANSFORMED and not _tells(stream):
        level.decode.reads_untransformed_as = _reading(np.concatenate(list(samples.values())))
        if level.decode.reads_untransformed_as:
            return ""
        return (
            f"Photometric Interpretation is {stated}, but the JPEG 2000 frames say that no color "
            "transform was applied; whether they hold RGB or YCbCr cannot be seen from their glass."
        )
    for read_as, found in samples.items():
        seen = _reading(found)
        if seen not in ("", read_as):
            return (
                f"Photometric Interpretation is {photometric_name(stated)}, by which, and by what "
                f"its frames say, they are read as {read_as}; but their glass is gray only if they "
                f"hold {seen}."
            )
    return ""


def color_conflict(level: Level) -> str:
    """What was believed of a level whose header and first frame disagree on color, or ''."""
    stated = level.decode.photometric
    which = f"The header of the level of {level.rows} x {level.cols} pixels says {stated}, its"
    if level.decodes_stated_ycbcr:
        data = _first_frame(level)
        if data and read_jpeg(data).says_ycbcr:
            return f"{which} JPEG frames say YCbCr; the frames were believed, as viewers do."
        return ""
    stream = _first_jpeg_2000(level)
    if stream is None:
        return ""
    if stream.is_transformed and stated not in TRANSFORMED:
        return (
            f"{which} JPEG 2000 frames say that a color transform was applied to RGB; the frames "
            "were believed."
        )
    if stream.is_subsampled and not stated.startswith("YBR_FULL"):
        return (
            f"{which} JPEG 2000 frames have fewer samples of color than of brightness, as YCbCr "
            "has; the frames were believed."
        )
    if level.decode.reads_untransformed_as:
        return (
            f"{which} JPEG 2000 frames say that no color transform was applied; they were read as "
            f"{level.decode.reads_untransformed_as}, as which their glass is gray."
        )
    return ""


def _first_frame(level: Level) -> bytes:
    try:
        return bytes(level.stored.read(0))
    except _ERRORS:  # told when the frame's pixels are needed
        return b""


def _first_jpeg_2000(level: Level) -> Jpeg2000 | None:
    if level.is_baseline or not level.is_encapsulated:
        return None
    data = codestream(_first_frame(level))
    return read_jpeg_2000(data) if is_jpeg_2000(data) else None


def _tells(stream: Jpeg2000) -> bool:
    """Whether a stream says by itself what its samples are."""
    return stream.is_transformed or stream.is_subsampled


def _samples(level: Level) -> dict[str, Samples]:
    """Samples [n, 3] of some frames of a level as they are stored, by what they are read as."""
    found: dict[str, list[Samples]] = {"RGB": [], "YCbCr": []}
    count = min(MOST_FRAMES, max(1, MOST_PIXELS // (level.frame_rows * level.frame_cols)))
    for index in np.unique(np.linspace(0, level.frames - 1, count).astype(int)).tolist():
        try:
            read_as, samples = level.stored_samples(index)
        except _ERRORS:  # told when the frame's pixels are needed
            continue
        some = samples.reshape(-1, 3)
        found[read_as].append(some[:: max(1, len(some) // _MOST_OF_A_FRAME)])
    none = np.empty((0, 3), np.uint8)
    return {read_as: np.concatenate([none, *parts]) for read_as, parts in found.items()}


def _reading(samples: Samples) -> str:
    """ "RGB" or "YCbCr", as which of them samples [n, 3] have gray glass; "" where that is not
    clear."""
    first, others = samples[:, 0].astype(np.int16), samples[:, 1:].astype(np.int16)
    is_bright = first >= _GLASS_LEAST
    as_rgb = is_bright & (np.abs(others - first[:, None]).max(1) <= _GLASS_TINT)
    as_ycbcr = is_bright & (np.abs(others - 128).max(1) <= _GLASS_TINT // 2)
    shares = {"RGB": float(as_rgb.mean()), "YCbCr": float(as_ycbcr.mean())} if len(samples) else {}
    clear = [name for name, share in shares.items() if share >= LEAST_GLASS]
    if len(clear) != 1 or min(shares.values()) > MOST_BY_CHANCE:
        return ""
    return clear[0]
