"""What a form of an encoder costs against fp32, in the units of the manifest's limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from engines.manifest.outputs import HeatmapOutput
from engines.manifest.whole import Manifest
from engines.runtime import Runtime
from inference.outputs.classification import probabilities_of, standing
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
    """The worst of all slides, and how many of them changed their class; the meaning of each figure
    is that of `Precision`."""

    score_shift: float
    class_changes: int
    heatmap_spearman: float
    tile_classes: float


def costs(exact: Runtime, found: Tensors, wanted: Tensors, bags: Bags) -> Costs:
    """Of slides; `found` and `wanted` are the encoder's outputs of all tiles, by tensor.

    Raises TrainingError where the student takes a second magnification, or the places of tiles,
    and the slides have none; and where it gives what is no number, which is in no limit.
    """
    for bag in bags[:1]:
        _require_what_is_taken(exact, bag)
    slides = [_of_slide(exact, found, wanted, bag) for bag in bags]
    return Costs(
        score_shift=max(slide.score_shift for slide in slides),
        class_changes=sum(slide.class_changes for slide in slides),
        heatmap_spearman=min(slide.heatmap_spearman for slide in slides),
        tile_classes=min(slide.tile_classes for slide in slides),
    )


def _of_slide(runtime: Runtime, found: Tensors, wanted: Tensors, bag: Bag) -> Costs:
    manifest = runtime.manifest
    cheap, exact = (_answer(runtime, values, bag) for values in (found, wanted))
    ranks = [_rank(heatmap, cheap, exact) for heatmap in manifest.heatmaps]
    return Costs(
        score_shift=_shift(manifest, cheap, exact),
        class_changes=int(_named(manifest, cheap) != _named(manifest, exact)),
        heatmap_spearman=min(ranks, default=1.0),
        tile_classes=_kept(runtime, found, wanted, bag),
    )


def _shift(manifest: Manifest, found: Tensors, wanted: Tensors) -> float:
    """Largest shift of a slide's scores and probabilities."""
    shift = 0.0
    for score in manifest.scores:
        p = score.percentiles
        unit = 1.0 if p is None else max(p[75] - p[25], 1e-12)
        shift = max(shift, float(np.abs(found[score.tensor] - wanted[score.tensor]).max() / unit))
    chances = [curve.tensor for curve in manifest.survivals]
    chances += [output.tensor for output in manifest.classifications]
    for tensor in chances:
        shift = max(shift, float(np.abs(found[tensor] - wanted[tensor]).max()))
    return shift


def _named(manifest: Manifest, said: Tensors) -> list[int | None]:
    """Of each output of classes the place of the class that a report would name."""
    return [
        standing(output, probabilities_of(said[output.tensor])).named
        for output in manifest.classifications
    ]


def _answer(runtime: Runtime, values: Tensors, bag: Bag) -> Tensors:
    """What aggregator and encoder say of a slide, by tensor; of tiles, those of the finer grid."""
    by_source = [{n: all_[tiles] for n, all_ in values.items()} for tiles, _ in bag.sources]
    cells = [cells for _, cells in bag.sources]
    inputs = aggregator_inputs(runtime.manifest, cells, by_source)
    return {**require_numbers(runtime.run("aggregator", inputs)), **by_source[0]}


def require_numbers(found: Tensors) -> Tensors:
    """TrainingError for a value that is none."""
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise TrainingError(
                f"{name}: found a value that is no number, expected numbers alone; leave this "
                "precision out"
            )
    return found


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
