"""What a cheaper precision is made and measured with, taken from slides."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.manifest.tensors import TileInput
from inference.errors import SlideError
from inference.slide.slide import open_slide
from inference.tiles.grid import stream
from inference.tiles.planning import plan_tiles
from training.bundle.precisions import Material
from training.errors import TrainingError
from training.tiles.slide_files import find_slides

_MOST_TILES = 512
"""Of one slide: enough for its figures, and a few hundred megabytes at most for some slides."""


def slide_material(
    calibration: Sequence[Path], measure: Sequence[Path], wanted: TileInput
) -> Material:
    """Tiles of the slides in these folders, cut as `wanted` says. Raises TrainingError."""
    known = [_tiles(slide, wanted) for slide in _slides(calibration)]
    measured = [_tiles(slide, wanted) for slide in _slides(measure)]
    ends = np.cumsum([0, *(len(tiles) for tiles in measured)])
    return Material(
        calibration=np.concatenate(known),
        held_out=np.concatenate(measured),
        bags=[np.arange(a, b) for a, b in pairwise(ends.tolist())],
        told=f"{len(measured)} slides, {ends[-1]} tiles; calibrated on {len(known)} others",
    )


def _slides(places: Sequence[Path]) -> list[tuple[Path, ...]]:
    return [tuple(slide.paths) for slide in find_slides(places)]


def _tiles(paths: Sequence[Path], wanted: TileInput) -> NDArray[np.uint8]:
    """At most _MOST_TILES tiles [N, H, W, 3] of a slide, evenly over its tissue."""
    try:
        coarsest = wanted.mpp * (1 + wanted.mpp_tolerance)
        with open_slide(paths, icc=wanted.icc, coarsest_mpp=coarsest) as slide:
            source = plan_tiles(slide, wanted, ()).sources[0]
            step = -(-len(source.cells) // _MOST_TILES)
            batches = stream(source.level, source.grid, source.cells[::step], wanted.batch)
            found = [batch.pixels.copy() for batch in batches]
    except (SlideError, ValueError) as error:
        raise TrainingError(f"{paths[0]}: {error}; leave this slide out") from error
    if not found:
        raise TrainingError(f"{paths[0]}: found no tissue, expected some; leave this slide out")
    return np.concatenate(found)
