"""`manifest.json` of a student bundle: what the graphs compute and what their numbers mean.

Unknown keys are refused: a key this version does not understand could change a result.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Code(_Strict):
    """A coded concept (PS3.3 8.8): value, coding scheme designator, meaning."""

    value: str
    scheme: str
    meaning: Annotated[str, Field(max_length=64)]


class Tensor(_Strict):
    """One input or output of a graph. A dimension is a size or the name of a dynamic axis."""

    name: str
    dtype: Literal["uint8", "float32", "int64"]
    shape: tuple[int | str, ...]


class Graph(_Strict):
    """One ONNX file and its tensors."""

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class TileInput(_Strict):
    """Tiles the encoder takes: uint8 RGB [N, tile_px, tile_px, 3] at `mpp` um per pixel."""

    tile_px: Annotated[int, Field(ge=32, le=1024)]
    mpp: Annotated[float, Field(gt=0.05, lt=10)]
    mpp_tolerance: Annotated[float, Field(ge=0, le=0.5)]
    """Relative spacing difference up to which level pixels are used without resampling."""
    batch: Annotated[int, Field(ge=1, le=1024)] = 32


class ScoreOutput(_Strict):
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


class SurvivalOutput(_Strict):
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


class HeatmapOutput(_Strict):
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


class Finding(_Strict):
    """The finding that the slide-level scores describe, and the cohort they were fitted on."""

    code: Code
    reference_cohort: str


class Applicability(_Strict):
    """Where the student may be used. Empty `stains` means: the stain is not checked."""

    minimum_tissue_mm2: Annotated[float, Field(ge=0)]
    minimum_tiles: Annotated[int, Field(ge=1)] = 1
    stains: tuple[Code, ...] = ()
    organs: tuple[Code, ...] = ()


class OutOfDistribution(_Strict):
    """Mean tile feature of the training slides: a slide farther than `limit` is flagged.

    Distance = root mean square over D of (slide mean feature - mean) / std.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    limit: Annotated[float, Field(gt=0)]


class Metric(_Strict):
    """One figure of the training report with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    data: str


class Training(_Strict):
    """Where the weights come from."""

    digest: str
    data: tuple[str, ...]
    simulated: str
    metrics: tuple[Metric, ...]


class Probe(_Strict):
    """The exam every runtime sits when it opens the bundle.

    The file holds arrays named `<graph>/in/<tensor>` and `<graph>/out/<tensor>`; `tolerance` is
    the largest absolute difference allowed per `<graph>/<tensor>`.
    """

    file: str
    tolerance: dict[str, Annotated[float, Field(gt=0)]]


class Manifest(_Strict):
    """Everything the node knows about a student. It knows no method by name."""

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    title: Annotated[str, Field(max_length=64)]
    manufacturer: Annotated[str, Field(max_length=64)]
    status: Literal["research", "product"]
    intended_use: str
    input: TileInput
    graphs: dict[str, Graph]
    """Exactly `encoder` (tiles to features) and `aggregator` (features to outputs)."""
    finding: Finding
    outputs: tuple[Output, ...]
    applicability: Applicability
    out_of_distribution: OutOfDistribution | None = None
    training: Training
    probe: Probe

    @model_validator(mode="after")
    def _outputs_name_tensors(self) -> Manifest:
        if set(self.graphs) != {"encoder", "aggregator"}:
            raise ValueError(
                f"graphs: expected encoder and aggregator, found {sorted(self.graphs)}"
            )
        for output in self.outputs:
            graph = output.graph if isinstance(output, HeatmapOutput) else "aggregator"
            if output.tensor not in {t.name for t in self.graphs[graph].outputs}:
                raise ValueError(
                    f"output {output.name}: graph {graph} has no tensor {output.tensor}"
                )
        tolerances = {f"{g}/{t.name}" for g, graph in self.graphs.items() for t in graph.outputs}
        if set(self.probe.tolerance) != tolerances:
            raise ValueError(f"probe.tolerance must name exactly {sorted(tolerances)}")
        return self

    @property
    def scores(self) -> tuple[ScoreOutput, ...]:
        """Slide-level scores in the order of the manifest."""
        return tuple(o for o in self.outputs if isinstance(o, ScoreOutput))

    @property
    def survivals(self) -> tuple[SurvivalOutput, ...]:
        """Survival curves in the order of the manifest."""
        return tuple(o for o in self.outputs if isinstance(o, SurvivalOutput))

    @property
    def heatmaps(self) -> tuple[HeatmapOutput, ...]:
        """Heatmaps in the order of the manifest."""
        return tuple(o for o in self.outputs if isinstance(o, HeatmapOutput))
