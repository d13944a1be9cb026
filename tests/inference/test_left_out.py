"""Why places for a tile have none: one reason each, and together all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from students import student
from tiny_slides import write_level

from engines.manifest.tensors import TileInput
from inference import archive, predict
from inference.condition.marks import Marks
from inference.slide.slide import open_slide
from inference.tiles.left_out import Why, counted, reasons_of
from inference.tiles.planning import plan_tiles
from inference.tissue.tissue import TissueMask
from inference.tissue.unscanned import Unscanned
from inference.types import NotAssessable, Prediction, Reason

WANTED = TileInput(tile_px=64, mpp=1.0, mpp_tolerance=0.1, batch=8)


def cells(*at: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros((2, 5), np.bool_)
    for row, col in at:
        mask[row, col] = True
    return mask


def test_each_place_has_the_first_reason_that_applies() -> None:
    mask = np.zeros((20, 50), np.bool_)
    mask[:10, :10] = True  # a tile
    mask[:10, 10:12] = True  # an edge of a fifth
    mask[10:, :10] = True  # tissue without frames
    mask[10:12, 10:20] = True  # pen with an edge of tissue beside it
    empty = np.zeros(mask.shape, np.bool_)
    empty[:10, 30:36] = True
    tissue = TissueMask(
        mask, 8.0, 10.0, unscanned=Unscanned.of(empty, np.zeros((20, 50, 3), np.uint8), 10.0)
    )
    marks = Marks(folded=cells((1, 2)), inked=cells((0, 0), (1, 1)), bubbles=cells((0, 2)))
    reasons = reasons_of(tissue, marks, cells((1, 0)), np.array([[0, 0]], np.int32), 100)
    names = [["", *Why][n] for n in reasons.ravel()]
    assert names == [
        "", Why.EDGE, Why.BUBBLE, Why.NOT_SCANNED, Why.GLASS,
        Why.NO_FRAMES, Why.PEN, Why.FOLD, Why.GLASS, Why.GLASS,
    ]  # fmt: skip
    told = counted(reasons, analyzed=1)
    assert told == {"edge": 1, "bubble": 1, "not-scanned": 1, "glass": 3, "no-frames": 1,
                    "pen": 1, "fold": 1}  # fmt: skip
    assert sum(told.values()) == reasons.size - 1


def test_what_was_to_be_a_tile_and_is_none_was_not_read() -> None:
    assert counted(np.zeros((2, 2), np.uint8), analyzed=3) == {"not-read": 1}


def drawn() -> NDArray[np.uint8]:
    """Tissue, glass, and a green pen mark on the glass, 1280 x 1280 um at 1 um per pixel."""
    pixels = np.full((1280, 1280, 3), 245, np.uint8)
    rng = np.random.default_rng(0)
    pixels[..., :] -= rng.integers(0, 4, (1280, 1280, 1), np.uint8)
    pixels[128:768, 128:768] = (190, 110, 160)
    pixels[128:768, 128:768, 0] += rng.integers(0, 30, (640, 640), np.uint8)
    grain = np.kron(rng.integers(0, 40, (32, 64, 1), np.uint8), np.ones((8, 8, 1), np.uint8))
    pixels[960:1216, 640:1152] = np.array((20, 140, 90), np.uint8) + grain
    return pixels


def test_pen_edge_and_glass_of_a_slide_are_told_apart(tmp_path: Path) -> None:
    path = write_level(tmp_path / "a.dcm", drawn(), frame=(128, 128), mpp=1.0)
    with open_slide([path]) as slide:
        plan = plan_tiles(slide, WANTED, ())
    found = counted(plan.reasons, len(plan.sources[0].cells))
    assert sum(found.values()) + len(plan.sources[0].cells) == plan.reasons.size == 400
    inside = plan.reasons[15:19, 10:18]
    assert ([["", *Why][n] for n in inside.ravel()]).count(Why.PEN) == inside.size
    assert found["glass"] > 200
    assert set(found) <= {"pen", "edge", "glass"}


@pytest.fixture
def broken(tmp_path: Path) -> list[Path]:
    pixels = np.full((640, 640, 3), (0, 100, 99), np.uint8)
    pixels[..., 0] = np.random.default_rng(0).integers(128, 157, (640, 640))
    path = write_level(tmp_path / "slide.dcm", pixels, frame=(100, 120))
    path.write_bytes(path.read_bytes()[:-1000])
    return [path, write_level(tmp_path / "small.dcm", pixels[:40, :40], mpp=8.0, frame=(40, 40))]


def test_tiles_that_could_not_be_read_are_counted_and_come_back_from_the_file(
    broken: list[Path], tmp_path: Path
) -> None:
    def change(values: dict) -> None:  # type: ignore[type-arg]
        values["input"]["unreadable_tiles"] = 0.05

    with student(tmp_path / "bundle", change) as runtime:
        result = predict.predict(broken, runtime)
    assert isinstance(result, Prediction)
    assert result.left_out == {"not-read": 400 - result.tiles_analyzed}
    # 640 x 640 px at 0.5 um, all tissue
    assert result.tissue_area_mm2 == pytest.approx(0.1024 * result.tiles_analyzed / 400, abs=1e-6)
    archive.save(result, tmp_path / "p.npz")
    again = archive.load(tmp_path / "p.npz")
    assert isinstance(again, Prediction)
    assert again.left_out == result.left_out
    assert again.unscanned_mm2 == result.unscanned_mm2 == 0.0


def test_tissue_that_could_not_be_read_does_not_make_up_what_the_model_needs(
    broken: list[Path], tmp_path: Path
) -> None:
    def change(values: dict) -> None:  # type: ignore[type-arg]
        values["input"]["unreadable_tiles"] = 0.05
        values["applicability"]["minimum_tissue_mm2"] = 0.102

    with student(tmp_path / "bundle", change) as runtime:
        result = predict.predict(broken, runtime)
    assert isinstance(result, NotAssessable)
    assert result.reason == Reason.TOO_LITTLE_TISSUE
    assert "mm2 more lie in tiles that could not be read" in result.detail


def test_tissue_of_a_slide_all_of_whose_tiles_were_read_is_that_of_its_mask(
    tmp_path: Path,
) -> None:
    path = write_level(tmp_path / "slide.dcm", np.full((640, 640, 3), (140, 100, 99), np.uint8))
    with open_slide([path]) as slide:
        plan = plan_tiles(slide, WANTED, ())
    cells = plan.sources[0].cells
    assert plan.analyzed_mm2(cells) == plan.tissue.area_mm2
    assert plan.analyzed_mm2(cells[1:]) < plan.tissue.area_mm2
