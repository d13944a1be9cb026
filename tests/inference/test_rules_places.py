"""Rules of frames: where each lies, in which plane, and what is not there."""

from __future__ import annotations

import struct
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ImplicitVRLittleEndian, generate_uid
from tiny_slides import Edit, noise, setting, split, write_level

from inference.errors import Refused
from inference.slide.claims.places import read_places
from inference.slide.headers import read_front
from inference.slide.slide import Slide, open_slide
from inference.types import NotAssessable, Reason

SIZE = 64, 96  # four frames of 32 x 48


def positions(*places: tuple[float, float, float]) -> Edit:
    """Other (row, column, z) of the frames, 1-based."""

    def edit(ds: Dataset) -> None:
        for groups, (row, col, z_um) in zip(
            ds.PerFrameFunctionalGroupsSequence, places, strict=False
        ):
            position = groups.PlanePositionSlideSequence[0]
            position.RowPositionInTotalImagePixelMatrix = row
            position.ColumnPositionInTotalImagePixelMatrix = col
            position.ZOffsetInSlideCoordinateSystem = z_um

    return edit


def both(*edits: Edit) -> Edit:
    def edit(ds: Dataset) -> None:
        for one in edits:
            one(ds)

    return edit


GRID = (1, 1, 0), (1, 49, 0), (33, 1, 0), (33, 49, 0)


def sparse(path: Path, edit: Edit) -> Path:
    return write_level(path, noise(*SIZE), absent=set(), edit=edit)


def refusal(*paths: Path) -> NotAssessable:
    with pytest.raises(Refused) as refused:
        open_slide(paths)
    return refused.value.verdict


def whole(slide: Slide) -> np.ndarray:
    level = slide.levels[0]
    return np.vstack([np.hstack([level.read_frame(r, c) for c in range(2)]) for r in range(2)])


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([(2, 1, 0), *GRID[1:]], "1 of 4 frames do not lie on the grid"),
        ([(17, 25, 0), (17, 73, 0), (49, 25, 0), (49, 73, 0)], "4 of 4 frames do not lie"),
        ([(0, 0, 0), *GRID[1:]], r"\(0, 0\)"),
        ([(-31, 1, 0), *GRID[1:]], r"\(-31, 1\)"),
        ([*GRID[:3], (65, 49, 0)], r"\(65, 49\)"),
        ([GRID[0], GRID[0], *GRID[2:]], "1 of 4 frames have the position of another frame"),
        ([GRID[0]] * 4, r"3 of 4 frames .* \(1, 1\), \(1, 1\), \(1, 1\); one frame"),
    ],
)
def test_a_frame_off_the_grid_or_on_another_is_refused_with_its_position(
    tmp_path: Path, places: list[tuple[float, float, float]], said: str
) -> None:
    verdict = refusal(sparse(tmp_path / "a.dcm", positions(*places)))
    assert verdict.reason == Reason.FRAME_POSITIONS
    with pytest.raises(Refused, match=said):
        open_slide([tmp_path / "a.dcm"])


def test_frames_in_any_order_lie_where_they_say(tmp_path: Path) -> None:
    path = sparse(tmp_path / "a.dcm", positions(*GRID[::-1]))
    with open_slide([path]) as slide:
        found = whole(slide)
    pixels = noise(*SIZE)
    assert np.array_equal(found[32:, 48:], pixels[:32, :48])
    assert np.array_equal(found[:32, :48], pixels[32:, 48:])


@pytest.mark.parametrize("order", [GRID, (GRID[0], GRID[2], GRID[1], GRID[3])])
def test_positions_beside_tiled_full_agree_or_are_refused(
    tmp_path: Path, order: tuple[tuple[float, float, float], ...]
) -> None:
    edit = both(positions(*order), setting(DimensionOrganizationType="TILED_FULL"))
    path = sparse(tmp_path / "a.dcm", edit)
    if order == GRID:
        with open_slide([path]) as slide:
            assert slide.warnings == ()
        return
    verdict = refusal(path)
    assert verdict.reason == Reason.FRAME_POSITIONS
    assert "frame 2 lies at (row, column) (33, 1) instead of (1, 49)" in verdict.detail


def test_frames_of_which_only_some_state_a_position_are_refused(tmp_path: Path) -> None:
    def edit(ds: Dataset) -> None:
        del ds.PerFrameFunctionalGroupsSequence[2].PlanePositionSlideSequence

    assert "3 of 4 frames state a position" in refusal(sparse(tmp_path / "a.dcm", edit)).detail


def test_frames_that_nothing_puts_in_order_are_refused(tmp_path: Path) -> None:
    edit = setting(DimensionOrganizationType="TILED_SPARSE")
    path = write_level(tmp_path / "a.dcm", noise(*SIZE), edit=edit)
    assert "No frame states its position" in refusal(path).detail


def test_each_tile_with_a_height_of_its_own_is_one_plane(tmp_path: Path) -> None:
    heights = [18, 22, 20.5, 19]
    places = [(r, c, z) for (r, c, _), z in zip(GRID, heights, strict=True)]
    with open_slide([sparse(tmp_path / "a.dcm", positions(*places))]) as slide:
        assert np.array_equal(whole(slide), noise(*SIZE))
        assert "focused by itself, at 18 to 22 um" in slide.warnings[0]


def stack(heights: list[list[float]]) -> Edit:
    """Planes of four frames each, at these heights."""

    def edit(ds: Dataset) -> None:
        ds.DimensionOrganizationType = "TILED_SPARSE"
        places = [(r, c, z) for plane in heights for (r, c, _), z in zip(GRID, plane, strict=True)]
        groups = []
        for row, col, z_um in places:
            position = Dataset()
            position.RowPositionInTotalImagePixelMatrix = row
            position.ColumnPositionInTotalImagePixelMatrix = col
            position.XOffsetInSlideCoordinateSystem = "0"
            position.YOffsetInSlideCoordinateSystem = "0"
            position.ZOffsetInSlideCoordinateSystem = z_um
            item = Dataset()
            item.PlanePositionSlideSequence = [position]
            groups.append(item)
        ds.PerFrameFunctionalGroupsSequence = groups

    return edit


@pytest.mark.parametrize(
    ("heights", "said"),
    [
        ([[0] * 4, [2] * 4, [4] * 4], "3 focal planes; the middle one (2 um)"),
        ([[4] * 4, [2] * 4, [0] * 4], "3 focal planes; the middle one (2 um)"),
        ([[0, 1, 0, 1], [2, 3, 2, 3], [4, 5, 4, 5]], "focused by itself, at 2 to 3 um"),
    ],
)
def test_the_middle_frame_of_every_tile_of_a_stack_is_analyzed(
    tmp_path: Path, heights: list[list[float]], said: str
) -> None:
    pixels = noise(*SIZE) // 2
    path = write_level(tmp_path / "a.dcm", pixels, planes=3, edit=stack(heights))
    with open_slide([path]) as slide:
        assert np.array_equal(whole(slide), pixels + 1)
        assert said in slide.warnings[0]


def test_a_stack_of_which_one_tile_lacks_a_plane_is_one_plane_without_holes(tmp_path: Path) -> None:
    pixels = noise(*SIZE) // 2

    def edit(ds: Dataset) -> None:
        stack([[0] * 4, [2] * 4, [4] * 4])(ds)
        kept = [n for n in range(12) if n != 5]
        groups = list(ds.PerFrameFunctionalGroupsSequence)
        size = ds.Rows * ds.Columns * 3
        ds.PixelData = b"".join(ds.PixelData[n * size : (n + 1) * size] for n in kept)
        ds.PixelData += b"\0" * (len(ds.PixelData) % 2)
        ds.PerFrameFunctionalGroupsSequence = [groups[n] for n in kept]
        ds.NumberOfFrames = 11

    with open_slide([write_level(tmp_path / "a.dcm", pixels, planes=3, edit=edit)]) as slide:
        assert slide.levels[0].has_all_frames
        assert np.array_equal(slide.levels[0].read_frame(0, 0), pixels[:32, :48] + 1)
        assert "of each tile the one nearest to 2 um" in slide.warnings[0]


@pytest.mark.parametrize("planes", [1, 3])
def test_planes_in_instances_of_their_own_are_one_stack(tmp_path: Path, planes: int) -> None:
    def at(z_um: float) -> Edit:
        def edit(ds: Dataset) -> None:
            ds.TotalPixelMatrixOriginSequence[0].ZOffsetInSlideCoordinateSystem = z_um
            ds.TotalPixelMatrixFocalPlanes = planes
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()

        return edit

    paths = [
        write_level(tmp_path / f"{n}.dcm", noise(*SIZE, seed=n), edit=at(z))
        for n, z in enumerate((6, 0, 3))
    ]
    with open_slide(paths) as slide:
        assert np.array_equal(whole(slide), noise(*SIZE, seed=2))
        assert "3 focal planes; the middle one (3 um)" in slide.warnings[0]


def test_an_image_computed_from_several_planes_stands_back_behind_a_plane(tmp_path: Path) -> None:
    extended = setting(ExtendedDepthOfField="YES", SOPInstanceUID=generate_uid())
    paths = [
        write_level(tmp_path / "a.dcm", noise(*SIZE, seed=5), edit=extended),
        write_level(tmp_path / "b.dcm", noise(*SIZE)),
    ]
    with open_slide(paths) as slide:
        assert np.array_equal(whole(slide), noise(*SIZE))
        assert "extended depth of field" in slide.warnings[0]


def test_parts_with_a_gap_between_them_are_refused(tmp_path: Path) -> None:
    parts = split(sparse(tmp_path / "a.dcm", positions(*GRID)), 2)
    second = dcmread(parts[1])
    second.ConcatenationFrameOffsetNumber = 3
    second.save_as(parts[1])
    assert "do not follow each other" in refusal(*parts).detail


@pytest.mark.parametrize("is_undefined", [False, True])
@pytest.mark.parametrize("is_implicit", [False, True])
def test_positions_are_read_in_every_encoding(
    tmp_path: Path, is_undefined: bool, is_implicit: bool
) -> None:
    path = sparse(tmp_path / "a.dcm", positions(*[(r, c, 1.5) for r, c, _ in GRID]))
    dataset = dcmread(path)
    dataset["PerFrameFunctionalGroupsSequence"].is_undefined_length = is_undefined
    if is_implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dataset.save_as(path, implicit_vr=True, little_endian=True)
    else:
        dataset.save_as(path)
    header, end = read_front(path, "The file")
    places = read_places(path, end, header, 4)
    found = list(zip(places.rows, places.cols, places.z_um, strict=True))
    assert found == [(r, c, 1.5) for r, c, _ in GRID]


def test_a_hundred_thousand_positions_are_read_in_a_moment(tmp_path: Path) -> None:
    frames = 100_000
    head = struct.pack("<HH2sHI", 0x5200, 0x9230, b"SQ", 0, 0xFFFFFFFF)
    item = bytearray()
    for tag, vr, value in ((0x0040072A, b"DS", b"12.345678 "), (0x0040073A, b"DS", b"23.456789 "),
                           (0x0040074A, b"DS", b"1.25")):  # fmt: skip
        item += struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
    items = []
    for n in range(frames):
        row, col = n // 400 * 256 + 1, n % 400 * 256 + 1
        body = bytes(item) + struct.pack("<HH2sHi", 0x0048, 0x021E, b"SL", 4, col)
        body += struct.pack("<HH2sHi", 0x0048, 0x021F, b"SL", 4, row)
        plane = struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body
        groups = struct.pack("<HH2sHI", 0x0048, 0x021A, b"SQ", 0, len(plane)) + plane
        items.append(struct.pack("<HHI", 0xFFFE, 0xE000, len(groups)) + groups)
    tail = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    tail += struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0) + bytes(32)
    path = tmp_path / "groups"
    path.write_bytes(head + b"".join(items) + tail)
    header = Dataset()
    header.set_original_encoding(is_implicit_vr=False, is_little_endian=True)
    times = []
    for _ in range(3):
        start = process_time()
        places = read_places(path, 0, header, frames)
        times.append(process_time() - start)
    assert (len(places.rows), places.rows[-1], places.cols[-1]) == (frames, 63745, 102145)
    assert min(times) < 0.5, "s of processor time; 0.15 without neighbors"
