"""How well a number of a student is known. Each output says it, or says that nobody knows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engines.manifest.values import Strict


class Unknown(Strict):
    """Nobody knows; a report says so."""

    how: Literal["unknown"] = "unknown"


class Interval(Strict):
    """An interval around the number: two tensors of the aggregator, or one constant half width."""

    how: Literal["interval"]
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    low_tensor: str | None = None
    high_tensor: str | None = None
    """Of the shape of the number's own tensor."""
    half_width: Annotated[float, Field(gt=0)] | None = None
    """In the number's own unit."""
    source: str
    """What the interval is of, in words for a report: "patients of the cohort resampled"."""

    @model_validator(mode="after")
    def _one_way(self) -> Interval:
        tensors = (self.low_tensor is not None) + (self.high_tensor is not None)
        if (tensors, self.half_width is not None) not in {(2, False), (0, True)}:
            raise ValueError("interval: expected low_tensor and high_tensor, or half_width")
        return self


class Ensemble(Strict):
    """What each member of an ensemble says: a [K, ...] tensor of the aggregator."""

    how: Literal["ensemble"]
    tensor: str
    source: str
    """What the members differ in, in words for a report."""


class Calibrated(Strict):
    """Measured agreement of predicted and observed probabilities."""

    how: Literal["calibration"]
    slope: float
    intercept: float
    data: str
    count: Annotated[int, Field(ge=1)]


Uncertainty = Annotated[Unknown | Interval | Ensemble | Calibrated, Field(discriminator="how")]
