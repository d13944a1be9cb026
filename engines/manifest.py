"""`manifest.json` of a student bundle: what its graphs take and compute.

Unknown keys are refused: a key this version does not understand could change a result.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engines.foreign import OutOfDistribution
from engines.outputs import HeatmapOutput, Output, ScoreOutput, SurvivalOutput
from engines.precision import Precision, PrecisionLimits
from engines.values import Code, Strict


class Tensor(Strict):
    """One input or output of a graph. A dimension is a size or the name of a dynamic axis."""

    name: str
    dtype: Literal["uint8", "float32", "int64"]
    shape: tuple[int | str, ...]


class Graph(Strict):
    """One ONNX file and its tensors."""

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class TileInput(Strict):
    """Tiles the encoder takes: uint8 RGB [N, tile_px, tile_px, 3] at `mpp` um per pixel."""

    tile_px: Annotated[int, Field(ge=32, le=1024)]
    mpp: Annotated[float, Field(gt=0.05, lt=10)]
    mpp_tolerance: Annotated[float, Field(ge=0, le=0.5)]
    """Relative spacing difference up to which level pixels are used without resampling."""
    batch: Annotated[int, Field(ge=1, le=1024)] = 32
    """Tiles the encoder computes at once, on every engine; a last block is padded to it."""
    coarse_mpp: float | None = None
    """Second magnification of the same slide, a whole multiple of `mpp`: its tiles form a second,
    coarser grid."""
    icc: Literal["ignore", "srgb"] = "ignore"
    """Whether the slide's ICC profile is applied (to sRGB) before the graph sees pixels."""
    scaled_decoding: bool = False
    """Whether JPEG frames may be decoded at 1/2, 1/4 or 1/8 in the DCT domain instead of being
    resampled, where a level is 2, 4 or 8 times finer than `mpp`."""
    unreadable_tiles: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Tolerated share of tiles whose frames cannot be read; above it a slide is not assessable."""

    @model_validator(mode="after")
    def _coarse_is_a_multiple(self) -> TileInput:
        if self.coarse_mpp is not None:
            times = self.coarse_mpp / self.mpp
            if round(times) < 2 or abs(times - round(times)) > 1e-6 * times:
                raise ValueError(
                    f"coarse_mpp: found {self.coarse_mpp:g}, expected 2, 3, ... times mpp "
                    f"{self.mpp:g}"
                )
        return self


class Finding(Strict):
    """The finding that the slide-level scores describe, and the cohort they were fitted on."""

    code: Code
    reference_cohort: str


class Applicability(Strict):
    """Where the student may be used. Empty `stains` means: the stain is not checked."""

    minimum_tissue_mm2: Annotated[float, Field(ge=0)]
    minimum_tiles: Annotated[int, Field(ge=1)] = 1
    stains: tuple[Code, ...] = ()
    organs: tuple[Code, ...] = ()


class Metric(Strict):
    """One figure of the training report with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    data: str


class Training(Strict):
    """Where the weights come from."""

    digest: str
    data: tuple[str, ...]
    simulated: str
    metrics: tuple[Metric, ...]


class Probe(Strict):
    """The exam every runtime sits when it opens the bundle.

    The file holds arrays named `<graph>/in/<tensor>` and `<graph>/out/<tensor>`; `tolerance` is
    the largest absolute difference allowed per `<graph>/<tensor>`.
    """

    file: str
    tolerance: dict[str, Annotated[float, Field(gt=0)]]


class Manifest(Strict):
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
    """Exactly `encoder` (tiles to features) and `aggregator` (features to outputs).

    The aggregator's inputs are known by name: an output of the encoder over the fine grid
    [N, ...]; `<output>_coarse`, the same over the coarse grid [M, ...]; `positions` and
    `positions_coarse`, int64 [N, 2] and [M, 2], 0-based row and column in the grid.
    """
    finding: Finding
    outputs: tuple[Output, ...]
    applicability: Applicability
    out_of_distribution: OutOfDistribution | None = None
    training: Training
    probe: Probe
    precisions: tuple[Precision, ...] = ()
    precision_limits: PrecisionLimits = PrecisionLimits()
    shipped_precision: Literal["fp32", "bf16", "fp16", "int8"] = "fp32"
    """What the node uses where the engine can; fp32, the reference, where it cannot."""

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

    @model_validator(mode="after")
    def _encoder_works_tile_by_tile(self) -> Manifest:
        encoder = self.graphs["encoder"]
        for tensor in (*encoder.inputs, *encoder.outputs):
            if not tensor.shape or not isinstance(tensor.shape[0], str):
                raise ValueError(
                    f"encoder tensor {tensor.name}: found shape {list(tensor.shape)}, expected a "
                    "named axis of tiles first"
                )
        return self

    @model_validator(mode="after")
    def _aggregator_inputs_are_known(self) -> Manifest:
        known = {t.name: t for t in self.graphs["encoder"].outputs}
        known["positions"] = Tensor(name="positions", dtype="int64", shape=("N", 2))
        if self.input.coarse_mpp is not None:
            known |= {f"{name}_coarse": tensor for name, tensor in known.items()}
        for tensor in self.graphs["aggregator"].inputs:
            source = known.get(tensor.name)
            if source is None:
                raise ValueError(
                    f"aggregator input {tensor.name}: expected one of {', '.join(sorted(known))} "
                    "(coarse ones only with input.coarse_mpp)"
                )
            if tensor.dtype != source.dtype or tensor.shape[1:] != source.shape[1:]:
                raise ValueError(
                    f"aggregator input {tensor.name}: found {tensor.dtype} {list(tensor.shape)}, "
                    f"expected {source.dtype} {list(source.shape)}"
                )
        return self

    @model_validator(mode="after")
    def _precisions_hold(self) -> Manifest:
        names = [p.name for p in self.precisions]
        if len(set(names)) != len(names):
            raise ValueError(f"precisions: names must differ, found {names}")
        encoder = {f"encoder/{t.name}" for t in self.graphs["encoder"].outputs}
        for p in self.precisions:
            if not encoder <= set(p.tolerance) <= set(self.probe.tolerance):
                raise ValueError(
                    f"precision {p.name}: tolerance must name {sorted(encoder)} and nothing that "
                    "probe.tolerance does not"
                )
        if self.shipped_precision != "fp32":
            shipped = self.precision(self.shipped_precision)
            if shipped is None:
                raise ValueError(
                    f"shipped_precision: found {self.shipped_precision}, expected fp32 or one of "
                    f"precisions ({', '.join(names) or 'none'})"
                )
            outside = shipped.within(self.precision_limits)
            if outside:
                raise ValueError(f"shipped_precision: {outside}")
        return self

    def precision(self, name: str) -> Precision | None:
        """The cheaper form of that name, None where the bundle has none (fp32 has no entry)."""
        return next((p for p in self.precisions if p.name == name), None)

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
