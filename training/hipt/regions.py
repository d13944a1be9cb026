"""Features of regions from those of their tiles: the second stage, on files that `features` wrote.

Regions lie on the grid of the tiles, 16 x 16 tiles each, from its first row and column. A region
is kept where at least half of its tiles have tissue; a tile that has none was not encoded and
stands there as glass, which is what the published encoder saw at its place.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.errors import TrainingError
from training.hipt.network import REGION_TILES, TILE_PX, TILE_WIDTH, Vit4K
from training.tiles.feature_files import read, read_origin, write_h5

LEAST_TISSUE = 0.5
Floats = NDArray[np.float32]


def region_grids(
    feats: Floats, places: NDArray[np.int64], glass: Floats
) -> tuple[Floats, NDArray[np.int64]]:
    """[R, 16, 16, 384] and the row and column [R, 2] of each region's first tile.

    `feats` [N, 384] of tiles at `places` [N, 2], row and column in the grid; `glass` [384].
    """
    regions = places // REGION_TILES
    kept, of_tile, count = np.unique(regions, axis=0, return_inverse=True, return_counts=True)
    grids = np.tile(glass, (len(kept), REGION_TILES, REGION_TILES, 1)).astype(np.float32)
    inside = places - regions * REGION_TILES
    grids[of_tile.ravel(), inside[:, 0], inside[:, 1]] = feats
    enough = count >= LEAST_TISSUE * REGION_TILES**2
    return grids[enough], kept[enough] * REGION_TILES


def write_regions(file: Path, out: Path, network: Vit4K, glass: Floats, digest: str) -> int:
    """Writes the regions' features of one file of tile features; how many there are.

    `digest` tells both stages from others. Raises TrainingError for tiles of another encoder, or a
    slide without a region of enough tissue.
    """
    found, origin = read(file, width=TILE_WIDTH), read_origin(file)
    if found.coords is None or origin is None or origin.tile_px != TILE_PX:
        raise TrainingError(
            f"{file}: found features without places or not of {TILE_PX} px, expected those that "
            "dicom-train features wrote with the first stage; extract them again"
        )
    places = (found.coords // origin.patch_size_level0)[:, ::-1]
    grids, first = region_grids(found.feats, places, glass)
    if not len(grids):
        raise TrainingError(
            f"{file}: found no region with tissue in half of its tiles, expected one; leave this "
            "slide out"
        )
    with torch.inference_mode():
        feats = torch.cat([network(torch.from_numpy(grid)[None]) for grid in grids]).numpy()
    corners = first[:, ::-1] * origin.patch_size_level0
    said = replace(
        origin,
        encoder=f"{origin.encoder}, regions",
        encoder_digest=digest,
        tile_px=TILE_PX * REGION_TILES,
        patch_size_level0=origin.patch_size_level0 * REGION_TILES,
        grid_rows=-(-origin.grid_rows // REGION_TILES),
        grid_cols=-(-origin.grid_cols // REGION_TILES),
    )
    write_h5(out, feats, np.ascontiguousarray(corners), said)
    return len(feats)
