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
from training.errors import TrainingError

Tensors = Mapping[str, NDArray[Any]]
Bags = Sequence[NDArray[np.intp]]
"""Slides: indices into tiles."""


@dataclass(frozen=True)
class Costs:
    """The worst of all slides; the meaning of each figure is that of `Precision`."""

    score_shift: float
    heatmap_spearman: float
    tile_classes: float


def costs(exact: Runtime, found: Tensors, wanted: Tensors, bags: Bags) -> Costs:
    """Of slides; `found` and `wanted` are the encoder's outputs of all tiles, by tensor.

    Raises TrainingError for a student of two magnifications.
    """
    slides = [_shifts(exact, found, wanted, bag) for bag in bags]
    kept = [_kept(exact, found, wanted, bag) for bag in bags]
    return Costs(max(s for s, _ in slides), min(rank for _, rank in slides), min(kept))


def _shifts(
    runtime: Runtime,
    found: Tensors,
    wanted: Tensors,
    bag: NDArray[np.intp],
) -> tuple[float, float]:
    """Largest shift of a slide's scores, and the least rank correlation of its heatmaps."""
    manifest = runtime.manifest
    inputs = [t.name for t in manifest.graphs["aggregator"].inputs]
    if missing := sorted(set(inputs) - set(wanted)):
        raise TrainingError(
            f"bundle {manifest.name}: found aggregator inputs {missing}, expected encoder outputs "
            "of one magnification: its precisions cannot be measured on bags of tiles"
        )
    answers = [
        {**runtime.run("aggregator", {n: values[n][bag] for n in inputs}),
         **{n: values[n][bag] for n in values}}
        for values in (found, wanted)
    ]  # fmt: skip
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


def _kept(
    runtime: Runtime,
    found: Tensors,
    wanted: Tensors,
    bag: NDArray[np.intp],
) -> float:
    """Least share of a slide's tiles that keep their class, over the encoder's maps of classes."""
    maps = [m for m in runtime.manifest.class_maps if m.graph == "encoder"]
    same = [found[m.tensor][bag].argmax(1) == wanted[m.tensor][bag].argmax(1) for m in maps]
    return min((float(kept.mean()) for kept in same), default=1.0)


def _rank(heatmap: HeatmapOutput, found: Tensors, wanted: Tensors) -> float:
    a, b = found[heatmap.tensor].ravel(), wanted[heatmap.tensor].ravel()
    if np.ptp(a) == 0 or np.ptp(b) == 0:  # a flat heatmap has no ranks
        return float(np.array_equal(a, b))
    return float(spearmanr(a, b).statistic)
