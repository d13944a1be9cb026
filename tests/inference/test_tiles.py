from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_slides import noise, ramp, write_level
from wsidicom import WsiDicom

from engines.manifest.tensors import TileInput
from inference.slide.codestream.jpeg import JpegReader
from inference.slide.slide import Level, Slide, open_slide
from inference.slide.stored import StoredFrames
from inference.tiles import planning
from inference.tiles.grid import TileGrid, stream
from inference.types import SlideGeometry
from slides import SlideStudy


def every_cell(grid: TileGrid) -> Any:
    return np.argwhere(np.ones((grid.rows, grid.cols), bool)).astype(np.int32)


def level_of(rows: int, cols: int, mpp: float, downsample: float) -> Level:
    return Level(
        rows=ceil(rows / downsample),
        cols=ceil(cols / downsample),
        downsample=downsample,
        mpp=mpp * downsample,
        frame_rows=256,
        frame_cols=256,
        frames=1,
        parts=(),
        is_encapsulated=False,
        is_baseline=False,
        decodes_stated_ycbcr=False,
        decode=None,  # type: ignore[arg-type]
        stored=None,  # type: ignore[arg-type]  # the grid reads no pixels
        jpegs=JpegReader(),
        index=np.zeros(
            (ceil(ceil(rows / downsample) / 256), ceil(ceil(cols / downsample) / 256)), np.int32
        ),
    )


@st.composite
def plans(draw: st.DrawFn) -> tuple[TileGrid, int, int, list[Level], TileInput]:
    """Grids for slides and models of all sizes, with levels of any downsample."""
    rows, cols = draw(st.integers(1, 100_000)), draw(st.integers(1, 100_000))
    mpp = draw(st.floats(0.1, 2.0))
    downsamples = [1.0, *sorted(draw(st.lists(st.floats(1.5, 40), max_size=4)))]
    levels = [level_of(rows, cols, mpp, d) for d in downsamples]
    wanted = TileInput(
        tile_px=draw(st.sampled_from([32, 224, 256, 1000])),
        mpp=min(9.9, mpp * draw(st.floats(1.0, 8.0))),
        mpp_tolerance=draw(st.sampled_from([0.0, 0.02, 0.1])),
    )
    geometry = SlideGeometry(
        "1.2", 0, 0, (0, -1, 0, -1, 0, 0), mpp / 1000, mpp / 1000, rows=rows, cols=cols
    )
    return TileGrid.plan(geometry, levels, wanted), rows, cols, levels, wanted


@given(plans(), st.data())
def test_every_base_pixel_is_in_exactly_one_cell(plan: Any, data: st.DataObject) -> None:
    grid, rows, cols, _, _ = plan
    pixel = data.draw(st.tuples(st.integers(0, rows - 1), st.integers(0, cols - 1)))
    assert pixel[0] // grid.stride_px < grid.rows
    assert pixel[1] // grid.stride_px < grid.cols
    assert (grid.rows - 1) * grid.stride_px < rows  # no cell is wholly outside
    assert (grid.cols - 1) * grid.stride_px < cols


@given(plans())
def test_the_stride_is_whole_and_the_level_is_fine_enough(plan: Any) -> None:
    grid, _, _, levels, wanted = plan
    base, level = levels[0], levels[grid.level_index]
    assert isinstance(grid.stride_px, int)
    assert abs(grid.stride_px - wanted.tile_px * wanted.mpp / base.mpp) <= 0.5
    assert level.mpp <= wanted.mpp * (1 + wanted.mpp_tolerance)
    better = [v for v in levels if level.mpp < v.mpp <= wanted.mpp]
    assert not better, "a coarser level that is still fine enough costs less"


@given(plans(), st.integers(0, 400))
def test_a_cell_reads_what_lies_under_it(plan: Any, index: int) -> None:
    grid = plan[0]
    start, stop = grid.span(index)
    first, last = (n * grid.stride_px / grid.downsample for n in (index, index + 1))
    if grid.is_native:
        assert stop - start == grid.tile_px
        assert abs((start + stop) / 2 - (first + last) / 2) <= 0.5 + 1e-6 * last
    else:
        assert start <= first < last <= stop
        assert first - start < 1
        assert stop - last < 1


def test_a_slide_that_is_too_coarse_has_no_grid() -> None:
    geometry = SlideGeometry("1.2", 0, 0, (0, -1, 0, -1, 0, 0), 0.001, 0.001, rows=9, cols=9)
    with pytest.raises(ValueError, match="finest level has 1"):
        TileGrid.plan(
            geometry, [level_of(9, 9, 1.0, 1.0)], TileInput(tile_px=32, mpp=0.5, mpp_tolerance=0)
        )


@contextmanager
def opened(*paths: Path) -> Iterator[Slide]:
    with open_slide(paths) as slide:
        yield slide


def test_tiles_are_the_pixels_of_their_place_in_raster_order(tmp_path: Path) -> None:
    pixels = noise(300, 400)
    wanted = TileInput(tile_px=40, mpp=0.5, mpp_tolerance=0.02)
    with opened(write_level(tmp_path / "a.dcm", pixels)) as slide:
        grid = TileGrid.plan(slide.geometry, slide.levels, wanted)
        cells = np.array([[7, 9], [3, 4], [3, 2], [0, 0], [5, 1]], np.int32)
        batches = [
            (b.cells.tolist(), b.pixels.copy())
            for b in stream(slide.levels[grid.level_index], grid, cells, batch=2)
        ]
    order = [at for cells, _ in batches for at in cells]
    assert order == [[0, 0], [3, 2], [3, 4], [5, 1], [7, 9]]
    assert [len(cells) for cells, _ in batches] == [2, 2, 1]
    for cells, tiles in batches:
        for (row, col), tile in zip(cells, tiles, strict=True):
            inside = pixels[row * 40 : row * 40 + 40, col * 40 : col * 40 + 40]
            assert np.array_equal(tile[: len(inside)], inside)
            assert (tile[len(inside) :] == 255).all()


def test_tiles_of_a_real_slide_are_what_wsidicom_reads_there(cmu_study: SlideStudy) -> None:
    wanted = TileInput(tile_px=224, mpp=0.5, mpp_tolerance=0.02)
    with open_slide(cmu_study.paths) as slide, WsiDicom.open(cmu_study.paths) as reference:
        grid = TileGrid.plan(slide.geometry, slide.levels, wanted)
        assert grid.is_native
        seen = 0
        cells = every_cell(grid)
        inner = cells[(cells[:, 0] < grid.rows - 1) & (cells[:, 1] < grid.cols - 1)]
        for batch in stream(slide.levels[grid.level_index], grid, inner, batch=16):
            for (row, col), tile in zip(batch.cells.tolist(), batch.pixels, strict=True):
                region = reference.read_region((col * 224, row * 224), 0, (224, 224))
                assert np.array_equal(tile, np.asarray(region)), (row, col)
                seen += 1
        assert seen == 13 * 9


@pytest.mark.parametrize(
    ("downsample", "mpp"), [(1.0, 0.5), (1.0, 0.8), (1.0, 1.7), (3.0, 1.5), (2.2, 1.3)]
)
def test_resampled_and_unaligned_tiles_show_their_own_place(
    tmp_path: Path, downsample: float, mpp: float
) -> None:
    """Red says the base row and green the base column, so the middle of a tile says where it is."""
    rows, cols = 901, 1003
    paths = [write_level(tmp_path / "base.dcm", ramp(rows, cols), frame=(64, 80))]
    if downsample != 1.0:
        size = (ceil(rows / downsample), ceil(cols / downsample))
        coarse = ramp(*size, downsample)
        paths.append(
            write_level(tmp_path / "low.dcm", coarse, frame=(50, 70), mpp=0.5 * downsample)
        )
    wanted = TileInput(tile_px=64, mpp=mpp, mpp_tolerance=0.02)
    with open_slide(paths) as slide:
        grid = TileGrid.plan(slide.geometry, slide.levels, wanted)
        assert grid.downsample == pytest.approx(downsample)
        for batch in stream(slide.levels[grid.level_index], grid, every_cell(grid), batch=8):
            for (row, col), tile in zip(batch.cells.tolist(), batch.pixels, strict=True):
                center = ((row + 0.5) * grid.stride_px, (col + 0.5) * grid.stride_px)
                if center[0] > rows - 40 or center[1] > cols - 40:
                    continue
                found = tile[28:36, 28:36, :2].reshape(-1, 2).mean(0) * 4
                assert np.abs(found - center).max() < 0.6 * downsample + 0.8


def test_each_frame_is_decoded_once_and_only_under_wanted_cells(tmp_path: Path) -> None:
    class Counting(StoredFrames):
        """Stored frames that count what is asked of them."""

        def __init__(self, real: StoredFrames) -> None:
            self.real = real
            self.reads: Counter[int] = Counter()

        def read(self, index: int) -> bytes | memoryview:
            self.reads[index] += 1
            return self.real.read(index)

    wanted = TileInput(tile_px=40, mpp=0.5, mpp_tolerance=0.02)
    with opened(write_level(tmp_path / "a.dcm", noise(300, 400))) as slide:
        counting = Counting(slide.levels[0].stored)
        watched = replace(slide, levels=(replace(slide.levels[0], stored=counting),))
        grid = TileGrid.plan(slide.geometry, slide.levels, wanted)
        cells = every_cell(grid)
        cells = cells[(cells[:, 0] < 4) & (cells[:, 1] < 5)]  # base pixels [0, 160) x [0, 200)
        assert sum(len(b.cells) for b in stream(watched.levels[0], grid, cells, batch=3)) == 20
    assert set(counting.reads.values()) == {1}
    across = ceil(400 / 48)
    assert set(counting.reads) == {row * across + col for row in range(5) for col in range(5)}


def test_the_coarse_grid_of_a_plan_nests_in_the_fine_one_to_the_far_edge(tmp_path: Path) -> None:
    wanted = TileInput(tile_px=224, mpp=0.5, mpp_tolerance=0.1, coarse_mpp=1.0)
    path = write_level(tmp_path / "a.dcm", noise(960, 1440), mpp=0.4987)
    with opened(path) as slide:
        grids = list(planning._grids(slide, slide.levels, wanted))
    fine, coarse = grids
    assert fine.stride_px == 225  # 224 * 0.5 / 0.4987 = 224.58; twice that rounds to 449
    assert coarse.stride_px == 2 * fine.stride_px
    assert coarse.cols == ceil(1440 / coarse.stride_px)
    assert (coarse.tile_px, coarse.level_index) == (224, 0)
