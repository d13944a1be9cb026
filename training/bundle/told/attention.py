"""Whether the map of a student says anything: one that weighs all tiles alike looked nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training.learning.deployed import INPUTS
from training.learning.graphs import run

_TILES = 64
_EVEN, _WITHIN = 0.5, 1e-6
"""Attention relative to uniform (learning/deployed.py), and what rounding does to it."""


def is_even(graph: Path, unit: Mapping[str, Any]) -> bool:
    """Whether the student's graph gives each of some tiles the weight it has by chance.

    The tiles [64, D] are drawn around the training patients of `unit` (`unit.json`). Asked of the
    graph and not of the name of its method, since settings may take the attention away.
    """
    near = unit["reference"]
    draw = np.random.default_rng(0)
    given = {
        name: draw.normal(near["mean"], 3 * np.array(near["std"]), (_TILES, unit["width"])).astype(
            np.float32
        )
        for name in unit.get("student_inputs", list(INPUTS)[:1])
    }
    attention = run(graph, given)["attention"].astype(np.float64)
    return bool(np.abs(attention - _EVEN).max() <= _WITHIN)
