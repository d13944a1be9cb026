"""What arrays have to be like by the manifest, and how far two of them are apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.errors import BundleRejected
from engines.executor import Arrays
from engines.manifest.tensors import Graph, Tensor


def check(tensors: tuple[Tensor, ...], arrays: Arrays, what: str, axes: dict[str, int]) -> None:
    """Raises ValueError where names, dtypes or shapes are not the manifest's; `axes` are the sizes
    of named axes, as this run has them."""
    expected_names = {t.name for t in tensors}
    if set(arrays) != expected_names:
        raise ValueError(f"{what}: expected {sorted(expected_names)}, found {sorted(arrays)}")
    for tensor in tensors:
        array = arrays[tensor.name]
        if array.dtype != tensor.dtype or not _shape_fits(array.shape, tensor, axes):
            raise ValueError(
                f"{what} {tensor.name}: expected {tensor.dtype} {list(tensor.shape)}, "
                f"found {array.dtype} {list(array.shape)}"
            )


def _shape_fits(shape: tuple[int, ...], tensor: Tensor, axes: dict[str, int]) -> bool:
    """Whether a shape agrees with the manifest; a named axis has one size in the whole run."""
    if len(shape) != len(tensor.shape):
        return False
    return all(
        size == (axes.setdefault(expected, size) if isinstance(expected, str) else expected)
        for size, expected in zip(shape, tensor.shape, strict=True)
    )


def require_tensors(file: Path, graph: Graph, names: Iterable[str]) -> None:
    """BundleRejected where the manifest names a tensor that the graph in `file` has not; `names`
    are its own, inputs and outputs."""
    known = set(names)
    for tensor in (*graph.inputs, *graph.outputs):
        if tensor.name not in known:
            raise BundleRejected(
                f"{file}: found tensors {', '.join(sorted(known))}, expected {tensor.name} as the "
                "manifest says; export the bundle again"
            )


def probe_array(
    bundle: Bundle, probe: Arrays, graph_name: str, side: str, tensor: Tensor
) -> NDArray[Any]:
    """One array of a bundle's probe; `side` is `in` or `out`. Raises BundleRejected without it."""
    key = f"{graph_name}/{side}/{tensor.name}"
    if key not in probe:
        raise BundleRejected(f"{bundle.file(bundle.manifest.probe.file)}: array {key} is missing")
    return probe[key]


def difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest absolute difference; NaN, which is within no tolerance, where shapes differ."""
    if found.shape != expected.shape:
        return float("nan")
    return float(
        np.max(np.abs(found.astype(np.float64) - expected.astype(np.float64)), initial=0.0)
    )
