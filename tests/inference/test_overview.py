"""Tissue that only the overview of a slide shows is said; nothing else on the glass is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from glass import (
    GLASS,
    LENGTH_MM,
    ORIENTATIONS,
    PALE,
    PINK,
    PURPLE,
    SCAN_UM,
    WIDTH_MM,
    Block,
    Ellipse,
    Shape,
    placed,
    view,
    write_view,
)
from pydicom import Dataset, dcmread
from students import student
from tiny_slides import Edit, setting, without

from inference import predict
from inference.slide.slide import open_slide
from inference.tissue.overview import outside_scan_mm2
from inference.tissue.tissue import TissueMask, tissue_and_view
from inference.types import NotAssessable, Reason, SlideGeometry
from slides import SlideStudy

HELD = ORIENTATIONS[0]
OVERVIEW_MM = (0.07, 0.07)
SCAN_BOX = (4.0, 10.0, 18.0, 26.0)
WHOLE = (0.0, 0.0, WIDTH_MM, LENGTH_MM)
SCANNED: tuple[Shape, ...] = (
    Ellipse(8.5, 15.0, 3.0, 3.8, PINK),
    Ellipse(14.0, 21.0, 2.0, 3.2, PURPLE),
)
MISSED = Ellipse(13.0, 36.0, 3.0, 2.0, PALE)
PRINT = tuple(
    Block(x, y, x + 0.5, y + 3.0, (30, 30, 32))
    for y in (54.0, 60.0, 66.0)
    for x in np.arange(4.0, 21.0, 1.2).tolist()
)
LABEL = (Block(1.0, 51.0, 24.0, 74.0, (250, 250, 250)), *PRINT)


def scan_of(
    folder: Path, shapes: Sequence[Shape], box: tuple[float, float, float, float] = SCAN_BOX
) -> Path:
    """A scan of what lies in a box of the slide."""
    place = placed(box, (SCAN_UM / 1000, SCAN_UM / 1000), ORIENTATIONS[5])
    return write_view(folder / "scan.dcm", place, view(place, shapes, seed=2), "VOLUME")


def overview_of(
    folder: Path,
    shapes: Sequence[Shape],
    *,
    place: SlideGeometry | None = None,
    seen: SlideGeometry | None = None,
    glass: tuple[int, int, int] = GLASS,
    flavor: str = "OVERVIEW",
    edit: Edit | None = None,
    frame: tuple[int, int] | None = None,
) -> Path:
    """An overview that says to lie at `place` and shows what is at `seen`."""
    place = place or placed(WHOLE, OVERVIEW_MM, HELD)
    pixels = view(seen or place, shapes, glass)
    return write_view(folder / f"{flavor}.dcm", place, pixels, flavor, edit, frame=frame)


def found(paths: Sequence[Path]) -> float:
    """mm2 that are said to lie outside of the scan."""
    with open_slide(paths) as slide:
        return outside_scan_mm2(slide, tissue_of(paths[0]))


@cache
def tissue_of(scan: Path) -> TissueMask:
    """Overviews do not change what the scan shows, and it takes longest to look at."""
    with open_slide([scan]) as slide:
        return tissue_and_view(slide)[0]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scan_of(tmp_path_factory.mktemp("scan"), (*SCANNED, MISSED, *LABEL))


@pytest.mark.parametrize("held", ORIENTATIONS)
def test_tissue_outside_is_found_however_the_overview_was_held(
    tmp_path: Path, scan: Path, held: tuple[float, ...]
) -> None:
    place = placed(WHOLE, OVERVIEW_MM, held)
    overview = overview_of(tmp_path, (*SCANNED, MISSED, *LABEL), place=place)
    assert found([scan, overview]) == pytest.approx(MISSED.area_mm2, rel=0.1)
    assert found([scan, overview_of(tmp_path, (*SCANNED, *LABEL), place=place)]) == 0


@pytest.mark.parametrize("spacing", [(0.015, 0.015), (0.03, 0.04), (0.06, 0.06), (0.12, 0.12)])
def test_area_is_right_at_every_scale(
    tmp_path: Path, scan: Path, spacing: tuple[float, float]
) -> None:
    place = placed(WHOLE, spacing, HELD)
    overview = overview_of(tmp_path, (*SCANNED, MISSED, *LABEL), place=place)
    assert found([scan, overview]) == pytest.approx(MISSED.area_mm2, rel=0.15)


@pytest.mark.parametrize("glass", [(190, 190, 188), (225, 232, 240), (238, 228, 214)])
def test_camera_with_gray_or_tinted_glass_finds_the_same(
    tmp_path: Path, scan: Path, glass: tuple[int, int, int]
) -> None:
    with_tissue = overview_of(tmp_path, (*SCANNED, MISSED), glass=glass)
    assert found([scan, with_tissue]) == pytest.approx(MISSED.area_mm2, rel=0.2)
    assert found([scan, overview_of(tmp_path, SCANNED, glass=glass)]) == 0


def test_tiled_overview_is_read_too(tmp_path: Path, scan: Path) -> None:
    overview = overview_of(tmp_path, (*SCANNED, MISSED), frame=(256, 240))
    assert found([scan, overview]) == pytest.approx(MISSED.area_mm2, rel=0.1)


def test_tissue_that_goes_on_at_the_border_of_the_scan_is_said_beyond_a_margin(
    tmp_path: Path,
) -> None:
    cut = Ellipse(14.0, 26.0, 3.0, 5.0, PINK)
    scan = scan_of(tmp_path, (*SCANNED, cut))
    area = found([scan, overview_of(tmp_path, (*SCANNED, cut))])
    assert 0.5 * cut.area_mm2 / 2 < area < cut.area_mm2 / 2
    little = Ellipse(8.0, 24.5, 2.0, 2.0, PINK)
    (tmp_path / "b").mkdir()
    scan = scan_of(tmp_path / "b", (*SCANNED, little))
    assert found([scan, overview_of(tmp_path, (*SCANNED, little))]) == 0


NO_TISSUE: dict[str, tuple[Shape, ...]] = {
    "label with print": LABEL,
    "label of the color of tissue": (Block(1, 51, 24, 74, PALE), *PRINT),
    "label of the color of tissue without print": (Block(1, 51, 24, 74, PALE),),
    "label printed in the color of tissue": (
        Block(1, 51, 24, 74, (250, 250, 250)),
        *(Block(b.left, b.top, b.right, b.bottom, PURPLE) for b in PRINT),
    ),
    "pink sticker beside a printed label": (*LABEL, Ellipse(12, 71, 4, 2, PINK)),
    "frosted end": (Block(0, 52, 25, 75, (205, 206, 208)), Ellipse(12, 60, 3, 3, PINK)),
    "black around the glass": (
        Block(0, 0, 25, 2, (3, 2, 4)),
        Block(0, 0, 1.5, 75, (5, 5, 5)),
        Block(23, 0, 25, 75, (5, 3, 5)),
        Block(0, 50, 25, 75, (2, 2, 2)),
    ),
    "colored rim of the glass": (Block(0, 0, 1.0, 75, PINK), Block(0, 0, 25, 1.2, PURPLE)),
    "edges of the cover slip": (
        Block(2, 3, 2.2, 50, (180, 175, 182)),
        Block(2, 48, 23, 48.2, (190, 160, 185)),
        Block(22.8, 3, 23, 50, (170, 170, 170)),
    ),
    "dots of pen": tuple(
        Ellipse(6 + 4 * n, 36, 1.2, 1.2, color)
        for n, color in enumerate(((30, 40, 160), (40, 140, 60), (200, 30, 30), (20, 20, 22)))
    ),
    "violet pen": (Ellipse(12, 36, 2.0, 1.5, (96, 30, 140)),),
    "stroke of pen around the scan": (
        Block(2.4, 8, 3.0, 30, (30, 50, 170)),
        Block(2.4, 29.4, 20, 30, (30, 50, 170)),
    ),
    "dust": tuple(Ellipse(4 + n % 6 * 3, 32 + n // 6 * 3, 0.3, 0.3, PINK) for n in range(30)),
    "gray shade": (Ellipse(12, 38, 6, 3, (226, 226, 227)),),
}


@pytest.mark.parametrize("shapes", NO_TISSUE.values(), ids=NO_TISSUE)
def test_what_else_lies_on_glass_is_no_tissue(
    tmp_path: Path, scan: Path, shapes: tuple[Shape, ...]
) -> None:
    assert found([scan, overview_of(tmp_path, (*SCANNED, *shapes))]) == 0


@pytest.mark.parametrize("end", ["label with print", "frosted end", "black around the glass"])
def test_tissue_is_found_beside_a_label_and_borders(tmp_path: Path, scan: Path, end: str) -> None:
    # A label needs the last 25 mm; what lies near to it might be part of it.
    overview = overview_of(tmp_path, (*NO_TISSUE[end], *SCANNED, MISSED))
    assert found([scan, overview]) == pytest.approx(MISSED.area_mm2, rel=0.1)


SHOWN = placed(WHOLE, OVERVIEW_MM, HELD)


@pytest.mark.parametrize(
    "stated",
    [
        replace(SHOWN, orientation=ORIENTATIONS[1]),
        replace(SHOWN, origin_x_mm=WIDTH_MM, origin_y_mm=LENGTH_MM, orientation=ORIENTATIONS[3]),
        placed((0.0, 0.0, LENGTH_MM, WIDTH_MM), OVERVIEW_MM, ORIENTATIONS[4]),
        replace(SHOWN, origin_x_mm=4.0),
        replace(SHOWN, origin_y_mm=-2.5),
        replace(SHOWN, spacing_row_mm=0.09, spacing_col_mm=0.09),
    ],
    ids=["turned off", "turned around", "at a right angle", "4 mm off", "2.5 mm off", "scaled"],
)
def test_place_that_the_tissue_does_not_confirm_is_not_used(
    tmp_path: Path, scan: Path, stated: SlideGeometry
) -> None:
    shapes = (*SCANNED, MISSED, *LABEL)
    assert found([scan, overview_of(tmp_path, shapes, place=stated, seen=SHOWN)]) == 0


@pytest.mark.parametrize("off_mm", [(0.9, 0.0), (-0.6, 0.8), (0.0, -1.2)])
def test_small_error_of_the_place_neither_hides_nor_invents_tissue(
    tmp_path: Path, scan: Path, off_mm: tuple[float, float]
) -> None:
    place = replace(SHOWN, origin_x_mm=off_mm[0], origin_y_mm=off_mm[1])
    whole = overview_of(tmp_path, (*SCANNED, *LABEL), place=place, seen=SHOWN)
    assert found([scan, whole]) == 0
    more = overview_of(tmp_path, (*SCANNED, MISSED, *LABEL), place=place, seen=SHOWN)
    assert found([scan, more]) == pytest.approx(MISSED.area_mm2, rel=0.1)


def _no_origin(ds: Dataset) -> None:
    del ds.TotalPixelMatrixOriginSequence


def _nan(ds: Dataset) -> None:
    ds.TotalPixelMatrixOriginSequence[0].XOffsetInSlideCoordinateSystem = "NaN"


def _zeros(ds: Dataset) -> None:
    data = bytes(ds.PixelData)
    ds["PixelData"].value = data[:16] + bytes(len(data) - 16)


def _no_pixels(ds: Dataset) -> None:
    del ds.PixelData


def _cut(ds: Dataset) -> None:
    data = bytes(ds.PixelData)
    middle = len(data) // 2
    ds["PixelData"].value = data[:middle] + bytes(1000) + data[middle + 1000 :]


def _far_too_long(ds: Dataset) -> None:
    ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.004, 0.14]


UNUSABLE: dict[str, Edit] = {
    "without origin": _no_origin,
    "without orientation": without("ImageOrientationSlide"),
    "without spacing": without("PixelSpacing"),
    "origin that is no number": _nan,
    "orientation of nothing": setting(ImageOrientationSlide=[0, 0, 0, 0, 0, 0]),
    "orientation of three numbers": setting(ImageOrientationSlide=[0, 1, 0]),
    "other frame of reference": setting(FrameOfReferenceUID="1.2.826.9"),
    "no frame of reference": setting(FrameOfReferenceUID=""),
    "matrix without end": setting(TotalPixelMatrixRows=2**32 - 1, TotalPixelMatrixColumns=10**9),
    "frames without end": setting(Rows=65535, Columns=65535),
    "pixels of no square": _far_too_long,
    "no matrix": setting(TotalPixelMatrixRows=0),
    "no frames": setting(NumberOfFrames=0),
    "many frames": setting(NumberOfFrames=2**31 - 1),
    "frames of another size": setting(Rows=7, Columns=9),
    "one sample": setting(SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2"),
    "colors of nothing": setting(PhotometricInterpretation="PALETTE COLOR"),
    "sparse without positions": setting(
        DimensionOrganizationType="TILED_SPARSE", Rows=100, Columns=100
    ),
    "zeros": _zeros,
    "no pixels": _no_pixels,
    "hole in the stream": _cut,
}  # fmt: skip


@pytest.mark.parametrize("edit", UNUSABLE.values(), ids=UNUSABLE)
def test_overview_that_is_broken_or_not_placed_is_not_used(
    tmp_path: Path, scan: Path, edit: Edit
) -> None:
    assert found([scan, overview_of(tmp_path, (*SCANNED, MISSED), edit=edit)]) == 0


@pytest.mark.parametrize("flavor", ["LABEL", "THUMBNAIL", "LOCALIZER"])
def test_only_an_overview_is_looked_at(tmp_path: Path, scan: Path, flavor: str) -> None:
    assert found([scan, overview_of(tmp_path, (*SCANNED, MISSED), flavor=flavor)]) == 0


def test_tissue_in_another_scan_of_the_slide_was_scanned(tmp_path: Path, scan: Path) -> None:
    # Coarse, so that it is no region of its own that could be analyzed.
    place = placed((8.0, 32.0, 18.0, 40.0), (0.0095, 0.0095), HELD)
    pixels = view(place, (*SCANNED, MISSED))
    other = write_view(tmp_path / "other.dcm", place, pixels, "VOLUME", setting(PyramidUID="1.2"))
    overview = overview_of(tmp_path, (*SCANNED, MISSED))
    with open_slide([scan, other, overview], coarsest_mpp=9.0) as slide:
        assert slide.levels[0].mpp == pytest.approx(SCAN_UM)
        assert outside_scan_mm2(slide, tissue_of(scan)) == 0


def test_scan_without_glass_or_without_a_clear_shape_confirms_no_place(tmp_path: Path) -> None:
    box = (7.5, 13.5, 9.5, 16.5)
    scan = scan_of(tmp_path, SCANNED, box)
    assert found([scan, overview_of(tmp_path, (*SCANNED, MISSED))]) == 0


def test_report_says_what_was_not_scanned(tmp_path: Path, scan: Path) -> None:
    overview = overview_of(tmp_path, (*SCANNED, MISSED, *LABEL))
    with student(tmp_path / "b", _at_scan_scale) as runtime:
        with_it = predict.predict([scan, overview], runtime)
        alone = predict.predict([scan], runtime)
    assert not isinstance(with_it, NotAssessable)
    assert not isinstance(alone, NotAssessable)
    assert with_it.scores == alone.scores
    (said,) = set(with_it.warnings) - set(alone.warnings)
    assert said.startswith("The overview image shows 1")
    assert said.endswith("of what may be tissue outside the scanned area; it was not analyzed.")


def test_refusal_for_want_of_tissue_says_where_there_is_some(tmp_path: Path) -> None:
    scan = scan_of(tmp_path, ())
    overview = overview_of(tmp_path, (MISSED, *LABEL))
    with student(tmp_path / "b", _at_scan_scale) as runtime:
        refused = predict.predict([scan, overview], runtime)
        plain = predict.predict([scan, overview_of(tmp_path, LABEL)], runtime)
    assert isinstance(refused, NotAssessable)
    assert isinstance(plain, NotAssessable)
    assert refused.reason is plain.reason is Reason.NO_TISSUE
    assert refused.detail.startswith(plain.detail + " The overview image shows 1")
    assert refused.detail.endswith("Scan the slide again with it.")


def test_overviews_of_real_slides_raise_no_false_alarm(
    cmu_study: SlideStudy, tcga_study: SlideStudy
) -> None:
    for study in (cmu_study, tcga_study):
        with open_slide(study.paths) as slide:
            assert outside_scan_mm2(slide, tissue_and_view(slide)[0]) == 0


@pytest.mark.parametrize(
    ("box", "least", "most"),
    [((66, 402, 320, 748), 0, 0), ((60, 300, 420, 1080), 0, 0), ((160, 402, 320, 580), 12, 32)],
    ids=["all pieces scanned", "most of the glass scanned", "two of four pieces scanned"],
)
def test_real_overview_with_black_noise_dust_and_a_drawn_box_is_understood(
    tmp_path: Path, cmu_study: SlideStudy, box: tuple[int, int, int, int], least: int, most: int
) -> None:
    (pixels,) = [
        dcmread(path).pixel_array
        for path in cmu_study.paths
        if dcmread(path, stop_before_pixels=True).ImageType[2] == "OVERVIEW"
    ]
    held, mm, finer = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), 0.059, 7
    place = SlideGeometry("1.2.826.1", 0, 0, held, mm, mm, *pixels.shape[:2])
    top, left, bottom, right = box
    part = pixels[top:bottom, left:right].repeat(finer, 0).repeat(finer, 1)
    of_scan = SlideGeometry(
        "1.2.826.1", left * mm, top * mm, held, mm / finer, mm / finer, *part.shape[:2]
    )
    scan = write_view(tmp_path / "a.dcm", of_scan, part, "VOLUME")
    overview = write_view(tmp_path / "b.dcm", place, pixels, "OVERVIEW")
    assert least <= found([scan, overview]) <= most


def _at_scan_scale(values: dict[str, object]) -> None:
    wanted = values["input"]
    assert isinstance(wanted, dict)
    wanted.update(mpp=SCAN_UM)
    outputs = values["outputs"]
    assert isinstance(outputs, list)
    values["outputs"] = [o for o in outputs if o["kind"] != "survival"]
