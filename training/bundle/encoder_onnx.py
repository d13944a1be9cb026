"""The graph of an encoder, uint8 tiles [N, T, T, 3] -> features [N, D], of an ONNX file.

A graph that takes such tiles stays as it is; before one that takes float colors [N, 3, T, T] goes
the normalization that its authors state. Equality is checked on tiles alone and together, so a
size that the graph holds of its example is found.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper, version_converter
from onnx.utils import Extractor
from onnxruntime.capi import onnxruntime_pybind11_state as broken

from training.bundle.encoder_graph import (
    FEATURES,
    MOST_BYTES,
    Colors,
    EncoderGraph,
    require_vectors,
    said,
    sample_tiles,
)
from training.errors import TrainingError
from training.learning.compilable import compilable
from training.learning.graphs import OPSET, PARITY, run
from training.tiles.encoders import digest_of

_RAW = "It takes uint8 tiles; colors are normalized inside, as its authors did it."


def from_onnx(path: Path, colors: Colors | None, out: Path) -> EncoderGraph:
    """Writes `out/encoder.onnx` of an ONNX file. Raises TrainingError.

    The file has one input, uint8 [N, T, T, 3], or float32 [N, 3, T, T] with `colors`; and one
    output, or one named `features`, float32 [N, D].
    """
    model = _read(path)
    tile_px, is_raw = _tile_px(path, model, colors)
    output = _chosen(path, model)
    plain = _needed(_at_opset(path, model), output)
    given = plain.graph.input[0].name
    made = (
        _renamed(plain, given, output) if is_raw else _behind_colors(plain, given, output, colors)
    )
    del made.opset_import[:]
    made.opset_import.append(helper.make_opsetid("", _opset(plain)))
    _name_axes(made)
    target = out / "encoder.onnx"
    onnx.save(compilable(made), target)
    gap, largest = _compare(path, target, given, output, sample_tiles(tile_px), colors)
    return EncoderGraph(
        source=path.name,
        digest=digest_of(path, path.with_name(path.name + ".data")),
        tile_px=tile_px,
        colors=_RAW if colors is None else said(colors),
        gap=gap,
        limit=_limit(largest),
        largest=largest,
    )


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise TrainingError(f"{path}: found no file, expected an ONNX encoder; name another")
    data = path.with_name(path.name + ".data")
    if path.stat().st_size + (data.stat().st_size if data.is_file() else 0) > MOST_BYTES:
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
    return model


def _tile_px(path: Path, model: onnx.ModelProto, colors: Colors | None) -> tuple[int, bool]:
    """Side of a tile, and whether the graph takes uint8 tiles."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [tensor for tensor in model.graph.input if tensor.name not in weights]
    kinds = [(t.type.tensor_type.elem_type, _shape(t)) for t in inputs]
    if len(kinds) == 1 and len(kinds[0][1]) == 4:
        kind, (_, *rest) = kinds[0]
        if kind == TensorProto.UINT8 and rest[2] == 3 and isinstance(rest[0], int):
            if colors is not None:
                raise TrainingError(
                    f"{path}: found uint8 tiles as input and --mean, expected one of them: what "
                    "takes uint8 normalizes inside; leave --mean and --std out"
                )
            if rest[0] == rest[1]:
                return rest[0], True
        if kind == TensorProto.FLOAT and rest[0] == 3 and isinstance(rest[1], int):
            if colors is None:
                raise TrainingError(
                    f"{path}: found float colors as input, expected --mean and --std of its "
                    "authors, three numbers each: a file does not say them"
                )
            if rest[1] == rest[2]:
                return rest[1], False
    raise TrainingError(
        f"{path}: found inputs {kinds}, expected one of uint8 [N, T, T, 3] or float32 "
        "[N, 3, T, T]; export it so"
    )


def _shape(tensor: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_value if d.HasField("dim_value") else d.dim_param
            for d in tensor.type.tensor_type.shape.dim]  # fmt: skip


def _chosen(path: Path, model: onnx.ModelProto) -> str:
    names = [tensor.name for tensor in model.graph.output]
    if len(names) == 1 or FEATURES in names:
        return FEATURES if FEATURES in names else names[0]
    raise TrainingError(
        f"{path}: found outputs {names}, expected one, or one named {FEATURES}; rename it"
    )


def _needed(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """What computes that output alone: heads beside it would be compiled and never asked."""
    if len(model.graph.output) == 1:
        return model
    taken = [tensor.name for tensor in model.graph.input]
    return Extractor(model).extract_model(taken, [output])


def _at_opset(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in operators of OPSET where it is older."""
    own = _opset(model)
    foreign = sorted({o.domain for o in model.opset_import} - {"", "ai.onnx"})
    used = sorted({n.domain for n in model.graph.node} & set(foreign))
    if used:
        raise TrainingError(
            f"{path}: found operators of {', '.join(used)}, expected those of ONNX alone: no GPU's "
            "compiler takes others; export it without"
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


def _opset(model: onnx.ModelProto) -> int:
    return max(
        (int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0
    )


def _renamed(model: onnx.ModelProto, given: str, output: str) -> onnx.ModelProto:
    """The same with input `tiles` and the one output `features`."""
    said = onnx.ModelProto()
    said.CopyFrom(model)
    graph = said.graph
    for tensor in [t for t in graph.output if t.name != output]:
        graph.output.remove(tensor)
    names = {given: "tiles", output: FEATURES}
    for node in graph.node:
        for places in (node.input, node.output):
            for at, name in enumerate(places):
                places[at] = names.get(name, name)
    for tensor in (*graph.input, *graph.output, *graph.value_info):
        tensor.name = names.get(tensor.name, tensor.name)
    return said


def _behind_colors(
    model: onnx.ModelProto, given: str, output: str, colors: Colors | None
) -> onnx.ModelProto:
    """The graph behind Cast, Transpose and the normalization of colors."""
    assert colors is not None
    tile_px = int(_shape(model.graph.input[0])[2])
    body = compose.add_prefix(_renamed(model, given, output), "net/")
    head = _head(colors, tile_px)
    front = helper.make_model(head, opset_imports=[helper.make_opsetid("", _opset(body))])
    front.ir_version = body.ir_version
    joined = compose.merge_models(front, body, io_map=[("colors", "net/tiles")])
    return _renamed(joined, "tiles", f"net/{FEATURES}")


def _head(colors: Colors, tile_px: int) -> onnx.GraphProto:
    """Tiles uint8 [N, T, T, 3] to colors float32 [N, 3, T, T]."""
    scale = 255 * np.array(colors.std, np.float32).reshape(1, 3, 1, 1)
    shift = 255 * np.array(colors.mean, np.float32).reshape(1, 3, 1, 1)
    nodes = [
        helper.make_node("Cast", ["tiles"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["numbers"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["planes", "shift"], ["centered"]),
        helper.make_node("Div", ["centered", "scale"], ["colors"]),
    ]
    return helper.make_graph(
        nodes,
        "colors",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["N", tile_px, tile_px, 3])],
        [helper.make_tensor_value_info("colors", TensorProto.FLOAT, ["N", 3, tile_px, tile_px])],
        [numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(shift, "shift")],
    )


def _name_axes(model: onnx.ModelProto) -> None:
    """Both ends have N tiles; whether the graph computes so is compared afterwards."""
    for tensor in (model.graph.input[0], model.graph.output[0]):
        first = tensor.type.tensor_type.shape.dim[0]
        first.ClearField("dim_value")
        first.dim_param = "N"
    del model.graph.value_info[:]  # a size of the example may be among them


def _compare(
    path: Path,
    made: Path,
    given: str,
    output: str,
    tiles: NDArray[np.uint8],
    colors: Colors | None,
) -> tuple[float, float]:
    """Largest difference from the source, tile by tile, alone and together; largest feature."""
    source = [_of_source(path, given, output, tile, colors) for tile in tiles]
    wanted = np.concatenate(source)
    try:
        together = run(made, {"tiles": np.concatenate([tiles] * 3)})[FEATURES]
        alone = np.concatenate([run(made, {"tiles": tile[None]})[FEATURES] for tile in tiles])
    except (broken.Fail, broken.InvalidArgument, broken.RuntimeException) as error:
        raise TrainingError(
            f"{path}: found a graph that does not take any number of tiles ({error}), expected it "
            "to; export it with a free first axis"
        ) from error
    require_vectors(path.name, list(together.shape), 3 * len(tiles))
    expected = np.concatenate([wanted] * 3)
    gap = max(_gap(together, expected), _gap(alone, wanted))
    if not gap <= _limit(float(np.abs(wanted).max())):
        raise TrainingError(
            f"{path}: found features that differ by {gap:g} from the source's, expected at most "
            f"{PARITY:g} of the largest: the graph computes tiles that are together otherwise"
        )
    return gap, float(np.abs(wanted).max())


def _limit(largest: float) -> float:
    """Largest difference allowed: relative to the largest feature where that is above 1."""
    return PARITY * max(1.0, largest)


def _gap(found: NDArray[np.generic], wanted: NDArray[np.generic]) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    return float(np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max())


def _of_source(
    path: Path, given: str, output: str, tile: NDArray[np.uint8], colors: Colors | None
) -> NDArray[np.generic]:
    """The source's features [1, D] of a tile, colors normalized here as its authors state."""
    if colors is None:
        return run(path, {given: tile[None]})[output]
    mean, std = (np.array(v, np.float64) for v in (colors.mean, colors.std))
    pixels = ((tile / 255 - mean) / std).astype(np.float32).transpose(2, 0, 1)[None]
    return run(path, {given: np.ascontiguousarray(pixels)})[output]
