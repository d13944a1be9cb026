"""Cheaper forms of an encoder's graph: int8 and fp16.

int8 is static quantization after training, as a Q/DQ graph: one for CPUs (OpenVINO, ONNX Runtime),
and another for GPUs (TensorRT), which take symmetric activations only and biases in floating point.
fp16 keeps inputs, outputs, norms and softmax in fp32, for engines that take the precision from the
graph.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Care:
    """What stays in fp32, and which activations may be cut off for the sake of the others."""

    left: int
    """Convolutions at the beginning, which see raw colors, beside the head; in a graph without
    convolutions the last matrix product instead. 0: nothing stays in fp32, the head neither."""
    percentile: float | None = None
    """Of activations by size, in percent: what lies above is cut off. None: nothing."""


CARES = (Care(0), Care(1), Care(1, 99.998), Care(2, 99.999))
"""In the order in which they cost time; the first that stays inside the limits is taken."""


def quantize(
    encoder: Path,
    calibration: Tiles,
    out: Path,
    *,
    batch: int,
    care: Care,
    is_symmetric: bool = False,
) -> None:
    """Writes the int8 Q/DQ graph: weights per channel, activations by the range of calibration;
    as much of it as `care` says.

    With `is_symmetric` as TensorRT takes it: activations around 0, which leaves those behind a ReLU
    seven bits of eight, and biases in floating point.
    """
    name = onnx.load(encoder).graph.input[0].name
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(encoder, prepared)
        quantize_static(
            prepared,
            out,
            _Reader(name, _even(calibration, batch) if care.percentile else calibration, batch),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if is_symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile
            if care.percentile
            else CalibrationMethod.MinMax,
            nodes_to_quantize=_body(prepared, care.left) if care.left else None,
            extra_options=(_SYMMETRIC if is_symmetric else {})
            | ({"CalibPercentile": care.percentile} if care.percentile else {}),
        )
    _clean(out)


def _even(calibration: Tiles, batch: int) -> Tiles:
    """Whole batches alone, where there is one: histograms take no batch of another size."""
    return calibration[: len(calibration) // batch * batch or len(calibration)]


def _body(encoder: Path, left: int) -> list[str]:
    nodes = onnx.load(encoder).graph.node
    convolutions = [node.name for node in nodes if node.op_type == "Conv"]
    products = [node.name for node in nodes if node.op_type in ("MatMul", "Gemm")]
    return convolutions[left:] or products[:-1]


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
