"""Names of engines and precisions, for whoever lets people choose one."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Opened:
    """What was opened for a model, so that the very same can be opened once more."""

    engine: Engine
    precision: Chosen
    """`shipped` where it is not known yet whether this machine computes that."""
    is_fastest: bool = False
    """Whether it was asked for, and chosen, as the fastest."""


CPU_ENGINES: tuple[Engine, ...] = ("openvino", "onnxruntime")
ENGINES: tuple[Engine, ...] = get_args(Engine)
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)
PRECISION_NAMES: tuple[PrecisionName, ...] = get_args(PrecisionName)
CHOSEN: tuple[Chosen, ...] = get_args(Chosen)
