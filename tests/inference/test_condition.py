from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from tiny_slides import write_level

from engines.bundle import open_bundle
from engines.runtime import Runtime, open_runtime
from inference import archive, predict
from inference.condition.focus import SAMPLE, is_blurred, sampled
from inference.condition.marks import find_marks
from inference.condition.shares import condition_of
from inference.errors import Stopped
from inference.phantom.draw import STEP, Kind, draw
from inference.slide.frames import read_rectangles
from inference.slide.slide import open_slide
from inference.tissue.tissue import tissue_and_view
from inference.types import Condition, Found, NotAssessable, Prediction
from slides import PhantomStudy, SlideStudy

Pixels = NDArray[np.uint8]
MPP = 8.0
GLASS = 245.0
TILE = 224


def of_view(view: Pixels) -> Condition:
    """What is found in the cells of 112 um with tissue, of a slide whose level at 8 um is this."""
    with TemporaryDirectory() as folder:
        path = write_level(Path(folder) / "a.dcm", view, frame=(256, 256), mpp=MPP)
        with open_slide([path]) as slide:
            mask, half = tissue_and_view(slide)
    side = round(TILE * 0.5 / MPP)
    rows, cols = (-(-n // side) for n in view.shape[:2])
    cells = np.argwhere(mask.cell_shares(side, rows, cols) >= 0.25).astype(np.int32)
    return condition_of(find_marks(half, mask, side, rows, cols), cells, None)


def tiles_of(found: Found | None) -> int:
    assert found is not None
    return found.tiles


@pytest.fixture(scope="module")
def section() -> Pixels:
    """A drawn section whose folds are too narrow to be seen: 384 x 512 at 8 um."""
    return np.asarray(Image.fromarray(draw(5, rows=6144, cols=8192).pixels).reduce(16))


def stroke(view: Pixels, width_um: float) -> NDArray[np.bool_]:
    """A line of 1.2 mm over the middle of a view [h, w, 3]."""
    rows, cols = view.shape[:2]
    image = Image.new("L", (cols, rows))
    ends = [(0.35 * cols, 0.35 * rows), (0.6 * cols, 0.62 * rows)]
    ImageDraw.Draw(image).line(ends, fill=255, width=round(width_um / MPP))
    return np.asarray(image) > 0


def ring(view: Pixels, diameter_um: float, width_um: float) -> NDArray[np.float64]:
    """How much of each pixel is under a ring at the middle of a view."""
    rows, cols = view.shape[:2]
    radius, fine = diameter_um / MPP / 2, 4
    image = Image.new("L", (cols * fine, rows * fine))
    box = [((cols / 2 + k * radius) * fine, (rows / 2 + k * radius) * fine) for k in (-1, 1)]
    ImageDraw.Draw(image).ellipse(box, outline=255, width=round(width_um / MPP * fine))
    return np.asarray(image.reduce(fine)) / 255.0


def denser(view: Pixels, times: NDArray[np.float64], plus: NDArray[np.float64]) -> Pixels:
    """The view with its optical density changed."""
    density = -np.log10(np.maximum(view, 1) / GLASS) * times[..., None] + plus[..., None]
    return np.clip(GLASS * 10.0**-density, 0, 255).astype(np.uint8)


def test_nothing_is_found_on_a_drawn_section(section: Pixels) -> None:
    found = of_view(section)
    assert (tiles_of(found.folded), tiles_of(found.inked), tiles_of(found.bubbles)) == (0, 0, 0)
    assert found.folded == Found(0, 459)


@pytest.mark.parametrize("layers", [2, 3])
def test_a_band_of_double_tissue_is_a_fold_and_nothing_else(section: Pixels, layers: int) -> None:
    band = stroke(section, 160)
    found = of_view(denser(section, np.where(band, float(layers), 1.0), np.zeros(band.shape)))
    assert 5 <= tiles_of(found.folded) <= 30
    assert tiles_of(found.inked) == tiles_of(found.bubbles) == 0


@pytest.mark.parametrize(
    "color",
    [(20, 140, 90), (30, 60, 190), (210, 20, 30), (25, 25, 28)],
    ids=["green", "blue", "red", "black"],
)
@pytest.mark.parametrize("width_um", [200, 400])
def test_pen_over_tissue_is_found_and_is_no_fold(
    section: Pixels, color: tuple[int, int, int], width_um: float
) -> None:
    ink = stroke(section, width_um)
    inked = section.copy()
    inked[ink] = (section[ink] * (np.array(color) / GLASS * 0.9)).astype(np.uint8)
    found = of_view(inked)
    assert tiles_of(found.inked) >= 4
    assert tiles_of(found.folded) == tiles_of(found.bubbles) == 0


def test_pen_on_glass_is_in_no_tile_that_is_analyzed() -> None:
    drawn = draw(3, rows=6144, cols=8192)
    assert (drawn.truth == Kind.PEN).sum() * (STEP * 0.5 / 1000) ** 2 > 0.05
    found = of_view(np.asarray(Image.fromarray(drawn.pixels).reduce(16)))
    assert tiles_of(found.inked) == 0


@pytest.mark.parametrize(("diameter_um", "least"), [(500, 10), (800, 30), (1200, 70)])
def test_a_closed_dark_ring_is_a_bubble_with_all_tiles_inside(
    section: Pixels, diameter_um: float, least: int
) -> None:
    edge = ring(section, diameter_um, 32)
    found = of_view(denser(section, np.ones(edge.shape), 0.5 * edge))
    assert least <= tiles_of(found.bubbles) <= 2.5 * least
    assert tiles_of(found.inked) == 0


def test_half_a_ring_is_no_bubble(section: Pixels) -> None:
    edge = ring(section, 800, 32)
    edge[: edge.shape[0] // 2] = 0
    assert tiles_of(of_view(denser(section, np.ones(edge.shape), 0.5 * edge)).bubbles) == 0


@pytest.mark.parametrize(
    "name",
    [
        "tissue-level2-1784-6289-5880-10386",
        "tissue-level2-3000-7666-7096-11763",
        "tissue-level2-4640-4649-8736-8746",
    ],
)
def test_vessels_with_blood_and_holes_in_real_tissue_are_neither_folds_nor_bubbles(
    shared: Path, name: str
) -> None:
    found = of_view(picture(shared, name, 2))
    assert tiles_of(found.folded) == tiles_of(found.bubbles) == tiles_of(found.inked) == 0


def test_a_real_fold_and_a_real_pen_mark_are_told_apart(shared: Path) -> None:
    found = of_view(picture(shared, "high-nuclei-score-red-pen-level1", 1))
    assert tiles_of(found.folded) > 50
    assert tiles_of(found.inked) > 4


def picture(shared: Path, name: str, factor: int) -> Pixels:
    image = Image.open(shared / "data/wsi/histolab/png" / f"{name}.png").convert("RGB")
    return np.asarray(image.reduce(factor))


def blurred(tile: Pixels, sigma_px: float) -> Pixels:
    return np.asarray(Image.fromarray(tile).filter(ImageFilter.GaussianBlur(sigma_px)))


def pale(tile: Pixels) -> Pixels:
    """With a third of its stain."""
    return (GLASS * (np.maximum(tile, 1) / GLASS) ** (1 / 3)).clip(0, 255).astype(np.uint8)


def tiles_from(study: SlideStudy) -> list[Pixels]:
    with open_slide(study.paths) as slide:
        level = slide.levels[0]
        places = np.argwhere(np.ones((level.rows // TILE, level.cols // TILE))) * TILE
        boxes = np.concatenate([places, places + TILE], 1).astype(np.int64)
        return [tile for tile in read_rectangles(level, boxes) if (tile < 200).mean() > 0.25]


def share(tiles: list[Pixels]) -> float:
    return float(np.mean([is_blurred(tile) for tile in tiles]))


@pytest.mark.parametrize("study", ["cmu_study", "tcga_study", "phantom_study"])
def test_the_more_a_slide_is_blurred_the_larger_is_the_share_that_is_said(
    study: str, request: pytest.FixtureRequest
) -> None:
    tiles = tiles_from(request.getfixturevalue(study))[:60]
    assert len(tiles) >= 20
    shares = [share([blurred(t, k) for t in tiles] if k else tiles) for k in (0, 1, 2, 3, 5, 10)]
    assert shares == sorted(shares)
    assert shares[0] <= 0.02  # a tile of the drawn slide is pen
    assert shares[3:] == [1, 1, 1]


def test_sharp_tissue_of_little_stain_is_not_blurred(cmu_study: SlideStudy) -> None:
    tiles = tiles_from(cmu_study)
    assert share([pale(tile) for tile in tiles]) == 0
    assert share([pale(blurred(tile, 3)) for tile in tiles]) == 1


def test_sharp_real_tiles_of_other_laboratories_are_not_blurred(shared: Path) -> None:
    folder = shared / "data/tiles_crc_val_he_7k_32"
    tiles = [np.asarray(Image.open(p).convert("RGB")) for p in sorted(folder.glob("*.png"))]
    assert len(tiles) == 32
    assert share(tiles) == 0


def test_tiles_with_finer_pixels_are_judged_at_the_scale_of_the_limits(
    cmu_study: SlideStudy,
) -> None:
    for tile in tiles_from(cmu_study)[:20]:
        fine = np.asarray(Image.fromarray(tile).resize((448, 448), Image.Resampling.BICUBIC))
        assert not is_blurred(fine, 2)
        assert is_blurred(blurred(fine, 6), 2)


@pytest.mark.parametrize("count", [1, 199, 200, 201, 400, 9_589, 250_000])
def test_the_sample_is_spread_over_all_tiles(count: int) -> None:
    places = np.flatnonzero(sampled(count))
    assert len(places) == min(count, SAMPLE)
    assert np.diff(places).max(initial=1) <= 2 * max(1, count / SAMPLE) + 1
    assert (places[0], places[-1]) <= (count / SAMPLE, count)


def test_the_sample_is_in_step_with_no_row_of_the_grid() -> None:
    for cols in (40, 50, 96, 100, 128):
        columns = np.bincount(np.flatnonzero(sampled(cols * 100)) % cols * 4 // cols, minlength=4)
        assert columns.min() >= 35, cols  # of 50


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    with open_runtime(open_bundle("default"), engine="onnxruntime") as opened:
        yield opened


def analyzed(study: SlideStudy, runtime: Runtime, resume: Path | None = None) -> Prediction:
    result = predict.predict(study.paths, runtime, resume=resume)
    assert isinstance(result, Prediction)
    return result


def test_a_prediction_tells_the_condition_of_its_tiles(
    phantom_study: PhantomStudy, runtime: Runtime
) -> None:
    result = analyzed(phantom_study, runtime)
    assert result.condition is not None
    for found in (result.condition.folded, result.condition.inked, result.condition.bubbles):
        assert found is not None
        assert found.of == result.tiles_analyzed
    assert result.condition.blurred is not None
    assert result.condition.blurred.of == min(SAMPLE, result.tiles_analyzed)


class Held:
    """A runtime that goes on after its second batch only when the run has been stopped."""

    def __init__(self, real: Runtime) -> None:
        self.real = real
        self.batch = 2
        self.done = 0
        self.is_stopped = Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def run(self, graph_name: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
        if self.done >= 2:
            assert self.is_stopped.wait(60.0)
        outputs = self.real.run(graph_name, arrays)
        self.done += 1
        return outputs

    def stop(self) -> bool:
        if self.done >= 2:
            self.is_stopped.set()
        return self.is_stopped.is_set()


def test_a_run_that_was_stopped_tells_the_same_condition(
    phantom_study: PhantomStudy, runtime: Runtime, tmp_path: Path
) -> None:
    whole = analyzed(phantom_study, runtime)
    held = Held(runtime)
    with pytest.raises(Stopped, match=r"stopped after [1-9]\d* of"):
        predict.predict(phantom_study.paths, held, stop=held.stop, resume=tmp_path / "kept")
    again = analyzed(phantom_study, runtime, tmp_path / "kept")
    assert again.condition == whole.condition


def test_the_condition_comes_back_from_its_file(
    phantom_study: PhantomStudy, runtime: Runtime, tmp_path: Path
) -> None:
    result = analyzed(phantom_study, runtime)
    for condition in (
        result.condition,
        None,
        Condition(blurred=Found(3, 200), folded=None, inked=Found(0, 9_589), bubbles=Found(1, 2)),
    ):
        archive.save(replace(result, condition=condition), tmp_path / "p.npz")
        loaded = archive.load(tmp_path / "p.npz")
        assert isinstance(loaded, Prediction)
        assert loaded.condition == condition


def test_a_file_of_before_has_no_condition(
    phantom_study: PhantomStudy, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_apart: Callable[..., tuple[dict[str, object], dict[str, object]]] = archive._take_apart

    def before(result: Prediction | NotAssessable) -> tuple[dict[str, object], dict[str, object]]:
        meta, arrays = take_apart(result)
        del meta["condition"]
        return meta, arrays

    monkeypatch.setattr(archive, "_take_apart", before)
    archive.save(analyzed(phantom_study, runtime), tmp_path / "p.npz")
    loaded = archive.load(tmp_path / "p.npz")
    assert isinstance(loaded, Prediction)
    assert loaded.condition is None


def test_no_tile_looked_at_is_no_share() -> None:
    assert Found(0, 0).share is None
    assert Found(1, 4).share == 0.25
