"""What the numbers of a student mean: each output of its graphs."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from engines.values import Code, Strict


class ScoreOutput(Strict):
    """A number for the whole slide, from a scalar (or [1]) tensor of the aggregator."""

    kind: Literal["score"]
    name: str
    tensor: str
    code: Code
    unit: Code
    direction: Literal["higher-is-worse", "higher-is-better", "none"]
    percentiles: tuple[float, ...] | None = None
    """Score at percentiles 0..100 (101 values, ascending) of the reference cohort."""

    @model_validator(mode="after")
    def _percentiles_ascend(self) -> ScoreOutput:
        p = self.percentiles
        if p is not None and (len(p) != 101 or any(a > b for a, b in pairwise(p))):
            raise ValueError(f"percentiles of {self.name}: expected 101 ascending values")
        return self


class SurvivalOutput(Strict):
    """Survival probabilities at fixed times, from a [T] tensor of the aggregator."""

    kind: Literal["survival"]
    name: str
    tensor: str
    times_months: tuple[float, ...]
    codes: tuple[Code, ...]

    @model_validator(mode="after")
    def _one_code_a_time(self) -> SurvivalOutput:
        if len(self.codes) != len(self.times_months):
            raise ValueError(
                f"{self.name}: {len(self.times_months)} times but {len(self.codes)} codes"
            )
        return self


class HeatmapOutput(Strict):
    """One value in [0, 1] per tile, from an [N] tensor of the encoder or the aggregator."""

    kind: Literal["heatmap"]
    name: str
    graph: Literal["encoder", "aggregator"]
    tensor: str
    category: Code
    type: Code
    description: Annotated[str, Field(max_length=1024)]
    """How the values came about, for Content Description."""
    top_patches: Annotated[int, Field(ge=0, le=20)] = 5


Output = Annotated[ScoreOutput | SurvivalOutput | HeatmapOutput, Field(discriminator="kind")]
