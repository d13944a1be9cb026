"""`dicom-train encoder`: a bundle of a tile encoder alone, for features and for students on them.

From an ONNX file, a network of timm, HIPT's first stage or the encoder of a bundle to the graph
that a node runs: uint8 tiles in, normalization inside, any number of tiles at once, proven equal to
its source and tried on the node's own engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.bundle import MANIFEST_FILE, Bundle, open_bundle, shipped_bundles
from engines.errors import BundleRejected, EngineMissing
from engines.manifest.reading import newest
from engines.runtime import open_runtime
from inference.durable import whole_folder
from training.bundle.encoder_graph import (
    FEATURES,
    HIPT_PREFIX,
    Colors,
    EncoderGraph,
    from_hipt,
    from_timm,
)
from training.bundle.encoder_onnx import from_onnx
from training.bundle.manifest import require_manifest
from training.errors import TrainingError
from training.learning.graphs import run, write_manifest, write_probe, write_sums
from training.tiles.encoders import TIMM_PREFIXES

_PROBES = 3
"""Tiles of the exam: noise, glass, and a step between two colors."""
_HE = (
    {"value": "12710003", "scheme": "SCT", "meaning": "hematoxylin stain"},
    {"value": "36879007", "scheme": "SCT", "meaning": "water soluble eosin stain"},
)
_STAINS: dict[str, list[dict[str, str]]] = {"he": list(_HE), "any": []}
STAINS = tuple(_STAINS)

_CARD = """# {name}

A tile encoder alone, for training: it answers nothing of a slide. Research only: not for diagnosis,
prognosis or treatment.

## Licence

{licence}

## What it is

From `{source}` (SHA-256 of the weights `{digest}`). {random}Tiles of {tile_px} px at {mpp:g} um per
pixel in, {width} numbers each out. {colors}

## What was checked

- Largest difference of a feature between this graph and its source: {gap:.1e} (at most {parity:g}),
  on tiles one by one and together.
- It opens on {engine} and passes its own exam there.
- Compilers of GPUs: see `compilers` in the manifest; empty where none was asked.

## What is not known

What its features are worth: that is measured of every student on them. Whether its training slides
are among those that a student is scored on: ask its authors.
"""


@dataclass(frozen=True)
class EncoderRequest:
    """Which encoder, and what its file does not say."""

    source: str
    """FILE.onnx, timm:ARCH[@FILE | @random], hf-hub:OWNER/NAME, local-dir:FOLDER, hipt:FILE or
    hipt:random, or a bundle, which says the rest itself."""
    out: Path
    name: str
    licence: str | None = None
    """Of the weights, in words."""
    mpp: float | None = None
    """Micrometers per pixel that it was trained at."""
    version: str = "0.1.0"
    colors: Colors | None = None
    """How an ONNX file that takes float colors wants them; None for others."""
    batch: int = 16
    stain: str = "he"
    manufacturer: str = "not stated"


def make_encoder(request: EncoderRequest) -> Path:
    """Writes the bundle directory and opens it as the node's engine does; its path.

    Raises TrainingError for a source that cannot be read, that is no tile encoder or that differs
    from its graph, and where the directory is not empty.
    """
    out = request.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TrainingError(f"{out}: found files, expected a new or empty directory; give another")
    request = _completed(request)
    with whole_folder(out) as made:
        engine = _write(request, made)
    print(f"{request.source}: opened on {engine}")
    return out


def _completed(request: EncoderRequest) -> EncoderRequest:
    """With what a bundle says; a source that says nothing of itself must be told all of it."""
    said = {"--licence": request.licence, "--mpp": request.mpp}
    if (source := _source(request)) is None:
        if not (request.licence or "").strip():
            raise TrainingError("--licence: found nothing, expected the licence of the weights")
        if request.mpp is None:
            raise TrainingError(
                "--mpp: found nothing, expected the spacing that the encoder was trained at"
            )
        return request
    if given := [flag for flag, value in said.items() if value is not None]:
        raise TrainingError(
            f"{request.source}: found {given[0]} beside a bundle, expected none: the bundle says "
            "it; leave it out"
        )
    manifest = source.manifest
    return replace(request, licence=manifest.licence, mpp=manifest.input.mpp)


def _source(request: EncoderRequest) -> Bundle | None:
    """The bundle whose encoder is wanted; None where the source is another. Raises TrainingError
    for a bundle that cannot be believed."""
    name = request.source
    if name not in shipped_bundles() and not (Path(name) / MANIFEST_FILE).is_file():
        return None
    try:
        return open_bundle(name)
    except BundleRejected as error:
        raise TrainingError(f"encoder {name!r}: {error}; choose another bundle") from error


def _write(request: EncoderRequest, out: Path) -> str:
    """Everything of the bundle; what it was opened on."""
    graph, source = _graph(request, out), _source(request)
    tiles = probe_tiles(graph.tile_px)
    features = run(out / "encoder.onnx", {"tiles": tiles})[FEATURES]
    content = _manifest(request, graph, features.shape[-1])
    if source is not None:
        content |= _inherited(content, source)
    require_manifest(content)
    write_probe(["encoder"], {"tiles": tiles}, out)
    write_manifest(content, out)
    (out / "card.md").write_text("", encoding="utf-8")
    write_sums(out)
    engine = _opened(out)
    (out / "card.md").write_text(_card(request, graph, features.shape[-1], engine), "utf-8")
    write_sums(out)
    return engine


def _graph(request: EncoderRequest, out: Path) -> EncoderGraph:
    """Writes `out/encoder.onnx`. Raises TrainingError."""
    says_itself = request.source.startswith((*TIMM_PREFIXES, HIPT_PREFIX))
    if says_itself and request.colors is not None:
        raise TrainingError(
            f"{request.source}: found --mean and --std, expected neither: the network says them "
            "itself"
        )
    if request.source.startswith(TIMM_PREFIXES):
        return from_timm(request.source, out)
    if request.source.startswith(HIPT_PREFIX):
        return from_hipt(request.source, out)
    if (source := _source(request)) is None:
        return from_onnx(Path(request.source), request.colors, out)
    manifest = source.manifest
    found = from_onnx(source.file(manifest.graphs["encoder"].file), request.colors, out)
    return replace(found, source=f"bundle {manifest.name} {manifest.version}")


def _inherited(content: Mapping[str, Any], source: Bundle) -> dict[str, object]:
    """What the bundle of the encoder says of slides, data and status: it stays true of a part."""
    before = newest(json.loads((source.root / MANIFEST_FILE).read_text(encoding="utf-8")))
    kept = {key: before["training"][key] for key in ("data", "simulated")}
    return {
        "manufacturer": before["manufacturer"],
        "status": before["status"],
        "input": before["input"],
        "applicability": before["applicability"],
        "training": content["training"] | kept,
    }


def probe_tiles(tile_px: int) -> NDArray[np.uint8]:
    """[3, T, T, 3]: noise, glass, and a step between two colors."""
    draw = np.random.default_rng(0)
    tiles = np.full((_PROBES, tile_px, tile_px, 3), 243, np.uint8)
    tiles[0] = draw.integers(0, 256, tiles.shape[1:], np.uint8)
    tiles[2, :, tile_px // 2 :] = (150, 70, 140)
    return tiles


def _manifest(request: EncoderRequest, graph: EncoderGraph, width: int) -> dict[str, Any]:
    tensors = {
        "inputs": [
            {"name": "tiles", "dtype": "uint8", "shape": ["N", graph.tile_px, graph.tile_px, 3]}
        ],
        "outputs": [{"name": FEATURES, "dtype": "float32", "shape": ["N", width]}],
    }
    return {
        "schema_version": 2,
        "name": request.name,
        "version": request.version,
        "title": f"Tile encoder {request.name}"[:64],
        "manufacturer": request.manufacturer,
        "status": "fixture" if graph.is_random else "research",
        "intended_use": "Research: features of tiles, to train students on. It answers nothing.",
        "licence": request.licence,
        "unit": "slide",
        "input": {
            "tile_px": graph.tile_px,
            "mpp": request.mpp,
            "mpp_tolerance": 0.05,
            "batch": request.batch,
        },
        "graphs": {"encoder": {"file": "encoder.onnx"} | tensors},
        "outputs": [],
        "applicability": {"minimum_tissue_mm2": 0.1, "stains": _STAINS[request.stain]},
        "training": {
            "digest": f"sha256:{graph.digest}",
            "data": [f"Not known here: the weights are those of {graph.source}"],
            "simulated": "The weights are random: its features mean nothing."
            if graph.is_random
            else "",
        },
        "performance": [],
        "probe": {"file": "probe.npz", "tolerance": {f"encoder/{FEATURES}": _tolerance(graph)}},
    }


def _tolerance(graph: EncoderGraph) -> float:
    """Engines differ by some 1e-5 of the size of the numbers."""
    return float(max(1e-3, 1e-3 * graph.largest))


def _card(request: EncoderRequest, graph: EncoderGraph, width: int, engine: str) -> str:
    return _CARD.format(
        name=request.name,
        licence=request.licence,
        source=graph.source,
        digest=graph.digest,
        random="The weights are random (seed 0): a fixture. " if graph.is_random else "",
        tile_px=graph.tile_px,
        mpp=request.mpp,
        width=width,
        colors=graph.colors,
        gap=graph.gap,
        parity=graph.limit,
        engine=engine,
    )


def _opened(out: Path) -> str:
    """The engine on which the bundle passes its exam. Raises TrainingError where it does not."""
    try:
        with open_runtime(open_bundle(out), engine="openvino", precision="fp32", threads=1) as it:
            return it.engine
    except (BundleRejected, EngineMissing) as error:
        raise TrainingError(
            f"the graph: {error}; nothing was written: the node could not run this encoder"
        ) from error
