"""Numbers of a report: how many digits, how well each is known, and tiles above a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from engines.manifest.outputs import HeatmapOutput
from engines.manifest.uncertainty import Calibrated, Ensemble, Interval, Uncertainty
from engines.manifest.whole import Manifest
from inference.types import Heatmap, Prediction

_FARTHEST = math.log((1 - 1e-6) / 1e-6)
"""Logit of the highest probability that a calibration tells from 1; that of the lowest is its
negative."""


def rounded(value: float, *, digits: int = 3) -> float | int:
    """`value` to `digits` significant digits; more would claim a precision no model has."""
    if not math.isfinite(value):
        raise ValueError(f"found {value}, expected a finite number: report NotAssessable instead")
    number = float(f"{value:.{digits}g}")
    return int(number) if number.is_integer() else number


def percent(share: float) -> float | int:
    """A share in [0, 1] as percent; ValueError for another number."""
    if not 0 <= share <= 1:
        raise ValueError(f"found probability {share}, expected [0, 1]")
    return rounded(float(Decimal(repr(float(share))) * 100))


def rank(percentile: float) -> int:
    """How many of 100 a score is above, whole ones: what is rounded up would be above its own
    equals. The reference table has steps of one percent."""
    return math.floor(percentile)


def known(uncertainty: Uncertainty, ends: tuple[float, float] | None, unit: str = "") -> str:
    """What is known of a number: its interval, its calibration, or nothing."""
    if isinstance(uncertainty, Calibrated):
        return f"interval not known; calibration: {calibration(uncertainty).rstrip('.')}"
    if ends is None or not isinstance(uncertainty, Interval | Ensemble):
        return "uncertainty: not known"
    low, high = (rounded(end) for end in ends)
    if isinstance(uncertainty, Ensemble):
        return f"members of an ensemble say {low} to {high}{unit}; {uncertainty.source}"
    return f"{100 * uncertainty.level:g} % interval {low} to {high}{unit}; {uncertainty.source}"


def calibration(uncertainty: Uncertainty, *, of_classes: bool = False) -> str:
    """How far a probability may be taken as it is. Those `of_classes` are 1 together: where one is
    too high, another is too low."""
    if not isinstance(uncertainty, Calibrated):
        return "not known."
    tendency = "" if of_classes else _tendency(uncertainty)
    return (
        f"slope {uncertainty.slope:.2f} and intercept {uncertainty.intercept:.2f} (1 and 0 would "
        f"be perfect{tendency}), on {uncertainty.count} of: {uncertainty.data}."
    )


def _tendency(uncertainty: Calibrated) -> str:
    """On which side of what came true the values lie, where that is one side for all of them.

    The intercept of a line alone does not say it: unless the slope is 1, values on both sides of
    where the line meets that of perfect ones err in opposite directions.
    """
    ends = [
        (uncertainty.slope - 1) * logit + uncertainty.intercept for logit in (-_FARTHEST, _FARTHEST)
    ]
    if max(ends) < 0:
        return ", the values are too high there"
    return ", the values are too low there" if min(ends) > 0 else ""


@dataclass(frozen=True, slots=True)
class Above:
    """The tiles of a map at and above its threshold."""

    threshold: float
    tiles: int
    of: int
    """Tiles with a value."""
    area_mm2: float
    """Of `tiles`, glass in them included."""

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self.tiles / self.of if self.of else 0.0


def above(heatmap: Heatmap, output: HeatmapOutput, result: Prediction) -> Above | None:
    """None for a map without a threshold."""
    if output.threshold is None:
        return None
    known = heatmap.values[~np.isnan(heatmap.values)]
    tiles = int((known >= output.threshold).sum())
    height, width = tile_mm(result)
    return Above(output.threshold, tiles, len(known), tiles * height * width)


def tile_mm(result: Prediction) -> tuple[float, float]:
    """Height and width of a tile on the slide."""
    geometry = result.geometry
    return (
        result.stride_px * geometry.spacing_row_mm,
        result.stride_px * geometry.spacing_col_mm,
    )


def heatmap_of(result: Prediction, output: HeatmapOutput) -> Heatmap:
    """The map that the manifest promises; ValueError where the result lacks it."""
    found = {heatmap.name: heatmap for heatmap in result.heatmaps}
    if output.name not in found:
        raise ValueError(f"the manifest promises {output.name}; the result holds {sorted(found)}")
    return found[output.name]


def told_maps(result: Prediction, manifest: Manifest) -> tuple[HeatmapOutput, ...]:
    """Maps of one value but those that must not speak of this slide."""
    return tuple(o for o in manifest.heatmaps if o.name not in result.not_assessed)


def findings_of(manifest: Manifest) -> tuple[HeatmapOutput, ...]:
    """Maps of findings: a map of attention is none."""
    return tuple(o for o in manifest.heatmaps if o.shows == "finding")
