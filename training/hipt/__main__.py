"""`python -m training.hipt`: HIPT's region encoder with weights that a site has.

    regions FEATURES ... --out DIR    the second stage, on what dicom-train features wrote
    measure [BUNDLE]                  both stages on a drawn region: shapes, memory, seconds; or
                                      the first stage's bundle as the node's engine runs it

The first stage is an encoder like others: `dicom-train encoder hipt:WEIGHTS`. The published weights
have a licence of their own, which whoever downloads them accepts.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from training.errors import TrainingError
from training.hipt.network import REGION_TILES, TILE_PX, Vit4K, Vit256
from training.hipt.regions import write_regions
from training.hipt.weights import RANDOM, loaded
from training.tiles.encoders import open_encoder

_TILES_AT_ONCE = 16
_TILES_OF_GRAPH = 64
_GLASS = 243
"""Color of glass in a bright field, as drawn slides have it."""


def regions(files: Sequence[Path], first: str, second: str, out: Path) -> int:
    """Region features of feature files, beside each other in `out`; how many files."""
    network = loaded(Vit4K(), second)
    glass = torch.full((1, TILE_PX, TILE_PX, 3), _GLASS, dtype=torch.uint8)
    with torch.inference_mode():
        blank = loaded(Vit256(), first)(glass)[0].numpy()
    digest = _digest(first, second)
    for file in files:
        count = write_regions(file, out / file.name, network, blank, digest)
        print(f"{file.name}: {count} regions")
    return len(files)


def measure() -> str:
    """Both stages on one drawn region, with random weights, one thread."""
    torch.set_num_threads(1)
    one, two = loaded(Vit256(), RANDOM), loaded(Vit4K(), RANDOM)
    pixels = np.random.default_rng(0).integers(
        0, 256, (REGION_TILES**2, TILE_PX, TILE_PX, 3), np.uint8
    )
    before = _peak_mb()
    started = time.perf_counter()
    with torch.inference_mode():
        tiles = torch.cat([one(part) for part in torch.from_numpy(pixels).split(_TILES_AT_ONCE)])
        middle = time.perf_counter()
        found = two(tiles.reshape(1, REGION_TILES, REGION_TILES, -1))
    ended = time.perf_counter()
    sizes = (sum(p.numel() for p in stage.parameters()) / 1e6 for stage in (one, two))
    return (
        f"tiles {list(tiles.shape)} in {middle - started:.1f} s, region {list(found.shape)} in "
        f"{ended - middle:.3f} s, {' and '.join(f'{size:.1f} M' for size in sizes)} weights, peak "
        f"{_peak_mb()} MB ({before} MB before)"
    )


def measure_graph(root: Path) -> str:
    """The graph of a bundle of the first stage on the node's engine, one thread, noise as tiles.

    Raises TrainingError for what is no such bundle.
    """
    pixels = np.random.default_rng(0).integers(
        0, 256, (_TILES_OF_GRAPH, TILE_PX, TILE_PX, 3), np.uint8
    )
    before = _peak_mb()
    with open_encoder(str(root)) as encoder:
        parts = [pixels[at : at + encoder.batch] for at in range(0, len(pixels), encoder.batch)]
        encoder(parts[0])  # what an engine does once, when it is asked first
        started = time.perf_counter()
        tiles = np.concatenate([encoder(part) for part in parts])
        seconds = time.perf_counter() - started
        engine = encoder.engine
    return (
        f"tiles {list(tiles.shape)} in {seconds:.1f} s, {seconds / len(tiles):.3f} s a tile, "
        f"{engine}, one thread, peak {_peak_mb()} MB ({before} MB before)"
    )


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _digest(*weights: str) -> str:
    digest = hashlib.sha256(b"hipt")
    for file in weights:
        digest.update(file.encode() if file == RANDOM else Path(file).read_bytes())
    return digest.hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one of the two; 3 where it is refused."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m training.hipt")
    commands = parser.add_subparsers(dest="command", required=True)
    second = commands.add_parser("regions")
    second.add_argument("files", type=Path, nargs="+", metavar="FEATURES.h5")
    second.add_argument("--first", required=True, metavar="WEIGHTS")
    second.add_argument("--second", required=True, metavar="WEIGHTS")
    second.add_argument("--out", type=Path, required=True, metavar="DIR")
    third = commands.add_parser("measure")
    third.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE")
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "regions":
            print(f"{regions(asked.files, asked.first, asked.second, asked.out)} files")
        else:
            print(measure() if asked.bundle is None else measure_graph(asked.bundle))
    except TrainingError as error:
        sys.stderr.write(f"training.hipt: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
