"""What the numbers of a student mean: each output of its graphs."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from engines.manifest.uncertainty import Ensemble, Interval, Uncertainty, Unknown
from engines.manifest.values import Code, Strict


class _Named(Strict):
    """What every output says."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^/\\\x00-\x1f\x7f]+$")]
    """Part of the names of files: without slashes and control characters."""
    uncertainty: Uncertainty = Unknown()

    def tensors(self) -> tuple[str, ...]:
        """Tensors of the aggregator that say how well the number is known."""
        known = self.uncertainty
        if isinstance(known, Interval) and known.low_tensor and known.high_tensor:
            return (known.low_tensor, known.high_tensor)
        return (known.tensor,) if isinstance(known, Ensemble) else ()


class ScoreOutput(_Named):
    """A number for the whole slide, from a scalar (or [1]) tensor of the aggregator."""

    kind: Literal["score"]
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


class SurvivalOutput(_Named):
    """Survival probabilities at fixed times, from a [T] tensor of the aggregator."""

    kind: Literal["survival"]
    tensor: str
    times_months: tuple[float, ...]
    codes: tuple[Code, ...]

    @model_validator(mode="after")
    def _one_code_a_time(self) -> SurvivalOutput:
        times = self.times_months
        if any(time <= 0 for time in times) or any(a >= b for a, b in pairwise(times)):
            raise ValueError(
                f"{self.name}: found times {', '.join(f'{time:g}' for time in times)} months, "
                "expected each above 0 and above the one before"
            )
        if len(self.codes) != len(self.times_months):
            raise ValueError(
                f"{self.name}: {len(self.times_months)} times but {len(self.codes)} codes"
            )
        return self


class ClassOutput(_Named):
    """Calibrated probabilities of classes that exclude each other, from a [C] tensor."""

    kind: Literal["class"]
    tensor: str
    code: Code
    """Of what is told apart, such as a diagnosis or a grade."""
    classes: Annotated[tuple[Code, ...], Field(min_length=2, max_length=32)]
    """In the order of the tensor; the student knows no others."""
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """A class of a lower probability is never named; 0: no such limit is stated."""
    organs: tuple[Code, ...] = ()
    """Where it was measured, as organs of `applicability`; empty: everywhere. A slide of another
    organ, or of none that is certain, gets no class, and no case in which there is one does."""

    @model_validator(mode="after")
    def _classes_are_told_apart(self) -> ClassOutput:
        meanings = [code.meaning for code in self.classes]
        codes = [(code.value, code.scheme) for code in self.classes]
        if len(set(meanings)) != len(meanings) or len(set(codes)) != len(codes):
            raise ValueError(
                f"{self.name}: expected classes of different codes and meanings, found "
                + ", ".join(f"{c.meaning} ({c.value}, {c.scheme})" for c in self.classes)
            )
        return self


class HeatmapOutput(_Named):
    """A map: values in [0, 1] per tile, from an [N] or [N, C] tensor of either graph."""

    kind: Literal["map"]
    shows: Literal["finding", "attention"]
    """Attention is where a model looked: a map of its own, never a finding."""
    graph: Literal["encoder", "aggregator"]
    tensor: str
    category: Code
    type: Code
    description: Annotated[str, Field(max_length=1024)]
    """How the values came about, for Content Description."""
    classes: Annotated[tuple[Code, ...], Field(max_length=32)] = ()
    """Of the second axis of a [N, C] tensor, whose rows sum to 1; empty for [N]."""
    background: tuple[str, ...] = ()
    """Meanings of classes that are no tissue: never drawn, and never part of a measure."""
    organs: tuple[Code, ...] = ()
    """Where it was measured, as organs of `applicability`; empty: everywhere. A slide that names no
    organ gets a map of one value all the same, with a caution, and no map of classes."""
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """At and above it a tile belongs to the region that is drawn; None where there is none."""
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Below it nothing is stored."""
    top_patches: Annotated[int, Field(ge=0, le=20)] = 5
    """Of a map of one value; a map of classes has no highest places."""

    @model_validator(mode="after")
    def _classes_are_told_apart(self) -> HeatmapOutput:
        meanings = [code.meaning for code in self.classes]
        if not meanings and self.background:
            raise ValueError(f"{self.name}: expected `background` only with `classes`")
        if not meanings:
            return self
        if len(set(meanings)) != len(meanings) or len(meanings) < 2:
            raise ValueError(
                f"{self.name}: expected two or more classes of different meanings, found "
                f"{', '.join(meanings)}"
            )
        unknown = set(self.background) - set(meanings)
        if unknown or not self.tissue:
            raise ValueError(
                f"{self.name}: expected as background some of its classes and not all, found "
                f"{', '.join(self.background)}"
            )
        if self.threshold is not None or self.floor or self.shows != "finding":
            raise ValueError(
                f"{self.name}: a map of classes shows a finding, without threshold and floor: each "
                "tile is of its most probable class"
            )
        return self

    @property
    def tissue(self) -> tuple[Code, ...]:
        """Its classes that are tissue, in their order."""
        return tuple(code for code in self.classes if code.meaning not in self.background)


_UNITS = {"area": {"mm2"}, "share": {"%", "1"}, "ratio": {"{ratio}", "1"}}
"""UCUM, by quantity."""


class MeasureOutput(_Named):
    """A quantity of tissue counted over the tiles of a map of classes.

    A tile belongs to its most probable class, and is as large as its place in the grid.
    """

    kind: Literal["measure"]
    code: Code
    unit: Code
    quantity: Literal["area", "share", "ratio"]
    """mm2 of the tiles of `classes`; their share of all tissue; their ratio to those of `over`."""
    map: str
    """Name of the map that is counted: each tile belongs to its most probable class."""
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    """Meanings of its classes."""
    over: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    """Where it is counted: in tiles of these classes and in the eight around each; empty:
    everywhere."""
    organs: tuple[Code, ...] = ()
    """Where it was measured, as organs of `applicability`; empty: everywhere."""
    least_tiles: Annotated[int, Field(ge=1)] = 10
    """A share or a ratio of fewer tiles is not told."""

    @model_validator(mode="after")
    def _a_ratio_has_two_sides(self) -> MeasureOutput:
        if bool(self.over) != (self.quantity == "ratio"):
            raise ValueError(f"{self.name}: expected `over` for a ratio and only there")
        if set(self.over) & set(self.classes):
            raise ValueError(f"{self.name}: expected other classes in `over` than in `classes`")
        return self

    @model_validator(mode="after")
    def _its_unit_is_that_of_its_quantity(self) -> MeasureOutput:
        if self.unit.scheme != "UCUM" or self.unit.value not in _UNITS[self.quantity]:
            raise ValueError(
                f"{self.name}: found unit {self.unit.value} ({self.unit.scheme}), expected "
                f"{' or '.join(sorted(_UNITS[self.quantity]))} of UCUM for {self.quantity}"
            )
        return self

    @model_validator(mode="after")
    def _it_is_known_by_a_constant_or_not(self) -> MeasureOutput:
        known = self.uncertainty
        is_constant = isinstance(known, Interval) and known.half_width is not None
        if not (is_constant or isinstance(known, Unknown)):
            found = "interval of two tensors" if isinstance(known, Interval) else known.how
            raise ValueError(
                f"{self.name}: found uncertainty {found}, expected unknown or an interval with "
                "half_width: a measure is counted and comes from no tensor"
            )
        return self


Output = Annotated[
    ScoreOutput | SurvivalOutput | ClassOutput | HeatmapOutput | MeasureOutput,
    Field(discriminator="kind"),
]
