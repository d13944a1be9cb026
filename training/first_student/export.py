"""Writing the bundle: graphs, probe, card, manifest and sums."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.manifest import Manifest

Arrays = dict[str, NDArray[np.generic]]
OPSET = 18
PARITY = 1e-4
OUTPUTS = {"encoder": ("features", "tumor"), "aggregator": ("risk", "survival", "attention")}
INPUTS = {"encoder": "tiles", "aggregator": "features"}
PER_TILE = {"tiles", "features", "tumor", "attention"}


def write_graph(name: str, module: nn.Module, example: Tensor, out: Path) -> None:
    """Writes `<name>.onnx` with a dynamic number of tiles and proves it equal to the module.

    Raises AssertionError where ONNX Runtime and torch differ by more than 1e-4 on `example` or on
    its first tile alone.
    """
    path = out / f"{name}.onnx"
    names = (INPUTS[name], *OUTPUTS[name])
    with warnings.catch_warnings():
        # The newer exporter needs onnxscript and writes the same graph for this network.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module.eval(),
            (example,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUTS[name]],
            output_names=list(OUTPUTS[name]),
            dynamic_axes={tensor: {0: "N"} for tensor in names if tensor in PER_TILE},
        )
    model = onnx.load(path)
    for node in model.graph.node:
        node.ClearField("doc_string")  # the exporter writes source paths of this machine
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    for tiles in (example, example[:1]):
        with torch.inference_mode():
            expected = module(tiles)
        found = run(path, {INPUTS[name]: tiles.numpy()})
        for tensor, value in zip(OUTPUTS[name], expected, strict=True):
            gap = float(np.abs(found[tensor] - value.numpy()).max())
            if gap > PARITY:
                raise AssertionError(f"{name}/{tensor}: ONNX Runtime differs from torch by {gap:g}")


def run(path: Path, arrays: Arrays) -> Arrays:
    """Outputs of a graph by name, by ONNX Runtime on one CPU thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, arrays), strict=True))


def write_probe(tiles: NDArray[np.uint8], out: Path) -> None:
    """Writes `probe.npz`: drawn tiles through the encoder, their features through the aggregator.

    The expected outputs are those of ONNX Runtime, the neutral reference.
    """
    arrays: Arrays = {}
    given: Arrays = {"tiles": tiles}
    for name, outputs in OUTPUTS.items():
        tensor = INPUTS[name]
        found = run(out / f"{name}.onnx", {tensor: given[tensor]})
        arrays[f"{name}/in/{tensor}"] = given[tensor]
        arrays |= {f"{name}/out/{output}": found[output] for output in outputs}
        given |= found
    np.savez_compressed(out / "probe.npz", allow_pickle=False, **arrays)


def write_manifest(content: dict[str, object], out: Path) -> Manifest:
    """Writes `manifest.json`; raises pydantic.ValidationError where the contract is broken."""
    manifest = Manifest.model_validate_json(json.dumps(content))
    (out / "manifest.json").write_text(
        json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return manifest


def write_sums(out: Path) -> None:
    """Writes `SHA256SUMS` over every other file, in the format of sha256sum."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(out.iterdir())
        if path.name != "SHA256SUMS"
    ]
    (out / "SHA256SUMS").write_text("".join(lines), encoding="ascii")
