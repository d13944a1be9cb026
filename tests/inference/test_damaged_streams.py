"""Streams that decoders take although they are broken are unreadable frames, by number."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from coded_slides import FRAME, Pixels, jpeg_2000, slide_of
from PIL import Image, ImageFilter
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)
from tiny_slides import jpeg, noise
from wsidicom.codec.rle import RleCodec

from inference.errors import FramesUnreadable
from inference.slide.codestream.jpegxl import is_jpeg_xl, jpeg_xl_size
from inference.slide.slide import open_slide
from inference.slide.stored import FrameBroken

JPEG_XL = UID("1.2.840.10008.1.2.4.110")
Damage = Callable[[bytes, int], bytes]


def tissue(seed: int = 1) -> Pixels:
    """A smooth picture with detail everywhere."""
    blurred = Image.fromarray(noise(*FRAME, seed=seed)).filter(ImageFilter.GaussianBlur(1.5))
    return np.clip(np.asarray(blurred, np.int16) * 2 - 90, 0, 255).astype(np.uint8)


def read(path: Path, row: int = 0) -> Pixels:
    with open_slide([path]) as slide:
        return slide.levels[0].read_frame(row, 0)


def scan_of(stream: bytes) -> int:
    """Where the entropy-coded data of a JPEG stream begins."""
    at = stream.index(b"\xff\xda")
    return at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")


def zeros_in_the_middle(s: bytes, at: int) -> bytes:
    return s[: at + 300] + bytes(len(s) - at - 600) + s[-300:]


def all_zeros(s: bytes, at: int) -> bytes:
    return s[:at] + bytes(len(s) - at - 2) + s[-2:]


def cut(s: bytes, at: int) -> bytes:
    return s[: (at + len(s)) // 2] + s[-2:]


def a_marker_inside(s: bytes, at: int) -> bytes:
    middle = (at + len(s)) // 2
    return s[:middle] + b"\xff\xd3" + s[middle + 2 :]


def blocks_left_over(s: bytes, at: int) -> bytes:
    return s[:-2] + s[at : at + 200].replace(b"\xff", b"\x55") + s[-2:]


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
@pytest.mark.parametrize(
    "damage", [zeros_in_the_middle, all_zeros, cut, a_marker_inside, blocks_left_over]
)
def test_a_jpeg_frame_that_libjpeg_fills_with_gray_is_unreadable(
    tmp_path: Path, damage: Damage, syntax: UID
) -> None:
    frames = [jpeg(tissue(n)) for n in range(3)]
    frames[1] = damage(frames[1], scan_of(frames[1]))
    path = slide_of(tmp_path / "a.dcm", frames, syntax, "YBR_FULL_422")
    read(path, 0)
    read(path, 2)
    with pytest.raises(FramesUnreadable, match=r"^Frame 2 of instance .* data is damaged \(the "):
        read(path, 1)


def test_a_missing_restart_marker_is_damage(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.fromarray(tissue()).save(buffer, "JPEG", quality=90, restart_marker_rows=1)
    stream = buffer.getvalue()
    path = slide_of(tmp_path / "a.dcm", [stream], JPEGBaseline8Bit, "YBR_FULL_422")
    read(path)
    at = stream.index(b"\xff\xd1", scan_of(stream))
    broken = stream[:at] + b"\xff\xd6" + stream[at + 2 :]
    with pytest.raises(FramesUnreadable, match="damaged"):
        read(slide_of(tmp_path / "b.dcm", [broken], JPEGBaseline8Bit, "YBR_FULL_422"))


def at_the_end(padding: bytes) -> Callable[[bytes], bytes]:
    return lambda s: s[:-2] + padding + s[-2:]


def a_comment(s: bytes) -> bytes:
    return s[:2] + b"\xff\xfe\0\x09scanner" + s[2:]


def another_jfif(s: bytes) -> bytes:
    return s.replace(b"JFIF\0\1", b"JFIF\0\2")


def stray_bytes_in_the_header(s: bytes) -> bytes:
    at = s.index(b"\xff\xdb")
    return s[:at] + b"\0\0\0" + s[at:]


def no_spectrum_stated(s: bytes) -> bytes:
    at = scan_of(s)
    return s[: at - 3] + b"\0\0\0" + s[at:]


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize(
    "oddity",
    [
        at_the_end(bytes(9)),
        at_the_end(b"\xff" * 9),
        at_the_end(b"\x12\x34\x56"),
        a_comment,
        another_jfif,
        stray_bytes_in_the_header,
        no_spectrum_stated,
    ],
)
def test_what_only_looks_odd_is_decoded_as_ever(
    tmp_path: Path, oddity: Callable[[bytes], bytes], is_plain: bool
) -> None:
    stream = jpeg(tissue())
    stated = "YBR_FULL_422"
    if is_plain:  # RGB, and only the header of the file says so
        stream = bytes(
            imagecodecs.jpeg8_encode(tissue(), 90, colorspace="RGB", outcolorspace="RGB")
        )
        stated = "RGB"
    paths = [
        slide_of(tmp_path / f"{n}.dcm", [s], JPEGBaseline8Bit, stated)
        for n, s in enumerate((stream, oddity(stream)))
    ]
    np.testing.assert_array_equal(read(paths[0]), read(paths[1]))


def test_an_oddity_does_not_hide_damage(tmp_path: Path) -> None:
    """libjpeg tells its first warning only."""
    stream = jpeg(tissue())
    for oddity in (another_jfif, stray_bytes_in_the_header, no_spectrum_stated):
        broken = cut(oddity(stream), scan_of(oddity(stream)))
        path = slide_of(tmp_path / "a.dcm", [broken], JPEGBaseline8Bit, "YBR_FULL_422")
        with pytest.raises(FramesUnreadable, match="ends before the picture does"):
            read(path)


def test_plain_rgb_in_jpeg_is_what_libjpeg_stores(tmp_path: Path) -> None:
    """Damage is seen in it too."""
    stream = bytes(imagecodecs.jpeg8_encode(tissue(), 95, colorspace="RGB", outcolorspace="RGB"))
    path = slide_of(tmp_path / "a.dcm", [stream], JPEGBaseline8Bit, "RGB")
    wanted = imagecodecs.jpeg8_decode(stream, colorspace="RGB", outcolorspace="RGB")
    np.testing.assert_array_equal(read(path), wanted)
    broken = cut(stream, scan_of(stream))
    with pytest.raises(FramesUnreadable, match="ends before the picture does"):
        read(slide_of(tmp_path / "b.dcm", [broken], JPEGBaseline8Bit, "RGB"))


def coded(syntax: UID) -> bytes:
    pixels = tissue()
    if syntax == JPEG2000:
        return jpeg_2000(pixels, transform=True)
    if syntax == HTJ2K:
        return bytes(imagecodecs.htj2k_encode(pixels))
    if syntax == JPEGLSLossless:
        return bytes(imagecodecs.jpegls_encode(pixels))
    return RleCodec.encode(pixels)


@pytest.mark.parametrize("syntax", [JPEG2000, HTJ2K, JPEGLSLossless, RLELossless])
def test_no_codec_takes_a_stream_with_a_hole(tmp_path: Path, syntax: UID) -> None:
    stream = coded(syntax)
    rng = np.random.default_rng(7)
    passed = 0
    for n in range(20):
        start = int(rng.integers(400, len(stream) // 2))
        stop = start + int(rng.integers(1000, len(stream) // 3))
        filled = (bytes(stop - start), b"\xff" * (stop - start), rng.bytes(stop - start), b"")
        for m, hole in enumerate(filled):
            broken = stream[:start] + hole + stream[stop:]
            path = slide_of(tmp_path / f"{n}-{m}.dcm", [broken], syntax, "RGB")
            try:
                read(path)
                passed += 1
            except FramesUnreadable:
                pass
    # Noise of a kilobyte has no impossible marker once in six times.
    assert passed <= (4 if syntax == JPEG2000 else 0)


def test_an_rle_header_is_not_believed(tmp_path: Path) -> None:
    """A decoder that does reads far behind the data, which ends the process."""
    stream = coded(RLELossless)
    count, *places = struct.unpack_from("<16I", stream)
    wrong = [
        (count, *places[:2], 385_879_178),
        (count, places[0], 2**32 - 2, places[2]),
        (count, places[0], places[2], places[1]),
        (count, 0, *places[1:3]),
        (count, places[0], places[0], places[2]),
        (count, places[0], places[1] + 40, places[2]),
        (2, *places[:2]),
        (2**32 - 1, *places[:3]),
    ]
    for n, header in enumerate(wrong):
        broken = struct.pack("<16I", *header, *[0] * (16 - len(header))) + stream[64:]
        with pytest.raises(FramesUnreadable, match="RLE"):
            read(slide_of(tmp_path / f"{n}.dcm", [broken], RLELossless, "RGB"))
    for length in (2, 63, 64):
        with pytest.raises(FramesUnreadable, match="RLE"):
            read(slide_of(tmp_path / f"{length}.dcm", [stream[:length]], RLELossless, "RGB"))
    sound = read(slide_of(tmp_path / "a.dcm", [stream], RLELossless, "RGB"))
    np.testing.assert_array_equal(sound, tissue())


@pytest.mark.parametrize("padding", [1, 2, 3, 6, 511])
def test_zeros_behind_a_frame_of_rle_are_no_damage(tmp_path: Path, padding: int) -> None:
    stream = coded(RLELossless) + bytes(padding)
    found = read(slide_of(tmp_path / "a.dcm", [stream], RLELossless, "RGB"))
    np.testing.assert_array_equal(found, tissue())


@pytest.mark.parametrize("boxes", [False, True])
def test_the_size_of_jpeg_xl_is_what_its_decoder_finds(boxes: bool) -> None:
    sizes = [(8, 8), (256, 256), (240, 320), (64, 96), (1, 1), (513, 7), (90, 160), (9000, 3)]
    rng = np.random.default_rng(4)
    sizes += [tuple(size) for size in rng.integers(1, 700, (40, 2)).tolist()]
    for rows, cols in sizes:
        pixels = np.zeros((rows, cols, 3), np.uint8)
        stream = imagecodecs.jpegxl_encode(pixels, lossless=True, effort=1, usecontainer=boxes)
        assert is_jpeg_xl(stream)
        assert jpeg_xl_size(bytes(stream)) == (rows, cols)


@pytest.mark.parametrize("boxes", [False, True])
def test_a_large_picture_in_a_small_stream_of_jpeg_xl_is_not_decoded(
    tmp_path: Path, boxes: bool
) -> None:
    pixels = np.zeros((4000, 4000, 3), np.uint8)
    stream = imagecodecs.jpegxl_encode(pixels, lossless=True, effort=1, usecontainer=boxes)
    for broken, said in (
        (bytes(stream), "4000 x 4000 pixels"),
        (bytes(stream[:14]), "JPEG XL|not"),
    ):
        path = slide_of(tmp_path / "a.dcm", [broken], JPEG_XL, "RGB")
        with open_slide([path]) as slide, pytest.raises(FrameBroken, match=said):
            slide.levels[0].stored_samples(0)
    sound = bytes(imagecodecs.jpegxl_encode(tissue(), lossless=True, usecontainer=boxes))
    found = read(slide_of(tmp_path / "b.dcm", [sound], JPEG_XL, "RGB"))
    np.testing.assert_array_equal(found, tissue())


def test_a_stream_of_another_size_is_not_decoded_to_see_its_colors(tmp_path: Path) -> None:
    stream = coded(JPEGLSLossless)
    at = stream.index(b"\xff\xf7") + 5
    broken = stream[:at] + b"\xff\xff\xff\xff" + stream[at + 4 :]
    path = slide_of(tmp_path / "a.dcm", [broken], JPEGLSLossless, "RGB")
    with open_slide([path]) as slide, pytest.raises(FrameBroken, match="65535 x 65535"):
        slide.levels[0].stored_samples(0)


def test_a_frame_without_data_is_unreadable_and_no_path_is_told(tmp_path: Path) -> None:
    frames = [jpeg(tissue(n)) for n in range(3)]
    for empty in (0, 1, 2):
        path = slide_of(tmp_path / "a.dcm", frames, JPEGBaseline8Bit, "YBR_FULL_422", empty={empty})
        with pytest.raises(FramesUnreadable) as unreadable:
            read(path, empty)
        assert "without data" in str(unreadable.value) or "no data" in str(unreadable.value)
        assert str(tmp_path) not in str(unreadable.value)
        assert unreadable.value.frame == empty + 1


def test_sound_streams_of_every_quality_pass(tmp_path: Path) -> None:
    glass = np.full((*FRAME, 3), 243, np.uint8)
    for pixels in (glass, tissue(), noise(*FRAME)):
        for level in (0, 30, 60):
            stream = bytes(imagecodecs.jpeg2k_encode(pixels, level=level, codecformat="j2k"))
            for padding in (b"", b"\0", bytes(6)):
                path = slide_of(tmp_path / "a.dcm", [stream + padding], JPEG2000, "YBR_ICT")
                read(path)
        for quality in (20, 75, 100):
            for optimize in (False, True):
                buffer = BytesIO()
                Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, optimize=optimize)
                read(
                    slide_of(
                        tmp_path / "a.dcm", [buffer.getvalue()], JPEGBaseline8Bit, "YBR_FULL_422"
                    )
                )
