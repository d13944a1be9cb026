"""A whole slide's results on an engine against those of the reference: what changing it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.here.records import ControlCost
from engines.manifest.precision import PrecisionLimits
from engines.manifest.whole import Manifest

_FAR = 1e9
"""In the place of what is no number: outside of every limit."""


class ControlUnusable(Exception):
    """The control slide gives no numbers; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class SlideAnswer:
    """What a student says of a slide, by output names of its manifest."""

    slide: str
    """What the slide is, for people."""
    scores: Mapping[str, float]
    survivals: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    probabilities: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Of each class."""
    classes: Mapping[str, str] = field(default_factory=dict)
    """The class that was predicted; empty where none stands out."""
    maps: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    """[R, C] each, NaN where nothing was analyzed."""
    tile_classes: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """[N] each, of maps of classes: the class of each tile analyzed, in raster order."""


def cost(manifest: Manifest, found: SlideAnswer, expected: SlideAnswer) -> ControlCost:
    """The differences, in the units of the manifest's limits."""
    shifts = [0.0]
    for score in manifest.scores:
        p = score.percentiles
        unit = 1.0 if p is None else max(p[75] - p[25], 1e-12)
        shifts.append(abs(found.scores[score.name] - expected.scores[score.name]) / unit)
    for name, curve in expected.survivals.items():
        shifts += [abs(a - b) for a, b in zip(found.survivals[name], curve, strict=True)]
    for name, chances in expected.probabilities.items():
        shifts += [abs(a - b) for a, b in zip(found.probabilities[name], chances, strict=True)]
    ranks = [_rank(found.maps[name], values) for name, values in expected.maps.items()]
    kept = [_kept(found.tile_classes[name], was) for name, was in expected.tile_classes.items()]
    return ControlCost(
        slide=expected.slide,
        score_shift=float(np.nan_to_num(np.max(shifts), nan=_FAR, posinf=_FAR)),
        class_changes=sum(found.classes[n] != said for n, said in expected.classes.items()),
        heatmap_spearman=min(ranks, default=1.0),
        tile_classes=min(kept, default=1.0),
    )


def outside(found: ControlCost, limits: PrecisionLimits) -> str:
    """Empty inside of what a cheaper precision may cost; else which figure is outside."""
    if not found.score_shift <= limits.score_shift:
        return (
            f"control slide: score shift {found.score_shift:.3g} is above the bundle's limit "
            f"{limits.score_shift:.3g}"
        )
    if found.class_changes:
        return "control slide: the predicted class changed"
    if not found.heatmap_spearman >= limits.heatmap_spearman:
        return (
            f"control slide: heatmap rank correlation {found.heatmap_spearman:.5g} is below the "
            f"bundle's limit {limits.heatmap_spearman:.5g}"
        )
    if not found.tile_classes >= limits.tile_classes:
        return (
            f"control slide: the share of tiles that keep their class {found.tile_classes:.4g} is "
            f"below the bundle's limit {limits.tile_classes:.4g}"
        )
    return ""


def _rank(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of the cells both have; -1 where they have others."""
    a, b = np.isfinite(found), np.isfinite(expected)
    if found.shape != expected.shape or not np.array_equal(a, b):
        return -1.0
    x, y = found[a].astype(np.float64), expected[b].astype(np.float64)
    if not len(x) or np.ptp(x) == 0 or np.ptp(y) == 0:  # a flat heatmap has no ranks
        return 1.0 if np.array_equal(x, y) else -1.0
    value = np.corrcoef(_ranks(x), _ranks(y))[0, 1]
    return float(np.clip(value, -1.0, 1.0))


def _kept(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    """Share of tiles with the same class; 0 where other tiles were analyzed."""
    return float(np.mean(found == expected)) if found.shape == expected.shape else 0.0


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[places])
