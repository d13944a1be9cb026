"""Cheaper forms of an encoder: what each costs against fp32, and what it may cost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engines.manifest.values import Strict
from engines.names import CPU_ENGINES, Engine


class PrecisionLimits(Strict):
    """What a cheaper precision may cost at most before the node may use it."""

    feature_cosine: Annotated[float, Field(gt=0, le=1)] = 0.99
    """Least."""
    score_shift: Annotated[float, Field(ge=0)] = 0.005
    """Most."""
    heatmap_spearman: Annotated[float, Field(gt=0, le=1)] = 0.999
    """Least."""
    tile_classes: Annotated[float, Field(gt=0, le=1)] = 0.97
    """Least."""


class Precision(Strict):
    """One form of the encoder on some engines, and what it costs against fp32 of the CPU.

    The aggregator always runs in fp32: it is a hundredth of the time and decides the scores.
    """

    name: Literal["fp32", "bf16", "fp16", "int8"]
    """fp32 has a row only for engines other than the CPU's: it is what the others are measured by.
    """
    engines: Annotated[tuple[Engine, ...], Field(min_length=1)]
    """What runs this form; another engine may have a row of the same name and another file."""
    hardware: str = ""
    """What the cost was measured on: a CPU's instructions or a GPU's compute capability."""
    file: str | None = None
    """Its ONNX file; without one the engine computes the fp32 graph in this precision."""
    feature_cosine: Annotated[float, Field(ge=-1, le=1)]
    """Smallest cosine between a tile's features and its fp32 features."""
    score_shift: Annotated[float, Field(ge=0)]
    """Largest absolute difference of a slide's scores, survival and class probabilities.

    A score's difference is in units of its interquartile range in the reference cohort
    (percentiles 25 to 75), or in its own unit where it has no percentiles.
    """
    class_changes: Annotated[int, Field(ge=0)] = 0
    """Slides whose predicted class changed."""
    heatmap_spearman: Annotated[float, Field(ge=-1, le=1)]
    """Smallest rank correlation of a slide's heatmap with its fp32 heatmap."""
    tile_classes: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Smallest share of a slide's tiles whose most probable class is that of fp32: what a map of
    classes has to keep in place of ranks, which its rare classes have none of."""
    data: str
    """On which tiles and slides this was measured."""
    tolerance: dict[str, Annotated[float, Field(gt=0)]]
    """Largest absolute probe difference per `encoder/<tensor>`, in place of `probe.tolerance`;
    tensors of the aggregator may be named too."""

    @model_validator(mode="after")
    def _only_bf16_needs_no_file(self) -> Precision:
        if self.file is None and self.name in {"fp16", "int8"}:
            raise ValueError(f"precision {self.name}: expected a file, found none")
        if self.name == "fp32" and (self.file is not None or set(self.engines) & set(CPU_ENGINES)):
            raise ValueError(
                "precision fp32: expected no file and no engine of a CPU: it is the graph itself"
            )
        return self

    def within(self, limits: PrecisionLimits) -> str:
        """Empty inside of the limits; else the sentence that says which figure is outside."""
        if self.feature_cosine < limits.feature_cosine:
            return (
                f"{self.name}: feature cosine {self.feature_cosine:.4g} is below the bundle's "
                f"limit {limits.feature_cosine:.4g}"
            )
        if self.score_shift > limits.score_shift:
            return (
                f"{self.name}: score shift {self.score_shift:.3g} is above the bundle's limit "
                f"{limits.score_shift:.3g}"
            )
        if self.class_changes:
            return f"{self.name}: the predicted class of {self.class_changes} slide(s) changed"
        if self.heatmap_spearman < limits.heatmap_spearman:
            return (
                f"{self.name}: heatmap rank correlation {self.heatmap_spearman:.5g} is below the "
                f"bundle's limit {limits.heatmap_spearman:.5g}"
            )
        if self.tile_classes < limits.tile_classes:
            return (
                f"{self.name}: share of tiles that keep their class {self.tile_classes:.4g} is "
                f"below the bundle's limit {limits.tile_classes:.4g}"
            )
        return ""
