from __future__ import annotations

import ast
import inspect
import io
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from profiles import profile_of, swapped_primaries
from pydicom import DataElement, Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)
from students import student
from tiny_slides import Edit, jpeg, noise, split, write_level
from wsidicom import WsiDicom
from wsidicom.codec import decoder

from inference import predict
from inference.errors import FramesUnreadable
from inference.slide.codestream.jpeg import JpegReader, read_jpeg
from inference.slide.slide import open_slide
from inference.types import Prediction
from slides import SlideStudy

FRAME = (64, 48)


def picture(rows: int, cols: int) -> NDArray[np.uint8]:
    """Pink with darker and lighter blotches, smooth enough for JPEG to be true to."""
    blurred = Image.fromarray(noise(rows, cols)[..., 0]).filter(ImageFilter.GaussianBlur(4))
    shade = np.asarray(blurred, np.int16)[..., None] - 128
    return np.clip(shade * 2 + np.array([150, 102, 100]), 0, 255).astype(np.uint8)


def says_422(header: Dataset) -> None:
    header.PhotometricInterpretation = "YBR_FULL_422"


def frames_of(pixels: NDArray[np.uint8]) -> list[bytes]:
    """JPEG frames of a picture that FRAME divides, in raster order."""
    rows, cols = FRAME
    return [
        jpeg(pixels[r : r + rows, c : c + cols])
        for r in range(0, pixels.shape[0], rows)
        for c in range(0, pixels.shape[1], cols)
    ]


def in_fragments(header: Dataset, coded: list[bytes]) -> None:
    set_pixel_data(header, encapsulate(coded, fragments_per_frame=3, has_bot=True))


def without_table(header: Dataset, coded: list[bytes]) -> None:
    set_pixel_data(header, encapsulate(coded, has_bot=False))


def with_extended_table(header: Dataset, coded: list[bytes]) -> None:
    data, offsets, lengths = encapsulate_extended(coded)
    set_pixel_data(header, data)
    header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths = offsets, lengths


def set_pixel_data(header: Dataset, data: bytes) -> None:
    element = DataElement("PixelData", "OB", data)
    element.is_undefined_length = True
    header["PixelData"] = element


@pytest.mark.parametrize("layout", [in_fragments, without_table, with_extended_table])
def test_frames_are_found_however_the_file_lists_them(
    tmp_path: Path, layout: Callable[[Dataset, list[bytes]], None]
) -> None:
    pixels = picture(192, 240)

    def edit(header: Dataset) -> None:
        says_422(header)
        layout(header, frames_of(pixels))

    path = write_level(tmp_path / "a.dcm", pixels, frame=FRAME, syntax=JPEGBaseline8Bit, edit=edit)
    with open_slide([path]) as slide:
        for number, coded in enumerate(frames_of(pixels)):
            wanted = np.asarray(Image.open(io.BytesIO(coded)))
            frame = slide.levels[0].read_frame(*divmod(number, 5))
            np.testing.assert_array_equal(frame, wanted)


@pytest.mark.parametrize(
    "syntax",
    [JPEGBaseline8Bit, JPEG2000, JPEG2000Lossless, JPEGLSLossless, RLELossless,
     ExplicitVRLittleEndian],
)  # fmt: skip
def test_every_frame_is_what_wsidicom_reads_there(tmp_path: Path, syntax: UID) -> None:
    edit: Edit | None = says_422 if syntax == JPEGBaseline8Bit else None
    path = write_level(tmp_path / "a.dcm", picture(200, 250), frame=FRAME, syntax=syntax, edit=edit)
    with open_slide([path]) as slide, WsiDicom.open(path) as oracle:
        for row in range(4):
            for col in range(6):
                frame = slide.levels[0].read_frame(row, col)
                wanted = oracle.read_tile(0, (col, row), as_array=True)
                inside = (slice(min(64, 200 - row * 64)), slice(min(48, 250 - col * 48)))
                np.testing.assert_array_equal(frame[inside], wanted[inside])


def test_every_frame_of_a_real_slide_is_what_wsidicom_reads_there(cmu_study: SlideStudy) -> None:
    files = cmu_study.paths
    with open_slide(files) as slide, WsiDicom.open(cmu_study.folder) as oracle:
        level = slide.levels[0]
        for row in range(level.rows // level.frame_rows):
            for col in range(level.cols // level.frame_cols):
                wanted = oracle.read_tile(0, (col, row), as_array=True)
                np.testing.assert_array_equal(level.read_frame(row, col), wanted)


def test_parts_of_a_concatenation_are_read_by_their_own_positions(tmp_path: Path) -> None:
    pixels = noise(192, 240)
    parts = split(write_level(tmp_path / "a.dcm", pixels, frame=FRAME), 4)
    with open_slide(parts) as slide:
        for row in range(3):
            for col in range(5):
                wanted = pixels[row * 64 : (row + 1) * 64, col * 48 : (col + 1) * 48]
                np.testing.assert_array_equal(slide.levels[0].read_frame(row, col), wanted)


def test_threads_read_the_same_pixels_at_the_same_time(tmp_path: Path) -> None:
    path = write_level(
        tmp_path / "a.dcm", picture(640, 480), frame=FRAME, syntax=JPEGBaseline8Bit, edit=says_422
    )
    places = [(row, col) for row in range(10) for col in range(10)]
    with open_slide([path]) as slide:
        read = slide.levels[0].read_frame
        alone = [read(*place) for place in places]
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(lambda place: read(*place), places * 5))
    np.testing.assert_array_equal(np.stack(together), np.stack(alone * 5))


# -- a fraction of the size -----------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_scaled_level_is_what_libjpeg_decodes_at_that_size(tmp_path: Path, k: int) -> None:
    pixels = picture(192, 240)
    path = write_level(
        tmp_path / "a.dcm", pixels, frame=FRAME, syntax=JPEGBaseline8Bit, edit=says_422
    )
    with open_slide([path]) as slide:
        view = slide.levels[0].scaled(k)
        assert view is not None
        assert (view.rows, view.cols) == (192 // 2**k, 240 // 2**k)
        assert view.mpp == slide.mpp * 2**k
        assert view.downsample == 2**k
        for number, coded in enumerate(frames_of(pixels)):
            image = Image.open(io.BytesIO(coded))
            image.draft("RGB", (48 // 2**k, 64 // 2**k))
            frame = view.read_frame(*divmod(number, 5))
            np.testing.assert_array_equal(frame, np.asarray(image))


def test_only_baseline_jpeg_of_ycbcr_is_decoded_at_a_fraction(tmp_path: Path) -> None:
    for syntax, edit, k in [
        (ExplicitVRLittleEndian, None, 1),
        (JPEG2000Lossless, None, 1),
        (JPEGBaseline8Bit, None, 1),  # the header says RGB
        (JPEGBaseline8Bit, says_422, 4),
        (JPEGBaseline8Bit, says_422, 0),
    ]:
        path = write_level(
            tmp_path / "a.dcm", picture(128, 96), frame=FRAME, syntax=syntax, edit=edit
        )
        with open_slide([path]) as slide:
            assert slide.levels[0].scaled(k) is None


def test_a_model_that_allows_it_reads_a_finer_slide_at_half_the_size(tmp_path: Path) -> None:
    path = write_level(
        tmp_path / "a.dcm",
        picture(1280, 1440),
        frame=FRAME,
        syntax=JPEGBaseline8Bit,
        mpp=0.25,
        edit=says_422,
    )
    found = {}
    for allowed in (False, True):
        with student(
            tmp_path / f"{allowed}", lambda v, a=allowed: v["input"].update(scaled_decoding=a)
        ) as runtime:
            result = predict.predict([path], runtime)
        assert isinstance(result, Prediction)
        assert result.levels[0].used_as == "tiles and tissue"
        found[allowed] = result
    assert found[True].tiles_analyzed == found[False].tiles_analyzed
    values = [found[a].heatmaps[0].values for a in (True, False)]
    np.testing.assert_allclose(values[0], values[1], atol=0.01)
    assert not np.array_equal(values[0], values[1], equal_nan=True)


# -- colors ---------------------------------------------------------------------------------------


def with_profile(profile: bytes | None) -> Edit:
    def edit(header: Dataset) -> None:
        path = header.OpticalPathSequence[0] if "OpticalPathSequence" in header else Dataset()
        if profile is not None:
            path.ICCProfile = profile
        elif "ICCProfile" in path:
            del path.ICCProfile
        header.OpticalPathSequence = [path]

    return edit


def test_the_profile_is_applied_only_where_the_model_asks_for_it(tmp_path: Path) -> None:
    pixels = picture(64, 48)
    path = write_level(
        tmp_path / "a.dcm", pixels, frame=FRAME, edit=with_profile(swapped_primaries())
    )
    with open_slide([path]) as slide:
        np.testing.assert_array_equal(slide.levels[0].read_frame(0, 0), pixels)
    with open_slide([path], icc="srgb") as slide:
        converted = slide.levels[0].read_frame(0, 0).astype(int)
        assert not slide.warnings
    assert np.abs(converted - pixels[..., ::-1]).mean() < 4


def test_a_profile_that_says_srgb_changes_nothing(tmp_path: Path) -> None:
    pixels = picture(64, 48)
    path = write_level(
        tmp_path / "a.dcm", pixels, frame=FRAME, edit=with_profile(profile_of("sRGB"))
    )
    with open_slide([path], icc="srgb") as slide:
        converted = slide.levels[0].read_frame(0, 0).astype(int)
    assert np.abs(converted - pixels).max() <= 1


@pytest.mark.parametrize(
    ("profile", "sentence"),
    [
        (None, "the slide has no ICC profile"),
        (b"no profile at all" * 20, "the ICC profile cannot be used"),
        (profile_of("LAB"), "the ICC profile cannot be used"),
    ],
)
def test_a_profile_that_is_missing_or_useless_is_said_and_pixels_stay(
    tmp_path: Path, profile: bytes | None, sentence: str
) -> None:
    pixels = picture(64, 48)
    path = write_level(tmp_path / "a.dcm", pixels, frame=FRAME, edit=with_profile(profile))
    with open_slide([path], icc="srgb") as slide:
        assert any(sentence in warning for warning in slide.warnings)
        np.testing.assert_array_equal(slide.levels[0].read_frame(0, 0), pixels)


def test_the_report_of_a_model_in_srgb_says_that_the_slide_has_no_profile(tmp_path: Path) -> None:
    path = write_level(tmp_path / "a.dcm", picture(640, 960), frame=FRAME, edit=with_profile(None))
    with student(tmp_path / "b", lambda v: v["input"].update(icc="srgb")) as runtime:
        result = predict.predict([path], runtime)
    assert isinstance(result, Prediction)
    assert any("no ICC profile" in warning for warning in result.warnings)


def test_a_frame_whose_fragments_do_not_follow_each_other_is_unreadable(tmp_path: Path) -> None:
    def edit(header: Dataset) -> None:
        says_422(header)
        in_fragments(header, frames_of(picture(192, 240)))
        data = bytearray(header.PixelData)
        second = data.find(b"\xfe\xff\x00\xe0", data.find(b"\xff\xd8\xff"))
        data[second : second + 4] = b"\0\0\0\0"
        set_pixel_data(header, bytes(data))

    path = write_level(
        tmp_path / "a.dcm", picture(192, 240), frame=FRAME, syntax=JPEGBaseline8Bit, edit=edit
    )
    with open_slide([path]) as slide:
        with pytest.raises(FramesUnreadable, match="Frame 1 of instance"):
            slide.levels[0].read_frame(0, 0)
        slide.levels[0].read_frame(0, 1)


def test_streams_with_the_same_header_are_told_from_others() -> None:
    reader = JpegReader()
    shapes = [(64, 48, 2), (64, 48, 2), (64, 40, 2), (64, 48, 0)]
    streams = [jpeg(picture(rows, cols), subsampling=n) for rows, cols, n in shapes]
    streams.append(streams[0].replace(b"\xff\xc0", b"\xff\xff\xc0", 1))  # a fill byte
    for stream in [*streams, *reversed(streams)]:
        for data in (stream, memoryview(stream)):
            assert reader.read(data) == read_jpeg(data)
    assert (reader.read(streams[2]).rows, reader.read(streams[2]).cols) == (64, 40)


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEG2000Lossless, JPEGLSLossless, RLELossless],
    ids=lambda s: s.name,
)
def test_threads_that_decode_at_once_get_each_their_own_frame(syntax: UID, tmp_path: Path) -> None:
    path = write_level(tmp_path / "slide.dcm", picture(256, 192), frame=FRAME, syntax=syntax)
    before = sys.getswitchinterval()
    with open_slide([path]) as slide:
        level = slide.levels[0]
        places = [(row, col) for row in range(4) for col in range(4)]
        alone = {at: level.read_frame(*at) for at in places}
        sys.setswitchinterval(1e-6)  # threads change places in the middle of everything
        try:
            with ThreadPoolExecutor(4) as pool:
                asked = [places[n % 16] for n in range(2000)]
                wrong = [
                    at
                    for at, found in zip(
                        asked, pool.map(lambda at: level.read_frame(*at), asked), strict=True
                    )
                    if not np.array_equal(found, alone[at])
                ]
        finally:
            sys.setswitchinterval(before)
    assert wrong == []


def test_only_one_decoder_of_the_library_keeps_a_frame_in_itself() -> None:
    """Another one that does would hand threads each other's frames, as this one did."""
    tree = ast.parse(inspect.getsource(decoder))
    keeping = {
        cls.name
        for cls in tree.body
        if isinstance(cls, ast.ClassDef)
        for method in cls.body
        if isinstance(method, ast.FunctionDef) and method.name != "__init__"
        for node in ast.walk(method)
        if isinstance(node, ast.Assign | ast.AugAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if ast.unparse(target).startswith("self.")
    }
    assert keeping == {"PydicomDecoder"}
