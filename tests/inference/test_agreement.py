"""Levels show one picture: what is not on another level too is not believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from letters import CELL_PX, Drawn, Image, Pixels, drawn, judge, tiny_at_letter_scale
from PIL import Image as Picture
from PIL import ImageFilter
from students import student
from tiny_slides import jpeg, write_level

from engines.manifest.tensors import TileInput
from engines.runtime import Runtime
from inference.errors import Refused
from inference.predict import predict
from inference.slide.slide import open_slide
from inference.tiles.agreement import LEAST_TILES, Expected, tile_means
from inference.tiles.planning import plan_tiles
from inference.types import NotAssessable, Prediction, Reason

Change = Callable[[Drawn], None]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with student(
        tmp_path_factory.mktemp("agreement") / "tiny", tiny_at_letter_scale, threads=2
    ) as running:
        yield running


def shown(image: Image, pixels: Pixels) -> None:
    """Another picture in an image."""
    image.pixels = pixels
    image.encode()


def order(*frames: int) -> Change:
    """The base level's first frames in another order, under the header they had."""

    def change(slide: Drawn) -> None:
        kept = slide.base.frames
        slide.base.frames = [kept[n] for n in frames] + kept[len(frames) :]

    return change


def backwards(slide: Drawn) -> None:
    slide.base.frames.reverse()


def black_frames(slide: Drawn) -> None:
    for n in (7, 8):
        slide.base.frames[n] = jpeg(np.zeros((96, 96, 3), np.uint8))


def white_frames(slide: Drawn) -> None:
    for n in (7, 8):
        slide.base.frames[n] = jpeg(np.full((96, 96, 3), 243, np.uint8))


def lower_mirrored(slide: Drawn) -> None:
    shown(slide.lower, np.ascontiguousarray(slide.lower.pixels[:, ::-1]))


def lower_blank(slide: Drawn) -> None:
    shown(slide.lower, np.full_like(slide.lower.pixels, 243))


def lower_without_a_stroke(slide: Drawn) -> None:
    pixels = slide.lower.pixels.copy()
    pixels[100:148] = 243
    shown(slide.lower, pixels)


@pytest.mark.parametrize(
    "change",
    [
        order(7, 1, 2, 3, 4, 5, 6, 0),
        order(0, 13, 7),
        backwards,
        black_frames,
        white_frames,
        lower_mirrored,
        lower_blank,
        lower_without_a_stroke,
    ],
)
def test_levels_that_show_different_pictures_give_no_number(
    change: Change, runtime: Runtime, tmp_path: Path
) -> None:
    slide = drawn()
    change(slide)
    found = predict(slide.save(tmp_path), runtime)
    assert isinstance(found, NotAssessable)
    assert found.reason == Reason.LEVELS_DIFFER
    assert "lower level shows in their place" in found.detail


def evenly_darker(slide: Drawn) -> None:
    darker = slide.lower.pixels.astype(np.int16) - 12
    shown(slide.lower, darker.clip(0, 255).astype(np.uint8))


def a_little_apart(slide: Drawn) -> None:
    shown(slide.lower, np.roll(slide.lower.pixels, (1, -1), (0, 1)))


def hard_compressed(slide: Drawn) -> None:
    def encode(tile: Pixels) -> bytes:
        buffer = BytesIO()
        Picture.fromarray(tile).save(buffer, "JPEG", quality=20)
        return buffer.getvalue()

    slide.lower.encode(encode)


def picked_pixels(slide: Drawn) -> None:
    shown(slide.lower, np.ascontiguousarray(slide.base.pixels[::2, ::2]))


def sharpened(slide: Drawn) -> None:
    picture = Picture.fromarray(slide.lower.pixels)
    shown(slide.lower, np.asarray(picture.filter(ImageFilter.UnsharpMask(2, 150, 0))))


@pytest.mark.parametrize(
    "change", [evenly_darker, a_little_apart, hard_compressed, picked_pixels, sharpened]
)
def test_levels_made_by_other_means_are_one_picture(
    change: Change, runtime: Runtime, tmp_path: Path
) -> None:
    slide = drawn()
    change(slide)
    found = predict(slide.save(tmp_path), runtime)
    assert isinstance(found, Prediction)
    assert judge(found, slide.truth) == []
    assert not any("lower level" in warning for warning in found.warnings)


def test_one_tile_that_another_level_does_not_show_is_left_out_and_said(
    runtime: Runtime, tmp_path: Path
) -> None:
    slide = drawn()
    sound = predict(slide.save(tmp_path / "sound"), runtime)
    pixels = slide.base.pixels.copy()
    pixels[128 : 128 + CELL_PX, 96 : 96 + CELL_PX] = (40, 160, 40)
    shown(slide.base, pixels)
    found = predict(slide.save(tmp_path / "stained"), runtime)
    assert isinstance(found, Prediction)
    assert isinstance(sound, Prediction)
    assert np.isfinite(sound.heatmaps[0].values[4, 3])
    assert np.isnan(found.heatmaps[0].values[4, 3])
    assert found.tiles_analyzed == sound.tiles_analyzed - 1
    assert any("1 of 101 tissue tiles are not what a lower" in text for text in found.warnings)


def test_a_slide_of_one_level_has_no_second_source(runtime: Runtime, tmp_path: Path) -> None:
    slide = drawn(levels=1)
    assert isinstance(predict(slide.save(tmp_path), runtime), Prediction)


def test_pale_tiles_in_each_others_place_are_told_by_all_of_them_together() -> None:
    rng = np.random.default_rng(2)
    means = (200 + rng.normal(0, 8, (LEAST_TILES, 1)) + np.zeros(3)).astype(np.float32)
    expected = Expected(means, means - 1, means + 1, np.ones(LEAST_TILES, np.bool_))
    assert not expected.contradicted(means).any()
    assert not expected.contradicted(means + rng.normal(0, 2, means.shape)).any()
    assert expected.contradicted(means[rng.permutation(LEAST_TILES)]).all()


def test_a_mask_that_misses_all_tissue_is_not_believed(tmp_path: Path) -> None:
    """Otherwise the report would say that there is none."""
    pixels = np.full((1024, 1024, 3), 244, np.uint8)
    pixels[128:896, 128:896] = (190, 90, 150)
    blank = np.full((128, 128, 3), 244, np.uint8)
    paths = [
        write_level(tmp_path / "a.dcm", pixels, frame=(128, 128), mpp=1.0),
        write_level(tmp_path / "b.dcm", blank, frame=(64, 64), mpp=8.0),
    ]
    wanted = TileInput(tile_px=64, mpp=1.0, mpp_tolerance=0.1, batch=8)
    with open_slide(paths) as slide, pytest.raises(Refused) as refused:
        plan_tiles(slide, wanted, ())
    assert refused.value.verdict.reason == Reason.LEVELS_DIFFER
    assert "tissue may have been missed" in refused.value.verdict.detail


def test_fills_that_only_one_level_has_hide_no_tissue(runtime: Runtime, tmp_path: Path) -> None:
    """White, black and gray are what writers put where nothing was scanned."""
    slide = drawn()
    shown(slide.lower, np.where(slide.lower.pixels == 243, np.uint8(215), slide.lower.pixels))
    for n, cell in enumerate(slide.base.cells):
        if (slide.base.tile(cell) >= 243).all():
            slide.base.frames[n] = jpeg(np.full((96, 96, 3), 255, np.uint8))
    found = predict(slide.save(tmp_path), runtime)
    assert isinstance(found, Prediction)
    assert judge(found, slide.truth) == []


def test_small_textured_tiles_have_the_mean_of_many_pixels() -> None:
    rng = np.random.default_rng(4)
    for side in (32, 64, 224, 512):
        tiles = rng.integers(0, 256, (8, side, side, 3), np.uint8)
        assert np.abs(tile_means(tiles) - tiles.mean((1, 2))).max() < 20 * (
            0.8 if side < 64 else 0.5
        )
