"""Tile encoders by name: uint8 RGB tiles [N, H, W, 3] in, features float32 [N, D] out.

default, PATH           the encoder of a shipped bundle or of a bundle directory
FILE.onnx               an ONNX file that takes what our graphs take (normalization inside)
timm:ARCH               a timm architecture with its published weights (needs a network)
timm:ARCH@FILE          the same with a local state dict (read with weights_only)
timm:ARCH@random        the same with random weights (seed 0), as a control
hf-hub:OWNER/NAME       a model of the Hugging Face hub through timm (needs a network)
local-dir:FOLDER        a downloaded copy of such a model (config.json and weights)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engines.bundle import MANIFEST_FILE, open_bundle, shipped_bundles
from engines.errors import BundleRejected, DeviceFailed, EngineMissing
from engines.runtime import open_runtime
from training.errors import TrainingError
from training.tiles.onnx_files import digest_of_onnx, refusals
from training.tiles.vectors import require_told_apart, require_vectors

Tiles = NDArray[np.uint8]
Floats = NDArray[np.float32]
FEATURES = "features"
MPP_TOLERANCE = 0.05
"""Relative spacing difference up to which pixels are used as they are: as in the shipped bundle."""
_BATCH = 16
TIMM_PREFIXES = ("timm:", "hf-hub:", "local-dir:")


@dataclass(frozen=True, eq=False)
class Encoder:
    """An encoder that is open; a context manager that closes it. One thread at a time."""

    name: str
    digest: str
    """SHA-256 of the graph or of the weights: the same digest gives the same features."""
    engine: str
    width: int
    """D."""
    tile_px: int
    mpp: float | None
    """Micrometers per pixel it was trained at; None where nothing says so."""
    mpp_tolerance: float
    batch: int
    """Tiles a call; always the same, as the size of a batch may change the last bit."""
    _run: Callable[[Tiles], Floats] = field(repr=False)
    icc: Literal["ignore", "srgb"] = "ignore"
    """Whether it wants the slide's colors converted by its ICC profile, as the node will."""
    scaled_decoding: bool = False
    """Whether it was made for frames decoded at a fraction of their size, as the node will."""
    _files: ExitStack = field(default_factory=ExitStack, repr=False)

    def __call__(self, tiles: Tiles) -> Floats:
        """Features [N, D] of tiles [N, tile_px, tile_px, 3]. Raises TrainingError."""
        expected = (self.tile_px, self.tile_px, 3)
        if tiles.shape[1:] != expected or tiles.dtype != np.uint8:
            raise TrainingError(
                f"{self.name}: found tiles {tiles.dtype} {list(tiles.shape)}, expected uint8 "
                f"[N, {self.tile_px}, {self.tile_px}, 3]; cut them with the tile grid."
            )
        feats = self._run(tiles)
        if feats.shape != (len(tiles), self.width):
            raise TrainingError(
                f"{self.name}: found output {list(feats.shape)}, expected [N, {self.width}]: one "
                "vector a tile; choose a model that pools."
            )
        return np.asarray(feats, np.float32)

    def __enter__(self) -> Encoder:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._files.close()


def open_encoder(name: str, *, threads: int = 1) -> Encoder:
    """The encoder of that name (see the module). Raises TrainingError."""
    if name.startswith(TIMM_PREFIXES):
        return _timm_encoder(name, threads)
    if name.endswith(".onnx"):
        return _onnx_encoder(Path(name), threads)
    if name in shipped_bundles() or (Path(name) / MANIFEST_FILE).is_file():
        return _bundle_encoder(name, threads)
    raise TrainingError(
        f"encoder {name!r}: found no such encoder, expected a bundle (one of "
        f"{', '.join(shipped_bundles())}, or a directory), a file .onnx, or timm:ARCH; the list is "
        "in training/tiles/encoders.py."
    )


def _bundle_encoder(name: str, threads: int) -> Encoder:
    files = ExitStack()
    try:
        bundle = open_bundle(name)
        runtime = files.enter_context(open_runtime(bundle, precision="fp32", threads=threads))
    except (BundleRejected, EngineMissing) as error:
        raise TrainingError(f"encoder {name!r}: {error}; choose another bundle.") from error
    graph, wanted = bundle.manifest.graphs["encoder"], bundle.manifest.input
    tensor = next((t for t in graph.outputs if t.name == FEATURES), None)
    if tensor is None or not isinstance(tensor.shape[-1], int):
        raise TrainingError(
            f"encoder {name!r}: found outputs {[t.name for t in graph.outputs]}, expected "
            f"{FEATURES} [N, D]; choose another bundle."
        )
    taken = graph.inputs[0].name

    def run(tiles: Tiles) -> Floats:
        try:
            return runtime.run("encoder", {taken: tiles})[FEATURES]
        except DeviceFailed as error:
            raise TrainingError(f"encoder {name!r}: {error}; run it again.") from error

    return Encoder(
        name=f"{bundle.manifest.name} {bundle.manifest.version}",
        digest=digest_of_onnx(bundle.file(graph.file)),
        engine=runtime.engine,
        width=tensor.shape[-1],
        tile_px=wanted.tile_px,
        mpp=wanted.mpp,
        mpp_tolerance=wanted.mpp_tolerance,
        batch=runtime.batch * runtime.lanes,
        icc=wanted.icc,
        scaled_decoding=wanted.scaled_decoding,
        _run=run,
        _files=files,
    )


def _onnx_encoder(path: Path, threads: int) -> Encoder:
    import onnxruntime  # seconds to load

    digest = digest_of_onnx(path)
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    broken = refusals()
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except broken as error:
        raise TrainingError(f"{path}: found no ONNX graph that loads ({error}).") from error
    tile_px = _onnx_tile_px(session, path)
    given, outputs = session.get_inputs()[0].name, [o.name for o in session.get_outputs()]
    chosen = FEATURES if FEATURES in outputs else outputs[0]
    if chosen != FEATURES and len(outputs) > 1:
        raise TrainingError(
            f"{path}: found outputs {outputs}, expected one, or one named {FEATURES}; rename it."
        )

    def run(tiles: Tiles) -> Floats:
        try:
            return np.asarray(session.run([chosen], {given: tiles})[0])
        except broken as error:
            raise TrainingError(
                f"{path}: found a graph that does not take {len(tiles)} tiles ({error}), expected "
                "any number; export it with a free first axis."
            ) from error

    tiles = np.zeros((2, tile_px, tile_px, 3), np.uint8)
    tiles[0] = np.random.default_rng(0).integers(0, 256, tiles.shape[1:], np.uint8)
    found = run(tiles)
    require_vectors(path.name, found, 2)
    require_told_apart(path.name, found)
    return Encoder(
        name=path.name,
        digest=digest,
        engine=f"onnxruntime {onnxruntime.__version__} CPU",
        width=found.shape[1],
        tile_px=tile_px,
        mpp=None,
        mpp_tolerance=MPP_TOLERANCE,
        batch=_BATCH,
        _run=run,
    )


def _onnx_tile_px(session: Any, path: Path) -> int:
    inputs = [(i.type, i.shape) for i in session.get_inputs()]
    if len(inputs) == 1 and inputs[0][0] == "tensor(uint8)" and len(inputs[0][1]) == 4:
        batch, rows, cols, channels = inputs[0][1]
        if not isinstance(batch, int) and isinstance(rows, int) and (cols, channels) == (rows, 3):
            return rows
    raise TrainingError(
        f"{path}: found inputs {inputs}, expected one of uint8 [N, T, T, 3] with any N; export the "
        "graph with normalization inside, as the bundles have it."
    )


def _timm_encoder(name: str, threads: int) -> Encoder:
    import torch  # seconds to load, and most workers run without it

    from training.tiles.timm_models import timm_model  # timm is an extra of its own

    torch.set_num_threads(threads)
    model = timm_model(name)

    def run(tiles: Tiles) -> Floats:
        with torch.inference_mode():
            return np.asarray(model.module(torch.from_numpy(tiles)).numpy())

    return Encoder(
        name=model.name,
        digest=model.digest,
        engine=model.engine,
        width=model.width,
        tile_px=model.tile_px,
        mpp=None,
        mpp_tolerance=MPP_TOLERANCE,
        batch=_BATCH,
        _run=run,
    )
