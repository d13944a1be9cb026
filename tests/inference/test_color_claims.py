"""Colors are those of the streams, whatever the header says of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from coded_slides import FRAME, Pixels, boxed, jpeg_2000, slide_of, subsampled
from PIL import Image
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)
from wsidicom.codec.rle import RleCodec

from inference.errors import FramesUnreadable, Refused
from inference.slide.color_claims import color_conflict
from inference.slide.slide import open_slide
from inference.types import Reason

BLOCKS = ((240, 241, 242), (200, 30, 90), (120, 60, 150), (230, 150, 190))


def picture(*, glass: bool = True) -> Pixels:
    """Blocks of known colors, the first of them glass."""
    found = np.empty((*FRAME, 3), np.uint8)
    colors = BLOCKS if glass else (BLOCKS[1], *BLOCKS[1:])
    for n, color in enumerate(colors):
        row, col = divmod(n, 2)
        found[row * 32 : row * 32 + 32, col * 48 : col * 48 + 48] = color
    return found


def as_ycbcr(rgb: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(rgb).convert("YCbCr"))


def read(path: Path) -> tuple[Pixels, str]:
    """The picture of the only frame, and what is said of its colors."""
    with open_slide([path]) as slide:
        return slide.levels[0].read_frame(0, 0), color_conflict(slide.levels[0])


@pytest.mark.parametrize("syntax", [JPEG2000, JPEG2000Lossless, HTJ2K])
@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"])
def test_a_transform_in_the_stream_is_believed_and_said_where_the_header_denies_it(
    tmp_path: Path, syntax: UID, stated: str
) -> None:
    rgb = picture()
    stream = jpeg_2000(rgb, transform=True)
    if syntax == HTJ2K:
        stream = bytes(imagecodecs.htj2k_encode(rgb))
    pixels, said = read(slide_of(tmp_path / "a.dcm", [stream], syntax, stated))
    np.testing.assert_array_equal(pixels, rgb)
    assert said.startswith(f"The header of the level of 64 x 96 pixels says {stated}") == (
        stated not in ("YBR_ICT", "YBR_RCT")
    )


@pytest.mark.parametrize("stated", ["YBR_FULL", "YBR_FULL_422"])
def test_ycbcr_without_a_transform_becomes_rgb(tmp_path: Path, stated: str) -> None:
    """YBR_FULL_422 is stated for such streams since CP-2650, subsampled or not."""
    stream = jpeg_2000(as_ycbcr(picture()), transform=False)
    pixels, said = read(slide_of(tmp_path / "a.dcm", [stream], JPEG2000, stated))
    assert np.abs(pixels.astype(int) - picture()).max() <= 2
    assert not said


@pytest.mark.parametrize(("columns", "rows"), [(2, 1), (2, 2)])
@pytest.mark.parametrize("stated", ["YBR_FULL_422", "YBR_FULL", "YBR_ICT", "RGB"])
def test_subsampled_components_are_ycbcr_whatever_the_header_says(
    tmp_path: Path, columns: int, rows: int, stated: str
) -> None:
    stream = subsampled(as_ycbcr(picture()), columns, rows)
    pixels, said = read(slide_of(tmp_path / "a.dcm", [stream], JPEG2000, stated))
    assert np.abs(pixels.astype(int) - picture()).max() <= 3
    assert bool(said) == (not stated.startswith("YBR_FULL"))


def test_chroma_at_half_the_height_alone_is_refused_or_right(tmp_path: Path) -> None:
    stream = subsampled(as_ycbcr(picture()), 1, 2)
    path = slide_of(tmp_path / "a.dcm", [stream], JPEG2000, "YBR_FULL_422")
    with pytest.raises(FramesUnreadable):
        read(path)


@pytest.mark.parametrize("stated", ["YBR_ICT", "YBR_RCT"])
def test_where_a_stated_transform_was_not_applied_the_glass_tells_the_colors(
    tmp_path: Path, stated: str
) -> None:
    for samples, name in ((picture(), "RGB"), (as_ycbcr(picture()), "YCbCr")):
        stream = jpeg_2000(samples, transform=False)
        pixels, said = read(slide_of(tmp_path / "a.dcm", [stream], JPEG2000, stated))
        assert np.abs(pixels.astype(int) - picture()).max() <= 2
        assert f"they were read as {name}, as which their glass is gray" in said


def test_without_glass_nobody_guesses_the_colors(tmp_path: Path) -> None:
    stream = jpeg_2000(picture(glass=False), transform=False)
    with pytest.raises(Refused, match="no color transform was applied") as refused:
        read(slide_of(tmp_path / "a.dcm", [stream], JPEG2000, "YBR_ICT"))
    assert refused.value.verdict.reason is Reason.PHOTOMETRIC_INTERPRETATION


def test_frames_of_one_level_may_differ_in_their_transform(tmp_path: Path) -> None:
    streams = [jpeg_2000(picture(), transform=True)]
    streams.append(jpeg_2000(as_ycbcr(picture()), transform=False))
    with open_slide([slide_of(tmp_path / "a.dcm", streams, JPEG2000, "YBR_FULL")]) as slide:
        for row in range(2):
            found = slide.levels[0].read_frame(row, 0).astype(int)
            assert np.abs(found - picture()).max() <= 2


@pytest.mark.parametrize("color", [16, 18])
def test_boxes_around_a_codestream_change_no_color(tmp_path: Path, color: int) -> None:
    """A box that says sYCC makes decoders convert what the stream has converted already."""
    stream = boxed(jpeg_2000(picture(), transform=True), color)
    pixels, _ = read(slide_of(tmp_path / "a.dcm", [stream], JPEG2000, "YBR_RCT"))
    np.testing.assert_array_equal(pixels, picture())


def test_samples_of_more_bits_than_the_header_says_are_not_cut(tmp_path: Path) -> None:
    deep = picture().astype(np.uint16) * 16
    for frame, syntax in (
        (imagecodecs.jpeg2k_encode(deep, level=0, codecformat="j2k", bitspersample=12), JPEG2000),
        (imagecodecs.jpegls_encode(deep), JPEGLSLossless),
    ):
        path = slide_of(tmp_path / "a.dcm", [bytes(frame)], syntax, "RGB")
        with pytest.raises(FramesUnreadable, match=r"its samples have 1[26] bits, not 8"):
            read(path)


def test_a_coding_that_knows_no_ycbcr_of_half_width_says_what_it_knows(tmp_path: Path) -> None:
    stream = jpeg_2000(picture(), transform=False)
    with pytest.raises(Refused) as refused:
        read(slide_of(tmp_path / "a.dcm", [stream], RLELossless, "YBR_FULL_422"))
    assert refused.value.verdict.detail == (
        "Photometric Interpretation is YBR_FULL_422 in RLE Lossless; in that coding color images "
        "are RGB or YBR_FULL."
    )


def unmarked(samples: Pixels) -> bytes:
    """A JPEG of these samples in which nothing says what they are."""
    data = bytes(imagecodecs.jpeg8_encode(samples, level=95, colorspace="RGB", outcolorspace="RGB"))
    at = data.find(b"\xff\xee")
    return data if at < 0 else data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4]) :]


def with_jfif(samples: Pixels) -> bytes:
    """A JPEG of these samples that says that they are YCbCr, by components 1, 2 and 3."""
    data = bytes(
        imagecodecs.jpeg8_encode(samples, level=95, colorspace="YCBCR", outcolorspace="YCBCR")
    )
    return data


def in_rle(samples: Pixels) -> bytes:
    return bytes(RleCodec.encode(samples))


def in_jpeg_2000(samples: Pixels) -> bytes:
    return jpeg_2000(samples, transform=False)


def in_jpeg_ls(samples: Pixels) -> bytes:
    return bytes(imagecodecs.jpegls_encode(samples))


@pytest.mark.parametrize(
    ("encode", "syntax", "stated", "is_ycbcr"),
    [
        (in_jpeg_2000, JPEG2000, "YBR_FULL", False),
        (in_jpeg_2000, JPEG2000, "RGB", True),
        (in_rle, RLELossless, "YBR_FULL", False),
        (in_rle, RLELossless, "RGB", True),
        (in_jpeg_ls, JPEGLSLossless, "RGB", True),
        (unmarked, JPEGBaseline8Bit, "RGB", True),
        (with_jfif, JPEGBaseline8Bit, "YBR_FULL", False),
    ],
)
def test_samples_whose_glass_is_gray_only_in_another_reading_are_refused(
    tmp_path: Path, encode: Callable[[Pixels], bytes], syntax: UID, stated: str, is_ycbcr: bool
) -> None:
    samples = as_ycbcr(picture()) if is_ycbcr else picture()
    path = slide_of(tmp_path / "a.dcm", [encode(samples)], syntax, stated)
    with pytest.raises(Refused, match="glass is gray only if they hold") as refused:
        open_slide([path])
    assert refused.value.verdict.reason is Reason.PHOTOMETRIC_INTERPRETATION


@pytest.mark.parametrize("encode", [in_jpeg_2000, in_rle])
def test_without_glass_the_stated_reading_is_believed(
    tmp_path: Path, encode: Callable[[Pixels], bytes]
) -> None:
    syntax = JPEG2000 if encode is in_jpeg_2000 else RLELossless
    tissue = picture(glass=False)
    pixels, _ = read(slide_of(tmp_path / "a.dcm", [encode(tissue)], syntax, "RGB"))
    np.testing.assert_array_equal(pixels, tissue)
