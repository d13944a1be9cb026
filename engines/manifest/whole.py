"""The whole of a manifest: what a student's graphs take, compute and mean, and who says so.

Unknown keys are refused: a key this version does not understand could change a result.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engines.manifest.claims import (
    Applicability,
    Compiler,
    Finding,
    Performance,
    Signature,
    Training,
)
from engines.manifest.foreign import OutOfDistribution
from engines.manifest.outputs import (
    ClassOutput,
    HeatmapOutput,
    MeasureOutput,
    Output,
    ScoreOutput,
    SurvivalOutput,
)
from engines.manifest.precision import Precision, PrecisionLimits
from engines.manifest.shapes import wrong_classes, wrong_numbers, wrong_tiles
from engines.manifest.tensors import Graph, Probe, Tensor, TileInput
from engines.manifest.values import Code, Strict
from engines.names import Engine

NO_FINDING = Finding(
    code=Code(value="no-finding", scheme="99DICOMNODE", meaning="No finding"),
    reference_cohort="None: an encoder alone",
)
"""Of an encoder alone."""


class Manifest(Strict):
    """Everything the node knows about a student. It knows no method by name.

    A bundle may hold an encoder alone, for training: it has no aggregator, no finding, no outputs
    and no performance.
    """

    schema_version: Literal[2]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    title: Annotated[str, Field(max_length=64)]
    manufacturer: Annotated[str, Field(max_length=64)]
    status: Literal["research", "fixture", "product"]
    """A fixture shows how something works; its numbers mean nothing, and no node serves it."""
    intended_use: str
    limits: tuple[str, ...] = ()
    """Sentences that a report says before any number."""
    licence: str
    unit: Literal["slide", "case"]
    """What one prediction is of: a slide, or all slides of a study together."""
    input: TileInput
    graphs: dict[str, Graph]
    """`encoder` (tiles to features) and `aggregator` (features to outputs); or `encoder` alone.

    The aggregator's inputs are known by name: an output of the encoder over the fine grid
    [N, ...]; `<output>_coarse`, the same over the coarse grid [M, ...]; `positions` and
    `positions_coarse`, int64 [N, 2] and [M, 2], 0-based row and column in the grid.
    """
    finding: Finding = NO_FINDING
    """A student must state it."""
    outputs: tuple[Output, ...]
    applicability: Applicability
    out_of_distribution: OutOfDistribution | None = None
    training: Training
    performance: tuple[Performance, ...]
    probe: Probe
    precisions: tuple[Precision, ...] = ()
    precision_limits: PrecisionLimits = PrecisionLimits()
    shipped_precision: Literal["fp32", "bf16", "fp16", "int8"] = "fp32"
    """What the node uses where the engine can; fp32, the reference, where it cannot."""
    compilers: tuple[Compiler, ...] = ()
    signature: Signature | None = None

    @model_validator(mode="after")
    def _graphs_have_their_exam(self) -> Manifest:
        if set(self.graphs) not in ({"encoder", "aggregator"}, {"encoder"}):
            raise ValueError(
                "graphs: expected encoder and aggregator, or encoder alone, found "
                f"{sorted(self.graphs)}"
            )
        tolerances = {f"{g}/{t.name}" for g, graph in self.graphs.items() for t in graph.outputs}
        if set(self.probe.tolerance) != tolerances:
            raise ValueError(f"probe.tolerance must name exactly {sorted(tolerances)}")
        return self

    @model_validator(mode="after")
    def _an_encoder_alone_claims_no_answer(self) -> Manifest:
        if not self.is_encoder_alone:
            if "finding" not in self.model_fields_set:
                raise ValueError("finding: expected one, found none beside an aggregator")
            return self
        known = ("finding", "outputs", "out_of_distribution", "performance")
        said = [key for key in known if key in self.model_fields_set and getattr(self, key)]
        if said:
            raise ValueError(f"{said[0]}: found some, expected none of an encoder alone")
        if "features" not in {t.name for t in self.graphs["encoder"].outputs}:
            raise ValueError("encoder: expected an output features, found none")
        return self

    @model_validator(mode="after")
    def _outputs_name_tensors(self) -> Manifest:
        names = [output.name for output in self.outputs]
        if len(set(names)) != len(names):
            raise ValueError(f"outputs: names must differ, found {', '.join(names)}")
        for output in self.outputs:
            for graph, tensor in _tensors(output):
                if tensor not in {t.name for t in self.graphs[graph].outputs}:
                    raise ValueError(f"output {output.name}: graph {graph} has no tensor {tensor}")
        if wrong := wrong_classes((*self.class_maps, *self.classifications), self.graphs):
            raise ValueError(wrong)
        if wrong := wrong_numbers(self.outputs, self.graphs):
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _measures_count_maps(self) -> Manifest:
        maps = {o.name: {c.meaning for c in o.tissue} for o in self.class_maps}
        for output in self.measures:
            named = {*output.classes, *output.over, *output.near}
            unknown = named - maps.get(output.map, set())
            if unknown:
                raise ValueError(
                    f"output {output.name}: map {output.map} has no class "
                    f"{', '.join(sorted(unknown))} that is tissue"
                )
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
        if wrong := wrong_tiles(encoder, self.input):
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _aggregator_inputs_are_known(self) -> Manifest:
        known = {t.name: t for t in self.graphs["encoder"].outputs}
        known["positions"] = Tensor(name="positions", dtype="int64", shape=("N", 2))
        if self.input.coarse_mpp is not None:
            known |= {f"{name}_coarse": tensor for name, tensor in known.items()}
        for tensor in self.graphs["aggregator"].inputs if "aggregator" in self.graphs else ():
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
        forms = [(p.name, engine) for p in self.precisions for engine in p.engines]
        if len(set(forms)) != len(forms):
            raise ValueError("precisions: expected one row for a name and an engine, found two")
        encoder = {f"encoder/{t.name}" for t in self.graphs["encoder"].outputs}
        for p in self.precisions:
            if not encoder <= set(p.tolerance) <= set(self.probe.tolerance):
                raise ValueError(
                    f"precision {p.name}: tolerance must name {sorted(encoder)} and nothing that "
                    "probe.tolerance does not"
                )
        if self.shipped_precision != "fp32":
            shipped = [p for p in self.precisions if p.name == self.shipped_precision]
            if not shipped:
                raise ValueError(
                    f"shipped_precision: found {self.shipped_precision}, expected fp32 or one of "
                    f"precisions ({', '.join(sorted({n for n, _ in forms})) or 'none'})"
                )
            outside = [text for p in shipped if (text := p.within(self.precision_limits))]
            if outside:
                raise ValueError(f"shipped_precision: {outside[0]}")
        return self

    @property
    def is_encoder_alone(self) -> bool:
        """Whether there is no aggregator: something to train on, which answers nothing."""
        return "aggregator" not in self.graphs

    def precision(self, name: str, engine: Engine) -> Precision | None:
        """The form of that name for that engine, None where the bundle has none."""
        rows = (p for p in self.precisions if p.name == name and engine in p.engines)
        return next(rows, None)

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
        """Maps of one value a tile in the order of the manifest."""
        return tuple(o for o in self.outputs if isinstance(o, HeatmapOutput) and not o.classes)

    @property
    def class_maps(self) -> tuple[HeatmapOutput, ...]:
        """Maps of several classes in the order of the manifest."""
        return tuple(o for o in self.outputs if isinstance(o, HeatmapOutput) and o.classes)

    @property
    def classifications(self) -> tuple[ClassOutput, ...]:
        """Classes with their probabilities in the order of the manifest."""
        return tuple(o for o in self.outputs if isinstance(o, ClassOutput))

    @property
    def measures(self) -> tuple[MeasureOutput, ...]:
        """Quantities of tissue in the order of the manifest."""
        return tuple(o for o in self.outputs if isinstance(o, MeasureOutput))


def _tensors(output: Output) -> list[tuple[str, str]]:
    """(graph, tensor) of everything that an output is read from."""
    beside = [("aggregator", tensor) for tensor in output.tensors()]
    if isinstance(output, MeasureOutput):
        return beside
    graph = output.graph if isinstance(output, HeatmapOutput) else "aggregator"
    return [(graph, output.tensor), *beside]
