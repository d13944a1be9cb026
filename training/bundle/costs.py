"""What a form of an encoder costs against fp32, in the units of the manifest's limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from engines.manifest.outputs import HeatmapOutput
from engines.runtime import Runtime
from inference.seen import COARSE, POSITIONS, aggregator_inputs
from training.errors import TrainingError

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Bag:
    """The tiles of a slide: indices into all tiles, and where each lies."""

    tiles: NDArray[np.intp]
    """[N] of the grid, the finer one of a student of two magnifications."""
    cells: NDArray[np.int32] | None = None
    """[N, 2] row and column in the grid; None where tiles are of no place."""
    coarse: NDArray[np.intp] | None = None
    """[M] of the coarser grid; None where there is one grid."""
    coarse_cells: NDArray[np.int32] | None = None
    """[M, 2]."""

    @property
    def sources(self) -> list[tuple[NDArray[np.intp], NDArray[np.int32]]]:
        """Tiles and their places, by grid, the finer first."""
        grids = [(self.tiles, self.cells), (self.coarse, self.coarse_cells)]
        return [
            (tiles, np.zeros((len(tiles), 2), np.int32) if cells is None else cells)
            for tiles, cells in grids
            if tiles is not None
        ]


Bags = Sequence[Bag]
"""Slides."""


@dataclass(frozen=True)
class Costs:
    """The worst of all slides; the meaning of each figure is that of `Precision`."""

    score_shift: float
    heatmap_spearman: float
    tile_classes: float


def costs(exact: Runtime, found: Tensors, wanted: Tensors, bags: Bags) -> Costs:
    """Of slides; `found` and `wanted` are the encoder's outputs of all tiles, by tensor.

    Raises TrainingError where the student takes a second magnification, or the places of tiles,
    and the slides have none.
    """
    for bag in bags[:1]:
        _require_what_is_taken(exact, bag)
    slides = [_shifts(exact, found, wanted, bag) for bag in bags]
    kept = [_kept(exact, found, wanted, bag) for bag in bags]
    return Costs(max(s for s, _ in slides), min(rank for _, rank in slides), min(kept))


def _shifts(
    runtime: Runtime,
    found: Tensors,
    wanted: Tensors,
    bag: Bag,
) -> tuple[float, float]:
    """Largest shift of a slide's scores, and the least rank correlation of its heatmaps."""
    manifest = runtime.manifest
    answers = [_answer(runtime, values, bag) for values in (found, wanted)]
    shift = 0.0
    for score in manifest.scores:
        p = score.percentiles
        unit = 1.0 if p is None else max(p[75] - p[25], 1e-12)
        shift = max(
            shift, float(np.abs(answers[0][score.tensor] - answers[1][score.tensor]).max() / unit)
        )
    for curve in manifest.survivals:
        shift = max(shift, float(np.abs(answers[0][curve.tensor] - answers[1][curve.tensor]).max()))
    for classes in manifest.classifications:
        a, b = answers[0][classes.tensor], answers[1][classes.tensor]
        shift = max(shift, float(np.abs(a - b).max()))
    ranks = [_rank(h, answers[0], answers[1]) for h in manifest.heatmaps]
    return shift, min(ranks, default=1.0)


def _answer(runtime: Runtime, values: Tensors, bag: Bag) -> Tensors:
    """What aggregator and encoder say of a slide, by tensor; of tiles, those of the finer grid."""
    by_source = [{n: all_[tiles] for n, all_ in values.items()} for tiles, _ in bag.sources]
    cells = [cells for _, cells in bag.sources]
    inputs = aggregator_inputs(runtime.manifest, cells, by_source)
    return {**runtime.run("aggregator", inputs), **by_source[0]}


def _require_what_is_taken(runtime: Runtime, bag: Bag) -> None:
    """TrainingError where the aggregator takes what the tiles do not have."""
    name = runtime.manifest.name
    taken = [t.name for t in runtime.manifest.graphs["aggregator"].inputs]
    if bag.coarse is None and any(tensor.endswith(COARSE) for tensor in taken):
        raise TrainingError(
            f"bundle {name}: found tiles of one magnification, expected two: it reads both; "
            "measure it on slides (dicom-train precisions)"
        )
    if bag.cells is None and any(tensor.removesuffix(COARSE) == POSITIONS for tensor in taken):
        raise TrainingError(
            f"bundle {name}: found tiles of no place, expected row and column of each: it reads "
            "them; measure it on slides (dicom-train precisions)"
        )


def _kept(
    runtime: Runtime,
    found: Tensors,
    wanted: Tensors,
    bag: Bag,
) -> float:
    """Least share of a slide's tiles that keep their class, over the encoder's maps of classes."""
    maps = [m for m in runtime.manifest.class_maps if m.graph == "encoder"]
    at = bag.tiles
    same = [found[m.tensor][at].argmax(1) == wanted[m.tensor][at].argmax(1) for m in maps]
    return min((float(kept.mean()) for kept in same), default=1.0)


def _rank(heatmap: HeatmapOutput, found: Tensors, wanted: Tensors) -> float:
    a, b = found[heatmap.tensor].ravel(), wanted[heatmap.tensor].ravel()
    if np.ptp(a) == 0 or np.ptp(b) == 0:  # a flat heatmap has no ranks
        return float(np.array_equal(a, b))
    return float(spearmanr(a, b).statistic)
