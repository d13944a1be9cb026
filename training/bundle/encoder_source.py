"""An ONNX file of a tile encoder as its authors wrote it: read, and refused where it is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, version_converter
from onnx.utils import Extractor

from engines.manifest.tensors import LARGEST_TILE, SMALLEST_TILE
from training.bundle.encoder_graph import FEATURES, MOST_BYTES, Colors
from training.errors import TrainingError
from training.learning.graphs import OPSET
from training.tiles.onnx_files import files_of

_WANTED = "expected one of uint8 [N, T, T, 3] or float32 [N, 3, T, T]; export it so"


@dataclass(frozen=True)
class OnnxSource:
    """A graph of one input, at OPSET or above, without what its one output does not need."""

    path: Path
    model: onnx.ModelProto
    given: str
    """Name of its input."""
    output: str
    tile_px: int
    is_raw: bool
    """It takes uint8 tiles; else float colors."""


def read_source(path: Path, colors: Colors | None) -> OnnxSource:
    """The encoder in a file; `colors` where it takes float colors. Raises TrainingError."""
    model = _read(path)
    tile_px, is_raw = _tile_px(path, model, colors)
    output = _chosen(path, model)
    plain = _needed(path, _at_opset(path, model), output)
    return OnnxSource(path, plain, plain.graph.input[0].name, output, tile_px, is_raw)


def opset_of(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators."""
    return max(
        (int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0
    )


def shape_of(tensor: onnx.ValueInfoProto) -> list[int | str]:
    """Axes: a size, or a name where it is free."""
    return [d.dim_value if d.HasField("dim_value") else d.dim_param
            for d in tensor.type.tensor_type.shape.dim]  # fmt: skip


def _read(path: Path) -> onnx.ModelProto:
    if sum(file.stat().st_size for file in files_of(path)) > MOST_BYTES:
        raise TrainingError(
            f"{path}: found more than 2 GB, expected what one ONNX file takes; choose a smaller one"
        )
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, OSError, RuntimeError) as error:
        raise TrainingError(f"{path}: found no ONNX graph that is whole ({error})") from error
    except DecodeError as error:
        raise TrainingError(f"{path}: found no ONNX file; export the network again") from error
    _weights_are_no_inputs(model)
    return model


def _weights_are_no_inputs(model: onnx.ModelProto) -> None:
    """Files of before IR version 4 list every weight among the inputs, in any order."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [tensor for tensor in model.graph.input if tensor.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 4)


def _tile_px(path: Path, model: onnx.ModelProto, colors: Colors | None) -> tuple[int, bool]:
    """Side of a tile, and whether the graph takes uint8 tiles."""
    kinds = [(t.type.tensor_type.elem_type, shape_of(t)) for t in model.graph.input]
    if len(kinds) != 1 or len(kinds[0][1]) != 4:
        raise TrainingError(f"{path}: found inputs {_said(kinds)}, {_WANTED}")
    kind, (count, *rest) = kinds[0]
    if isinstance(count, int) and count > 1:
        raise TrainingError(
            f"{path}: found a graph of {count} tiles at once, expected any number; export it with "
            "a free first axis"
        )
    is_raw = kind == TensorProto.UINT8 and rest[2] == 3
    side, other = rest[:2] if is_raw else rest[1:]
    takes_colors = kind == TensorProto.FLOAT and rest[0] == 3
    if not (is_raw or takes_colors) or not isinstance(side, int) or side != other:
        raise TrainingError(f"{path}: found inputs {_said(kinds)}, {_WANTED}")
    if not SMALLEST_TILE <= side <= LARGEST_TILE:
        raise TrainingError(
            f"{path}: found tiles of {side} px, expected {SMALLEST_TILE} to {LARGEST_TILE}; a node "
            "cuts no others"
        )
    if is_raw and colors is not None:
        raise TrainingError(
            f"{path}: found uint8 tiles as input and --mean, expected one of them: what takes "
            "uint8 normalizes inside; leave --mean and --std out"
        )
    if takes_colors and colors is None:
        raise TrainingError(
            f"{path}: found float colors as input, expected --mean and --std of its authors, three "
            "numbers each: a file does not say them"
        )
    return side, is_raw


def _said(kinds: list[tuple[int, list[int | str]]]) -> list[str]:
    return [f"{TensorProto.DataType.Name(kind).lower()} {shape}" for kind, shape in kinds]


def _chosen(path: Path, model: onnx.ModelProto) -> str:
    names = [tensor.name for tensor in model.graph.output]
    if len(names) != 1 and FEATURES not in names:
        raise TrainingError(
            f"{path}: found outputs {names}, expected one, or one named {FEATURES}; rename it"
        )
    chosen = FEATURES if FEATURES in names else names[0]
    (tensor,) = (t for t in model.graph.output if t.name == chosen)
    if tensor.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise TrainingError(
            f"{path}: found an output {chosen} that is not float32, expected features float32 "
            "[N, D]; export it so"
        )
    if chosen not in {name for node in model.graph.node for name in node.output}:
        raise TrainingError(
            f"{path}: found an output {chosen} that no operator computes, expected features; "
            "export the network again"
        )
    return chosen


def _needed(path: Path, model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """What computes that output alone: heads beside it would be compiled and never asked."""
    if len(model.graph.output) == 1:
        return model
    taken = [tensor.name for tensor in model.graph.input]
    try:
        return Extractor(model).extract_model(taken, [output])
    except (ValueError, onnx.checker.ValidationError) as error:
        raise TrainingError(
            f"{path}: found a graph of which {output} cannot be taken alone ({error}); export it "
            "with one output"
        ) from error


def _at_opset(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in operators of OPSET where it is older."""
    own = opset_of(model)
    foreign = sorted({o.domain for o in model.opset_import} - {"", "ai.onnx"})
    used = sorted({n.domain for n in model.graph.node} & set(foreign))
    if used:
        raise TrainingError(
            f"{path}: found operators of {', '.join(used)}, expected those of ONNX alone: no GPU's "
            "compiler takes others; export it without"
        )
    if own > onnx.defs.onnx_opset_version():
        raise TrainingError(
            f"{path}: found opset {own}, expected at most {onnx.defs.onnx_opset_version()}; export "
            f"it at opset {OPSET}"
        )
    if own >= OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except (RuntimeError, version_converter.ConvertError) as error:
        raise TrainingError(
            f"{path}: found opset {own} that cannot be brought to {OPSET} ({error}); export it "
            f"at opset {OPSET}"
        ) from error
