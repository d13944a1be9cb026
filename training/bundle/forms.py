"""Cheaper forms of an encoder's graph: int8 and fp16.

int8 is static quantization after training, as a Q/DQ graph: one for CPUs (OpenVINO, ONNX Runtime),
and another for GPUs (TensorRT), which take symmetric activations only and biases in floating point.
fp16 keeps inputs, outputs, norms and softmax in fp32, for engines that take the precision from the
graph.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

Tiles = NDArray[np.uint8]
_STAYS_FP32 = ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "ReduceMean",
               "Softmax", "Sigmoid", "Sqrt", "Pow")  # fmt: skip


_SYMMETRIC = {"ActivationSymmetric": True, "AddQDQPairToWeight": True, "QuantizeBias": False}


def quantize(
    encoder: Path,
    calibration: Tiles,
    out: Path,
    *,
    batch: int,
    is_careful: bool,
    is_symmetric: bool = False,
) -> None:
    """Writes the int8 Q/DQ graph: weights per channel, activations by the range of calibration.

    With `is_symmetric` as TensorRT takes it: activations around 0, which leaves those behind a ReLU
    seven bits of eight, and biases in floating point.

    With `is_careful` only the body: all convolutions but the first, which sees raw colors; in a
    graph without such, all matrix products but the last. The head stays in fp32.
    """
    name = onnx.load(encoder).graph.input[0].name
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(encoder, prepared)
        quantize_static(
            prepared,
            out,
            _Reader(name, calibration, batch),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if is_symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_quantize=_body(prepared) if is_careful else None,
            extra_options=_SYMMETRIC if is_symmetric else None,
        )
    _clean(out)


def _body(encoder: Path) -> list[str]:
    nodes = onnx.load(encoder).graph.node
    convolutions = [node.name for node in nodes if node.op_type == "Conv"]
    products = [node.name for node in nodes if node.op_type in ("MatMul", "Gemm")]
    return convolutions[1:] or products[:-1]


def halve(encoder: Path, out: Path) -> None:
    """Writes the fp16 graph: inputs, outputs and what loses most stay in fp32."""
    model = convert_float_to_float16(
        onnx.load(encoder),
        keep_io_types=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_STAYS_FP32],
    )
    _once_each(model.graph)
    ordered = OnnxModel(model)
    ordered.topological_sort()
    onnx.save(ordered.model, out)
    _clean(out)


def _once_each(graph: onnx.GraphProto) -> None:
    """Drops repeated nodes: the converter writes one cast of a tensor for every use of it."""
    seen: set[str] = set()
    for node in list(graph.node):
        if seen.issuperset(node.output):
            graph.node.remove(node)
        seen.update(node.output)


def _clean(path: Path) -> None:
    """Check the graph and drop what tools write of themselves."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.ClearField("doc_string")
    onnx.checker.check_model(model)
    onnx.save(model, path)


class _Reader(CalibrationDataReader):
    """Batches of calibration tiles, as the quantizer asks for them."""

    def __init__(self, name: str, tiles: Tiles, batch: int) -> None:
        self._batches = iter([{name: tiles[at : at + batch]} for at in range(0, len(tiles), batch)])

    def get_next(self) -> dict[str, Tiles] | None:
        return next(self._batches, None)
