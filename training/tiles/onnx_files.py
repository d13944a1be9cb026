"""ONNX files that others made: which files they are, and which errors ONNX Runtime has for them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from training.errors import TrainingError


def refusals() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises for a graph that it cannot load, or that cannot take its inputs."""
    import onnxruntime  # seconds to load

    broken = onnxruntime.capi.onnxruntime_pybind11_state
    return (
        broken.EngineError,
        broken.EPFail,
        broken.Fail,
        broken.InvalidArgument,
        broken.InvalidGraph,
        broken.InvalidProtobuf,
        broken.NoSuchFile,
        broken.NotImplemented,
        broken.RuntimeException,
    )


def files_of(path: Path) -> list[Path]:
    """The file and those beside it that hold its weights, whatever their names are.

    Raises TrainingError where it cannot be read, or where one of them is missing.
    """
    if not path.is_file():
        raise TrainingError(f"{path}: found no file, expected an ONNX encoder; name another")
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise TrainingError(f"{path}: found no ONNX graph; export the network again") from error
    functions = (_tensors_in(function.node) for function in model.functions)
    tensors = chain(tensors_of(model.graph), *functions)
    names = {ExternalDataInfo(t).location for t in tensors if uses_external_data(t)}
    beside = [path.parent / name for name in sorted(names)]
    if missing := [file.name for file in beside if not file.is_file()]:
        raise TrainingError(
            f"{path}: found no file {missing[0]} beside it, expected its weights there; copy all "
            "files of the encoder into one folder"
        )
    return [path, *beside]


def tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Weights and constants, those of the graphs within it too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_in(graph.node)


def _tensors_in(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
    for inner in graphs_within(nodes):
        yield from tensors_of(inner)


def graphs_within(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    """The bodies of branches and loops, not those within them."""
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def digest_of_onnx(path: Path) -> str:
    """SHA-256 over the file and all that hold its weights. Raises TrainingError."""
    digest = hashlib.sha256()
    for file in files_of(path):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
