"""What a cheaper precision is made and measured with, taken from slides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.manifest.tensors import TileInput
from inference.errors import SlideError
from inference.slide.headers import read_header
from inference.slide.slide import open_slide
from inference.tiles.grid import stream
from inference.tiles.order import Source
from inference.tiles.planning import plan_tiles
from training.bundle.costs import Bag
from training.bundle.precisions import Material
from training.errors import TrainingError
from training.tiles.slide_files import find_slides

_MOST_TILES = 512
"""Of a grid of one slide: enough for its figures, and a few hundred megabytes at most for some."""
Grid = tuple[NDArray[np.int32], NDArray[np.uint8]]
"""Cells [N, 2] and tiles [N, H, W, 3]."""


def slide_material(
    calibration: Sequence[Path], measure: Sequence[Path], wanted: TileInput
) -> Material:
    """Tiles of the slides in these folders, cut as `wanted` says, of both grids where it has two.
    Raises TrainingError, also for a slide that is given twice: a form that was calibrated on it
    costs less there than on others."""
    sides = _slides(calibration), _slides(measure)
    _require_each_once((paths[0], _instances(paths)) for side in sides for paths in side)
    known, measured = ([_grids(paths, wanted) for paths in side] for side in sides)
    _require_each_once(
        (paths[0], {_digest(grids)})
        for side, cut in zip(sides, (known, measured), strict=True)
        for paths, grids in zip(side, cut, strict=True)
    )
    bags, count = [], 0
    for grids in measured:
        bags.append(_bag(grids, count))
        count += sum(len(tiles) for _, tiles in grids)
    coarse = sum(len(bag.coarse) for bag in bags if bag.coarse is not None)
    beside = f", {coarse} of them at {wanted.coarse_mpp:g} um a pixel" if coarse else ""
    return Material(
        calibration=np.concatenate([tiles for grids in known for _, tiles in grids]),
        held_out=np.concatenate([tiles for grids in measured for _, tiles in grids]),
        bags=bags,
        told=f"{len(measured)} slides, {count} tiles{beside}; calibrated on {len(known)} others",
    )


def _slides(places: Sequence[Path]) -> list[tuple[Path, ...]]:
    return [tuple(slide.paths) for slide in find_slides(places)]


def _require_each_once(slides: Iterable[tuple[Path, Set[str]]]) -> None:
    """TrainingError where two of them have one of their marks in common."""
    owners: dict[str, Path] = {}
    for path, marks in slides:
        if again := marks & owners.keys():
            raise TrainingError(
                f"{path}: found the slide of {owners[min(again)]} again, expected each slide once, "
                "to calibrate with or to measure on; leave one of the two out"
            )
        owners |= dict.fromkeys(marks, path)


def _instances(paths: Sequence[Path]) -> set[str]:
    try:
        return {read_header(path).sop_instance_uid for path in paths}
    except SlideError as error:
        raise TrainingError(f"{paths[0]}: {error}; leave this slide out") from error


def _digest(grids: Sequence[Grid]) -> str:
    """Of the pixels: a copy of a slide may have UIDs of its own."""
    found = hashlib.sha256()
    for _, tiles in grids:
        found.update(tiles.tobytes())
    return found.hexdigest()


def _bag(grids: Sequence[Grid], start: int) -> Bag:
    """A slide whose tiles follow each other from `start` on, grid by grid."""
    (cells, tiles), *others = grids
    end = start + len(tiles)
    if not others:
        return Bag(np.arange(start, end), cells)
    (coarse_cells, coarse), *_ = others
    return Bag(np.arange(start, end), cells, np.arange(end, end + len(coarse)), coarse_cells)


def _grids(paths: Sequence[Path], wanted: TileInput) -> list[Grid]:
    """At most _MOST_TILES tiles of each grid of a slide, evenly over its tissue."""
    try:
        coarsest = wanted.mpp * (1 + wanted.mpp_tolerance)
        with open_slide(paths, icc=wanted.icc, coarsest_mpp=coarsest) as slide:
            found = [_some(source, wanted) for source in plan_tiles(slide, wanted, ()).sources]
    except (SlideError, ValueError) as error:
        raise TrainingError(f"{paths[0]}: {error}; leave this slide out") from error
    if not all(len(cells) for cells, _ in found):
        raise TrainingError(f"{paths[0]}: found no tissue, expected some; leave this slide out")
    return found


def _some(source: Source, wanted: TileInput) -> Grid:
    step = max(1, -(-len(source.cells) // _MOST_TILES))
    chosen = source.cells[::step]
    batches = [
        (batch.cells.copy(), batch.pixels.copy())
        for batch in stream(source.level, source.grid, chosen, wanted.batch)
    ]
    if not batches:
        return chosen, np.zeros((0, wanted.tile_px, wanted.tile_px, 3), np.uint8)
    cells, pixels = zip(*batches, strict=True)
    return np.concatenate(cells), np.concatenate(pixels)
