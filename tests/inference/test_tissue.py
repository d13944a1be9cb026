from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from tiny_slides import write_level

from inference.phantom.draw import STEP, Kind
from inference.slide.slide import open_slide
from inference.tissue import light, view
from inference.tissue.outlines import MOST_POINTS, area, crosses_itself, outlines
from inference.tissue.regions import Regions, dilate, drop_small, fill_holes, halved, label
from inference.tissue.tissue import TissueMask, find_tissue, tissue_and_view
from slides import PhantomStudy, SlideStudy

MPP = 8.0
masks = arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))


def picture(shared: Path, name: str) -> NDArray[np.uint8]:
    path = shared / "data/wsi/histolab/png" / f"{name}.png"
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize(
    "name",
    [
        "no-tissue",
        "no-tissue2",
        "no-tissue-line",
        "no-tissue-green-pen",
        "no-tissue-red-pen",
        "almost-white-1",
        "almost-white-ihc",
        "liver-level2-38626-13514-39426-14315",
    ],
)
def test_glass_dirt_and_ink_are_no_tissue(shared: Path, name: str) -> None:
    assert not find_tissue(picture(shared, name), MPP).any()


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("tissue-level2-1784-6289-5880-10386", 0.6, 0.8),
        ("tissue-level0-7352-11762-7864-12274", 0.75, 0.9),
        ("medium-nuclei-score-level0", 0.85, 1),
        ("medium-nuclei-score-level2", 0.7, 0.9),
        ("very-low-nuclei-score-level0", 0.98, 1),  # a pale full field without any glass
        ("high-nuclei-score-level2", 0.1, 0.2),
        ("almost-white-2", 0.01, 0.05),
        ("kidney-ihc-level0-340-520-390-550", 0.7, 0.95),
        ("diagnostic-slide-thumb-rgb", 0.45, 0.65),
        ("wsi-blue-pen", 0.15, 0.35),
    ],
)
def test_tissue_is_found_pale_or_dark(shared: Path, name: str, least: float, most: float) -> None:
    assert least <= find_tissue(picture(shared, name), MPP).mean() <= most


def test_ink_on_tissue_is_left_out_and_the_tissue_beside_it_stays(shared: Path) -> None:
    mask = find_tissue(picture(shared, "tcga-green-pen"), MPP)
    assert mask[:150, 340:440].mean() < 0.1  # the stroke
    assert mask[:, 480:].mean() > 0.95
    assert mask[:150, :280].mean() > 0.9


def test_tinted_glass_is_still_glass(shared: Path) -> None:
    """A lamp that is a little yellow must not turn the whole slide into tissue."""
    tissue = picture(shared, "tissue-level2-1784-6289-5880-10386")
    tinted = (tissue * (1.0, 0.99, 0.95)).astype(np.uint8)
    plain, yellow = find_tissue(tissue, MPP), find_tissue(tinted, MPP)
    assert (plain & yellow).sum() / (plain | yellow).sum() > 0.97


def test_every_level_of_a_real_slide_gives_nearly_the_same_mask(cmu_study: SlideStudy) -> None:
    with open_slide(cmu_study.paths) as slide:
        found = tissue_and_view(slide)[0]
    bases = [p for p in cmu_study.paths]
    with open_slide(bases) as slide:
        only_base = [p.path for p in slide.levels[0].parts]
    with open_slide(only_base) as slide:
        from_base = tissue_and_view(slide)[0]
    assert found.mask.shape == from_base.mask.shape == (186, 139)
    overlap = (found.mask & from_base.mask).sum() / (found.mask | from_base.mask).sum()
    assert overlap > 0.9
    assert found.area_mm2 == pytest.approx(0.6, abs=0.06)


def test_the_tissue_of_a_drawn_slide_is_found_where_it_was_drawn(
    phantom_study: PhantomStudy,
) -> None:
    truth = phantom_study.phantom.truth
    is_glass = np.isin(truth, [Kind.GLASS, Kind.PEN])
    is_fat = truth == Kind.FAT  # mostly empty at 8 um; either answer will do
    with open_slide(phantom_study.paths) as slide:
        found = tissue_and_view(slide)[0]
        scale = STEP / found.downsample
    at = [
        np.minimum(((np.arange(n) + 0.5) * scale).astype(int), size - 1)
        for n, size in zip(truth.shape, found.mask.shape, strict=True)
    ]
    mask = found.mask[np.ix_(*at)]
    assert mask[~is_glass & ~is_fat].mean() > 0.95
    assert mask[is_glass].mean() < 0.05


def test_the_share_of_tissue_in_cells_is_exact_for_any_stride() -> None:
    rng = np.random.default_rng(0)
    tissue = TissueMask(rng.random((37, 53)) < 0.4, mpp=8.0, downsample=16.0)
    fine = np.repeat(np.repeat(tissue.mask, 16, 0), 16, 1)
    for stride in (16, 100, 224, 449):
        rows, cols = -(-fine.shape[0] // stride), -(-fine.shape[1] // stride)
        padded = np.zeros((rows * stride, cols * stride))
        padded[: fine.shape[0], : fine.shape[1]] = fine
        expected = padded.reshape(rows, stride, cols, stride).mean((1, 3))
        assert np.allclose(tissue.cell_shares(stride, rows, cols), expected)


def test_the_mask_lies_on_the_tissue(tmp_path: Path) -> None:
    picture = Image.new("RGB", (1600, 1200), (244, 243, 245))
    ImageDraw.Draw(picture).rectangle((480, 320, 1119, 799), fill=(200, 120, 170))
    path = write_level(tmp_path / "a.dcm", np.asarray(picture), frame=(250, 300), mpp=1.0)
    with open_slide([path]) as slide:
        found = tissue_and_view(slide)[0]
    assert found.downsample == 8
    expected = np.zeros((150, 200), bool)
    expected[40:100, 60:140] = True
    wrong = found.mask ^ expected
    assert wrong.sum() <= 2 * (60 + 80)  # one pixel around, from smoothing
    assert found.area_mm2 == pytest.approx(0.64 * 0.48, rel=0.1)
    (outline,) = outlines(found.mask, found.downsample)
    assert np.abs(outline.min(0) - (320, 480)).max() <= 8
    assert np.abs(outline.max(0) - (800, 1120)).max() <= 8


@given(masks)
def test_regions_are_those_of_a_flood_fill(mask: NDArray[np.bool_]) -> None:
    labels, areas = label(mask)
    assert np.array_equal(labels, flood_fill(mask))
    assert areas.sum() == mask.size
    assert np.array_equal(drop_small(mask, 0), mask)
    assert not drop_small(mask, mask.size + 1).any()


def flood_fill(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    labels = np.zeros(mask.shape, np.int32)
    number = 0
    for row, col in np.argwhere(mask).tolist():
        if labels[row, col]:
            continue
        number += 1
        stack = [(row, col)]
        while stack:
            r, c = stack.pop()
            inside = 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1]
            if inside and mask[r, c] and not labels[r, c]:
                labels[r, c] = number
                stack += [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
    return labels


def test_only_enclosed_small_holes_are_filled() -> None:
    mask = np.ones((20, 20), bool)
    mask[3:5, 3:5] = False  # small
    mask[8:14, 8:14] = False  # large
    mask[0:2, 10] = False  # open to the edge
    filled = fill_holes(mask, 10)
    assert filled[3:5, 3:5].all()
    assert not filled[8:14, 8:14].any()
    assert not filled[0:2, 10].any()


@given(masks)
def test_outlines_are_closed_simple_and_enclose_their_region(mask: NDArray[np.bool_]) -> None:
    solid = fill_holes(mask, mask.size)
    _, areas = label(solid)
    found = outlines(mask, 1.0)
    assert len(found) == min(len(areas) - 1, 20)
    largest_first = sorted(areas[1:].tolist(), reverse=True)
    for outline, expected in zip(found, largest_first, strict=False):
        assert (outline[0] == outline[-1]).all()
        assert 4 <= len(outline) <= MOST_POINTS
        assert not crosses_itself(outline)
        assert outline.min() >= 0
        assert (outline.max(0) <= mask.shape).all()
        if expected >= 100:
            assert abs(area(outline) - expected) / expected < 0.25


def test_outlines_of_ragged_tissue_keep_its_area(shared: Path) -> None:
    mask = find_tissue(picture(shared, "diagnostic-slide-thumb-rgb"), MPP)
    found = outlines(mask, 3.0)
    enclosed = sum(area(outline) for outline in found) / 9
    assert enclosed == pytest.approx(fill_holes(mask, mask.size).sum(), rel=0.03)
    assert not any(crosses_itself(outline) for outline in found)


def test_walking_the_view_in_strips_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    blurred = Image.fromarray(rng.integers(0, 256, (301, 240, 3), np.uint8))
    view = np.asarray(blurred.filter(ImageFilter.GaussianBlur(9)), np.int16)
    view = np.clip((view - 128) * 4 + (220, 160, 200), 0, 255).astype(np.uint8)
    view[:90] = (30, 160, 60)  # ink
    view[90:130] = 243
    whole = find_tissue(view, 8.0)
    assert 0 < whole.mean() < 1
    for rows in (7, 64, 300):
        monkeypatch.setattr(light, "STRIP_PX", rows)
        np.testing.assert_array_equal(find_tissue(view, 8.0), whole)


def test_a_mask_grows_by_a_square() -> None:
    mask = np.random.default_rng(4).random((40, 50)) < 0.01
    grown = np.zeros_like(mask)
    for row, col in np.argwhere(mask):
        grown[max(row - 3, 0) : row + 4, max(col - 3, 0) : col + 4] = True
    np.testing.assert_array_equal(dilate(mask, 3), grown)


def test_the_view_of_a_gigantic_slide_is_reduced_until_it_is_small_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "MOST_VIEW_PX", 60 * 40)
    pixels = np.full((320, 480, 3), (150, 100, 99), np.uint8)
    with open_slide([write_level(tmp_path / "a.dcm", pixels, mpp=8.0)]) as slide:
        found = tissue_and_view(slide)[0]
    assert found.mask.shape == (40, 60)
    assert found.mpp == 64
    assert found.area_mm2 == pytest.approx(320 * 480 * 64e-6, rel=0.05)


@given(masks)
def test_a_halved_mask_is_set_where_any_of_four_pixels_is(mask: NDArray[np.bool_]) -> None:
    rows, cols = (side + side % 2 for side in mask.shape)
    padded = np.zeros((rows, cols), bool)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    expected = padded.reshape(rows // 2, 2, cols // 2, 2).any((1, 3))
    np.testing.assert_array_equal(halved(mask), expected)


@given(masks)
def test_a_region_is_cut_out_as_it_stands_in_the_mask(mask: NDArray[np.bool_]) -> None:
    regions = Regions.of(mask)
    together = np.zeros_like(mask)
    for number, area_px in enumerate(regions.areas.tolist()):
        region, top, left = regions.cut_out(number)
        assert region.sum() == area_px
        sides = region[0], region[-1], region[:, 0], region[:, -1]
        assert all(side.any() for side in sides)
        together[top : top + region.shape[0], left : left + region.shape[1]] |= region
    np.testing.assert_array_equal(together, mask)
