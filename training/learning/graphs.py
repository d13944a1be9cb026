"""Graphs of a bundle: ONNX files proven equal to their modules, the probe and the sums."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.manifest.whole import Manifest
from inference.durable import whole
from training.errors import TrainingError
from training.learning.compilable import compilable

Arrays = dict[str, NDArray[np.generic]]
Axes = Mapping[str, Mapping[int, str]]
OPSET = 18
PARITY = 1e-4


def write_graph(
    name: str,
    module: nn.Module,
    example: tuple[Tensor, ...],
    out: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Axes,
) -> Path:
    """Writes `out/<name>.onnx` and proves it equal to the module within 1e-4.

    `module(*example)` returns a tensor, a tuple or a NamedTuple of tensors in the order of
    `outputs`. `dynamic` names the free axes, as {"tiles": {0: "N"}}; equality is checked on the
    example, on the example cut to one along every free axis, and on it repeated three times.
    Raises TrainingError where ONNX Runtime and torch differ.
    """
    path = out / f"{name}.onnx"
    dynamic = {tensor: dynamic[tensor] for tensor in (*inputs, *outputs) if tensor in dynamic}
    positional = _Positional(module).eval()
    _check_names(name, positional, example, inputs, outputs)
    traced = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter needs onnxscript and writes the same graphs for these networks.
        warnings.simplefilter("ignore", DeprecationWarning)
        # What tracing might get wrong is looked for below, on bags of other sizes.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            positional,
            example,
            traced,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={tensor: dict(axes) for tensor, axes in dynamic.items()},
        )
    model = onnx.load_model_from_string(traced.getvalue())
    for node in model.graph.node:
        node.ClearField("doc_string")  # the exporter writes source paths of this machine
    with whole(path) as file:
        onnx.save(compilable(model), file)
    for given in (example, *_other_sizes(example, inputs, dynamic)):
        _check_parity(path, positional, given, inputs, outputs)
    return path


def run(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """Outputs of a graph by name, by ONNX Runtime on one CPU thread."""
    session = _session(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(arrays)), strict=True))


def write_probe(names: Sequence[str], given: Mapping[str, NDArray[np.generic]], out: Path) -> None:
    """Writes `probe.npz`: inputs and expected outputs of the graphs `names`, run in this order.

    A graph takes its inputs by name from `given` and from the outputs of the graphs before it. The
    expected outputs are those of ONNX Runtime, the neutral reference.
    """
    known, arrays = dict(given), Arrays()
    for name in names:
        path = out / f"{name}.onnx"
        wanted = [tensor.name for tensor in _session(path).get_inputs()]
        if missing := sorted(set(wanted) - set(known)):
            raise TrainingError(
                f"graph {name}: found no values for {missing}, expected them in `given` or among "
                "the outputs of an earlier graph: correct the order or give them"
            )
        fed = {tensor: known[tensor] for tensor in wanted}
        found = run(path, fed)
        arrays |= {f"{name}/in/{tensor}": values for tensor, values in fed.items()}
        arrays |= {f"{name}/out/{tensor}": values for tensor, values in found.items()}
        known |= found
    np.savez_compressed(out / "probe.npz", allow_pickle=False, **arrays)


def write_manifest(content: Mapping[str, object], out: Path) -> Manifest:
    """Writes `manifest.json`; raises pydantic.ValidationError where the contract is broken."""
    manifest = Manifest.model_validate_json(json.dumps(content))
    with whole(out / "manifest.json") as file:
        file.write((json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return manifest


def write_sums(out: Path) -> None:
    """Writes `SHA256SUMS` over every other file, in the format of sha256sum; plans stay beside."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(out.iterdir())
        if path.is_file() and path.name != "SHA256SUMS"
    ]
    with whole(out / "SHA256SUMS") as file:
        file.write("".join(lines).encode("ascii"))


class _Positional(nn.Module):
    """The module with its outputs as a plain tuple."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        found = self.module(*given)
        return (found,) if isinstance(found, Tensor) else tuple(found)


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _check_names(
    name: str,
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> None:
    with torch.inference_mode():
        found = module(*example)
    if len(inputs) != len(example) or len(outputs) != len(found):
        raise TrainingError(
            f"graph {name}: found {len(example)} inputs and {len(found)} outputs, expected "
            f"{len(inputs)} and {len(outputs)} by their names: name every tensor in order"
        )


def _other_sizes(
    example: tuple[Tensor, ...], inputs: Sequence[str], dynamic: Axes
) -> list[tuple[Tensor, ...]]:
    """The example cut to one along its free axes, and repeated three times along them."""
    if not any(dynamic.get(tensor) for tensor in inputs):
        return []
    cut, repeated = list(example), list(example)
    for at, tensor in enumerate(inputs):
        for axis in dynamic.get(tensor, {}):
            cut[at] = cut[at].narrow(axis, 0, 1)
            repeated[at] = torch.cat([repeated[at]] * 3, dim=axis)
    return [tuple(cut), tuple(repeated)]


def _check_parity(
    path: Path,
    module: nn.Module,
    given: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> None:
    with torch.inference_mode():
        expected = module(*given)
    values = [np.ascontiguousarray(value.numpy()) for value in given]
    found = run(path, dict(zip(inputs, values, strict=True)))
    for tensor, value in zip(outputs, expected, strict=True):
        _compare(f"{path.name}/{tensor}", found[tensor], value.numpy())


def _compare(what: str, found: NDArray[np.generic], expected: NDArray[np.generic]) -> None:
    if found.shape != expected.shape:
        raise TrainingError(
            f"{what}: ONNX Runtime found shape {found.shape}, torch {expected.shape}: the graph "
            "holds a size of its example; declare the axis free and compute without Python sizes"
        )
    gap = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0))
    if not gap <= PARITY:
        raise TrainingError(
            f"{what}: found a difference of {gap:g} between ONNX Runtime and torch, expected at "
            f"most {PARITY:g}: do not ship this graph"
        )
