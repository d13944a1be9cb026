"""Names of engines and precisions, for whoever lets people choose one."""

from __future__ import annotations

from typing import Literal, get_args

Engine = Literal["openvino", "onnxruntime", "onnxruntime-cuda", "tensorrt", "tensorrt-rtx"]
"""What computes graphs."""
EngineName = Literal[
    "auto", "openvino", "onnxruntime", "onnxruntime-cuda", "tensorrt", "tensorrt-rtx"
]
"""`auto` is a GPU where all of it is proven on this host, else OpenVINO on the CPU. A name is an
order."""
FormName = Literal["fp32", "bf16", "fp16", "int8"]
"""What an encoder is computed in."""
Chosen = Literal["shipped", "fp32", "bf16", "fp16", "int8"]
"""`shipped` is what the bundle chose, or fp32 where this machine cannot compute that."""
PrecisionName = Literal["shipped", "fastest", "fp32", "bf16", "fp16", "int8"]
"""`fastest` is what `engine compare` timed as such on this host, `shipped` where it timed nothing.
"""

CPU_ENGINES: tuple[Engine, ...] = ("openvino", "onnxruntime")
ENGINES: tuple[Engine, ...] = get_args(Engine)
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)
PRECISION_NAMES: tuple[PrecisionName, ...] = get_args(PrecisionName)
CHOSEN: tuple[Chosen, ...] = get_args(Chosen)
