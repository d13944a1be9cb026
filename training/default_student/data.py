"""Labeled tiles: real ones from the data folder, drawn ones from the phantom."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.phantom.draw import MPP as PHANTOM_MPP
from inference.phantom.draw import STEP, Kind, draw

TILE_PX = 224
TISSUES = ("lung_n", "lung_aca", "lung_scc")
LOW_EPITHELIUM, HIGH_EPITHELIUM = 0.15, 0.65
PHANTOM_SEEDS = {"train": range(1000, 1008), "val": range(1008, 1010), "test": range(1010, 1013)}
FIELDS_PER_KIND = 40


@dataclass(frozen=True)
class TileSet:
    """N labeled tiles of one source."""

    source: str
    mpp: float
    images: NDArray[np.uint8]
    """[N, 224, 224, 3] RGB."""
    tumor: NDArray[np.float32]
    """[N] 0 not tumor .. 1 tumor; between where the label is weak or the tile shows both."""
    fraction: NDArray[np.float32]
    """[N] share of tumor in the tile; of epithelial cells in a breast spot."""
    split: NDArray[np.str_]
    """[N] train, val or test."""
    group: NDArray[np.str_]
    """[N] tiles of one group share an original image or a section: the unit of resampling."""

    def part(self, *splits: str) -> TileSet:
        """The tiles of the named splits."""
        keep = np.isin(self.split, splits)
        arrays = {
            name: getattr(self, name)[keep]
            for name in self.__dataclass_fields__
            if name not in ("source", "mpp")
        }
        return TileSet(source=self.source, mpp=self.mpp, **arrays)

    @property
    def clear(self) -> NDArray[np.bool_]:
        """[N] tiles that are plainly tumor or plainly not: those that figures are computed on."""
        clear: NDArray[np.bool_] = (self.tumor == 0) | (self.tumor >= 0.8)
        return clear

    def __len__(self) -> int:
        return len(self.images)


def lung(folder: Path) -> TileSet:
    """LC25000 lung tiles with their official split by original image.

    The spacing is not documented. Red blood cells (7 to 8 um) measure about 15 px, so the
    tiles are taken as 0.5 um/px.
    """
    rows = _rows(folder / "tiles.csv")
    tissue = np.array([TISSUES.index(row["label"]) for row in rows])
    tumor = (tissue > 0).astype(np.float32)
    return TileSet(
        source="lung",
        mpp=0.5,
        images=_images([folder / row["label"] / Path(row["file"]).name for row in rows]),
        tumor=tumor,
        fraction=tumor,
        split=np.array([row["split"] for row in rows]),
        group=np.array([row["group"] for row in rows]),
    )


def spots(folder: Path) -> TileSet:
    """HER2+ breast spots: patient C trains (section C6 validates), patient B tests.

    Weak labels: most epithelium of these resections is tumor, but not all of it. The target rises
    from 0 at 15 % epithelial cells to 1 at 65 %.
    """
    rows = _rows(folder / "spots.csv")
    names = sorted(name for name in rows[0] if name.startswith("prop_"))
    cells = np.array([[float(row[name]) for name in names] for row in rows], np.float32)
    cells /= np.maximum(cells.sum(axis=1, keepdims=True), 1e-6)
    epithelium = cells[:, names.index("prop_Epithelial")]
    rise = (epithelium - LOW_EPITHELIUM) / (HIGH_EPITHELIUM - LOW_EPITHELIUM)
    section = np.array([row["section"] for row in rows])
    return TileSet(
        source="spots",
        mpp=0.73,
        images=_images([folder / "tiles" / row["tile"] for row in rows]),
        tumor=rise.clip(0, 1).astype(np.float32),
        fraction=epithelium,
        split=np.select([section == "B4", section == "C6"], ["test", "val"], "train"),
        group=section,
    )


def colon(folder: Path) -> TileSet:
    """32 colorectal tiles of 8 tissue classes: seen by no training step."""
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no PNG tiles; give the data folder with --data")
    tumor = np.array([path.name.startswith("TUM") for path in paths], np.float32)
    return TileSet(
        source="colon",
        mpp=0.5,
        images=_images(paths),
        tumor=tumor,
        fraction=tumor,
        split=np.full(len(paths), "test"),
        group=np.array([path.name for path in paths]),
    )


def phantom(split: str) -> TileSet:
    """Fields of drawn slides around points of every kind in equal numbers; no real tissue.

    The target reaches 1 where tumor covers half of a field.
    """
    images, shares, group = [], [], []
    for seed in PHANTOM_SEEDS[split]:
        drawn = fields(seed)
        images += [image for image, _ in drawn]
        shares += [share for _, share in drawn]
        group += [f"phantom-{seed}"] * len(drawn)
    share = np.array(shares, np.float32)
    fraction = share[:, Kind.TUMOR]
    return TileSet(
        source="phantom",
        mpp=PHANTOM_MPP,
        images=np.array(images),
        tumor=np.minimum(fraction / 0.5, 1),
        fraction=fraction,
        split=np.full(len(images), split),
        group=np.array(group),
    )


def fields(seed: int) -> list[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Fields uint8 [224, 224, 3] of one drawn slide with the share of each kind in them [8]."""
    rng, slide = np.random.default_rng(seed), draw(seed, rows=4096, cols=4096)
    side = TILE_PX // STEP
    found = []
    for kind in Kind:
        inner = slide.truth[side // 2 : -side // 2, side // 2 : -side // 2]
        rows, cols = np.nonzero(inner == kind)
        count = min(FIELDS_PER_KIND, len(rows))
        for at in rng.choice(len(rows), count, replace=False) if count else ():
            row, col = rows[at], cols[at]
            truth = slide.truth[row : row + side, col : col + side]
            top, left = row * STEP, col * STEP
            found.append(
                (
                    slide.pixels[top : top + TILE_PX, left : left + TILE_PX].copy(),
                    np.bincount(truth.ravel(), minlength=len(Kind)) / truth.size,
                )
            )
    return found


def digest(paths: list[Path]) -> str:
    """SHA-256 over the names and bytes of files, in order of name."""
    total = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        total.update(f"{path.name}\0".encode() + path.read_bytes())
    return total.hexdigest()


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _images(paths: list[Path]) -> NDArray[np.uint8]:
    images = np.empty((len(paths), TILE_PX, TILE_PX, 3), np.uint8)
    for at, path in enumerate(paths):
        with Image.open(path) as image:
            if image.size != (TILE_PX, TILE_PX):
                raise ValueError(f"{path}: {image.size} pixels, expected {TILE_PX} x {TILE_PX}")
            images[at] = np.asarray(image.convert("RGB"))
    return images
