"""Names of engines and precisions, for whoever lets people choose one."""

from __future__ import annotations

from typing import Literal, get_args

Engine = Literal["openvino", "onnxruntime", "onnxruntime-cuda", "tensorrt", "tensorrt-rtx"]
"""What computes graphs."""
EngineName = Literal[
    "auto", "openvino", "onnxruntime", "onnxruntime-cuda", "tensorrt", "tensorrt-rtx"
]
"""`auto` is OpenVINO on the CPU; a GPU is used when its engine is named."""
FormName = Literal["fp32", "bf16", "fp16", "int8"]
"""What an encoder is computed in."""
PrecisionName = Literal["shipped", "fp32", "bf16", "fp16", "int8"]
"""`shipped` is what the bundle chose, or fp32 where this machine cannot compute that."""

CPU_ENGINES: tuple[Engine, ...] = ("openvino", "onnxruntime")
ENGINES: tuple[Engine, ...] = get_args(Engine)
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)
PRECISION_NAMES: tuple[PrecisionName, ...] = get_args(PrecisionName)
