"""Between what ends the numbers of a slide lie, as far as a student says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.manifest.outputs import ClassOutput, ScoreOutput, SurvivalOutput
from engines.manifest.uncertainty import Ensemble, Interval
from engines.manifest.whole import Manifest

Ends = tuple[tuple[float, float], ...]
"""Low and high of each number of an output: one of a score, one for each time of a curve or for
each class."""
_Number = ScoreOutput | SurvivalOutput | ClassOutput


def intervals(manifest: Manifest, outputs: Mapping[str, NDArray[Any]]) -> dict[str, Ends]:
    """By output name, for scores, curves and classes that have one; `outputs` by tensor of the
    aggregator.

    Of an ensemble, the least and the greatest that a member says. Probabilities stay in [0, 1].
    """
    found = {}
    for output in _numbers(manifest):
        ends = _ends(output, outputs)
        if ends is not None:
            low, high = ends
            if not isinstance(output, ScoreOutput):
                low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
            found[output.name] = tuple(zip(low.tolist(), high.tolist(), strict=True))
    return found


def wrong_interval(manifest: Manifest, outputs: Mapping[str, NDArray[Any]]) -> str:
    """Name of an output whose number lies outside of its own interval or has none; else empty."""
    for output in _numbers(manifest):
        ends = _ends(output, outputs)
        if ends is None:
            continue
        value = np.asarray(outputs[output.tensor], np.float64).reshape(-1)
        low, high = ends
        if low.shape != value.shape or not np.all((low <= value) & (value <= high)):
            return output.name
    return ""


def _numbers(manifest: Manifest) -> tuple[_Number, ...]:
    return (*manifest.scores, *manifest.survivals, *manifest.classifications)


def _ends(
    output: _Number, outputs: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    known = output.uncertainty
    value = np.asarray(outputs[output.tensor], np.float64).reshape(-1)
    if isinstance(known, Ensemble):
        members = np.asarray(outputs[known.tensor], np.float64)
        members = members.reshape(len(members), -1)
        return members.min(0), members.max(0)
    if not isinstance(known, Interval):
        return None
    if known.half_width is not None:
        return value - known.half_width, value + known.half_width
    low, high = (
        np.asarray(outputs[name], np.float64).reshape(-1)
        for name in (known.low_tensor or "", known.high_tensor or "")
    )
    return low, high
