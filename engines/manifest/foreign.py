"""When a report may say that a slide is unlike the training slides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engines.manifest.values import Strict

LEAST_AUROC = 0.95
MOST_FALSE_ALARMS = 0.05
FEWEST_SOURCES = 20
"""Below this many ordinary sources a single false alarm is more than MOST_FALSE_ALARMS."""


class ForeignSlidesTold(Strict):
    """How well the distance told foreign slides from ordinary ones that did not set the limit.

    The unit of every count is a source (a slide or a series of pictures of one), never a tile.
    """

    auroc: Annotated[float, Field(ge=0, le=1)]
    false_alarms: Annotated[int, Field(ge=0)]
    """Ordinary sources over the limit, of `ordinary_count`."""
    ordinary_count: Annotated[int, Field(ge=1)]
    hits: Annotated[int, Field(ge=0)]
    """Foreign sources over the limit, of `foreign_count`."""
    foreign_count: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _parts_of_their_wholes(self) -> ForeignSlidesTold:
        for part, whole in (("false_alarms", "ordinary_count"), ("hits", "foreign_count")):
            if getattr(self, part) > getattr(self, whole):
                raise ValueError(
                    f"{part}: found {getattr(self, part)}, expected at most {whole} "
                    f"{getattr(self, whole)}"
                )
        return self

    @property
    def is_enough(self) -> bool:
        """Whether a reader may be told: the bar of the project, on enough sources to see it."""
        return (
            self.auroc >= LEAST_AUROC
            and self.false_alarms <= MOST_FALSE_ALARMS * self.ordinary_count
            and min(self.ordinary_count, self.foreign_count) >= FEWEST_SOURCES
        )


class OutOfDistribution(Strict):
    """Mean tile feature of the training slides: a slide farther than `limit` is unlike them.

    Distance = root mean square over D of (slide mean feature - mean) / std.
    """

    method: Literal["mean-feature-distance"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    limit: Annotated[float, Field(gt=0)]
    measured: ForeignSlidesTold | None = None
    """Without it nobody knows what the distance means, and no report says it."""

    @property
    def is_proven(self) -> bool:
        """Whether a report may say that a slide is unlike the training slides."""
        return self.measured is not None and self.measured.is_enough
