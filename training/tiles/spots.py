"""Spots with measured expression as small slides and a cohort's tables.

    python -m training.tiles.spots DATA OUT

Spatial transcriptomics gives a picture and the counts of every gene for spots of a section. Blocks
of 4 x 4 neighboring spots become slides: the tile of a spot is one cell of the grid, stored without
loss, and a place without a spot is glass. The expression of a slide is that of its spots together,
its label whether it holds more epithelium or more stroma, by the published shares of cell types.
These were read from the same counts: what a teacher of counts says of the label is no finding, and
a student of it shows the way from pixels and expression to a report, nothing more.

OUT/slides/BLOCK/level-0.dcm, OUT/slides.csv, OUT/outcome.csv, OUT/expression.csv; the spots of
patient B are fold 0, those of C the others, by section.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray
from PIL import Image

from training.errors import TrainingError
from training.tiles.research_slides import as_dicom

MPP = 0.73
TILE_PX = 224
SIDE = 4
"""Spots along a side of a block."""
FEWEST_SPOTS = 8
STROMA = ("prop_CAFs", "prop_Endothelial", "prop_PVL")
LEAST_SEEN = 0.1
"""Genes that fewer of patient C's spots show are left out."""
FOLDS = {"B4": 0, "C2": 1, "C3": 2, "C4": 3, "C5": 4, "C6": 4}
"""Patient B is tested on, and seen by nothing before."""
GLASS = 244
CLASSES = ("stroma", "epithelium")
"""Which of the two a block holds more of."""
_PER = 1e4


def write(data: Path, out: Path, *, most: int | None = None) -> pd.DataFrame:
    """Writes slides and tables to the new folder `out`; one row per block: section, spots, label.

    `data` holds spots.csv, counts.npz and tiles/ of the published spots; `most` blocks a section.
    Raises TrainingError where these are not there or `out` is.
    """
    if not (data / "spots.csv").is_file() or not (data / "counts.npz").is_file():
        raise TrainingError(
            f"{data}: found no spots.csv with counts.npz, expected both and tiles/: name the "
            "folder of the spots"
        )
    if out.exists():
        raise TrainingError(f"found {out}, expected a new folder: choose another or remove it")
    spots = pd.read_csv(data / "spots.csv")
    with np.load(data / "counts.npz", allow_pickle=False) as stored:
        counts = pd.DataFrame(stored["counts"], index=stored["tiles"], columns=stored["genes"])
        total = pd.Series(stored["total"], index=stored["tiles"])
    blocks = blocks_of(spots, most)
    rows = []
    for name, block in blocks.items():
        _write_slide(data / "tiles", block, out / "slides" / name)
        rows.append(
            {
                "patient": name,
                "section": block["section"].iloc[0],
                "spots": len(block),
                "label": label_of(block),
            }
        )
    table = pd.DataFrame(rows).set_index("patient")
    _write_tables(out, table, expression(blocks, counts, total))
    return table


def blocks_of(spots: pd.DataFrame, most: int | None = None) -> dict[str, pd.DataFrame]:
    """Blocks of enough spots by name, with the row and column of each spot in its block."""
    at = spots["spot"].str.strip().str.split("x", expand=True).astype(int)
    placed = spots.assign(col=at[0] % SIDE, row=at[1] % SIDE, across=at[0] // SIDE,
                          down=at[1] // SIDE)  # fmt: skip
    found: dict[str, pd.DataFrame] = {}
    for (section, down, across), block in placed.groupby(["section", "down", "across"]):
        enough = len(block) >= FEWEST_SPOTS and section in FOLDS
        before = sum(name.startswith(f"{section}-") for name in found)
        if enough and (most is None or before < most):
            found[f"{section}-{down:02d}-{across:02d}"] = block
    return found


def label_of(block: pd.DataFrame) -> str:
    """Which of CLASSES is more, over the spots whose cell types are known."""
    shares = block[[name for name in block if name.startswith("prop_")]].dropna()
    mean = shares.div(shares.sum(axis=1), axis=0).mean()
    return CLASSES[int(mean["prop_Epithelial"] > mean[list(STROMA)].sum())]


def expression(
    blocks: dict[str, pd.DataFrame], counts: pd.DataFrame, total: pd.Series[int]
) -> pd.DataFrame:
    """log(1 + counts per 10,000) of each block, of the genes that patient C's spots show."""
    of_training = [tile for name, block in blocks.items() if FOLDS[name[:2]] for tile in block.tile]
    kept = counts.columns[(counts.loc[of_training] > 0).mean(axis=0) >= LEAST_SEEN]
    values = {
        name: np.log1p(counts.loc[block.tile, kept].sum() / total[block.tile].sum() * _PER)
        for name, block in blocks.items()
    }
    return pd.DataFrame(values).T.rename_axis("patient")


def _write_slide(tiles: Path, block: pd.DataFrame, folder: Path) -> None:
    """A slide of one level; the picture goes through a TIFF without loss."""
    pixels: NDArray[np.uint8] = np.full((SIDE * TILE_PX, SIDE * TILE_PX, 3), GLASS, np.uint8)
    for tile, row, col in block[["tile", "row", "col"]].itertuples(index=False):
        with Image.open(tiles / tile) as image:
            place = np.s_[row * TILE_PX : (row + 1) * TILE_PX, col * TILE_PX : (col + 1) * TILE_PX]
            pixels[place] = np.asarray(image.convert("RGB"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    tiff = folder.with_suffix(".tiff")
    per_cm = 1e4 / MPP
    tifffile.imwrite(
        tiff, pixels, tile=(TILE_PX, TILE_PX), compression="zlib", photometric="rgb",
        resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
    )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    as_dicom(tiff, folder)
    tiff.unlink()


def _write_tables(out: Path, table: pd.DataFrame, genes: pd.DataFrame) -> None:
    outcome = table[["label"]].assign(time_months="", event="", site=table["section"].str[0])
    outcome.to_csv(out / "outcome.csv")
    slides = pd.DataFrame({
        "slide": table.index,
        "file": [f"features/mpp-{MPP:g}/{name}.h5" for name in table.index],
        "coarse": [f"features/mpp-{2 * MPP:g}/{name}.h5" for name in table.index],
        "fold": table["section"].map(FOLDS),
    }, index=table.index)  # fmt: skip
    slides.to_csv(out / "slides.csv")
    genes.to_csv(out / "expression.csv", float_format="%.5g")


def main(words: Sequence[str] | None = None) -> int:
    """The command; 3 for data that are not there."""
    parser = argparse.ArgumentParser(prog="python -m training.tiles.spots")
    parser.add_argument("data", type=Path, help="folder with spots.csv, counts.npz and tiles/")
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--most", type=int, metavar="N", help="blocks of a section")
    arguments = parser.parse_args(words)
    try:
        table = write(arguments.data, arguments.out, most=arguments.most)
    except TrainingError as error:
        print(f"training.tiles.spots: {error}", file=sys.stderr)
        return 3
    print(table.groupby(["section", "label"]).size().unstack(fill_value=0).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
