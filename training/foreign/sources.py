"""The sources of the bench, from a table: slides and pictures, cut into tiles.

The table is TOML, one `[[source]]` each, with the fields of `Entry`. A source is a slide, or the
pictures of one place taken as a slide.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, ValidationError

from engines.manifest.tensors import TileInput
from engines.manifest.values import Strict
from inference.errors import SlideError
from inference.slide.slide import open_slide
from inference.tiles.grid import stream
from inference.tiles.planning import plan_tiles
from training.errors import TrainingError
from training.tiles.slide_files import find_slides

Tiles = NDArray[np.uint8]
"""[N, tile_px, tile_px, 3] RGB."""

SHIPPED = Path(__file__).with_name("sources.toml")
"""Of the shipped student: its training tiles set the limits."""
_GLASS, _MOST_GLASS = 220, 0.75
"""Of a picture: a pixel with all colors above is glass, a tile with more of it is not used."""


class Entry(Strict):
    """One entry of the table."""

    name: str
    kind: Literal["reference", "ordinary", "foreign"]
    """`reference` sets the limits, `ordinary` and `foreign` are told apart."""
    what: str
    """Stain, preparation, origin, and what is known of its independence: for the reader."""
    files: str
    """Below a data folder: a folder with one DICOM slide, or a glob of pictures."""
    mpp: float | None = Field(default=None, gt=0.05, lt=10)
    """Of pictures, um per pixel; a slide states its own."""
    table: str | None = None
    """A CSV that knows more of the pictures."""
    file_column: str = "file"
    """Their names in it, whatever folder is before them."""
    where: dict[str, str] = Field(default_factory=dict)
    """Values that a picture's columns must have."""
    each: str | None = None
    """A column: its values are sources of their own."""


def read_table(path: Path) -> tuple[Entry, ...]:
    """The entries. Raises TrainingError for a table that cannot be read or repeats a name."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        entries = tuple(Entry(**entry) for entry in content["source"])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: {error}; expected TOML with [[source]] entries") from error
    except ValidationError as error:
        raise TrainingError(f"{path}: {error}") from error
    if len({entry.name for entry in entries}) != len(entries):
        raise TrainingError(f"{path}: found a name twice, expected names that differ")
    return entries


def tiles_of(
    entry: Entry, folders: Sequence[Path], wanted: TileInput, most: int
) -> Iterator[tuple[str, Tiles]]:
    """Name and at most `most` tiles of each source of the entry, evenly over it.

    Raises TrainingError where there is none, and for a slide that inference would refuse.
    """
    if Path(entry.files).is_absolute() or not entry.files:
        raise TrainingError(f"{entry.name}: found files {entry.files!r}, expected a relative path")
    found = (sorted(folder.glob(entry.files)) for folder in folders)
    paths = next((paths for paths in found if paths), [])
    if not paths:
        raise TrainingError(f"{entry.name}: found nothing at {entry.files}")
    if paths[0].is_dir():
        yield entry.name, _slide(paths[0], wanted, most)
        return
    if entry.mpp is None:
        raise TrainingError(f"{entry.name}: found pictures without mpp, expected it in the table")
    for unit, members in _units(entry, folders, paths).items():
        yield unit, _pictures(members, wanted, entry.mpp, most)


def _units(entry: Entry, folders: Sequence[Path], paths: Sequence[Path]) -> dict[str, list[Path]]:
    """The pictures of each source of the entry."""
    if entry.table is None:
        return {entry.name: list(paths)}
    table = next((f / entry.table for f in folders if (f / entry.table).is_file()), None)
    if table is None:
        raise TrainingError(f"{entry.name}: found no table at {entry.table}")
    with table.open(newline="", encoding="utf-8") as stream_:
        lines = csv.DictReader(stream_)
        columns = {entry.file_column, *entry.where, *([entry.each] if entry.each else [])}
        missing = columns - set(lines.fieldnames or ())
        if missing:
            raise TrainingError(f"{table}: found no column {', '.join(sorted(missing))}")
        rows = {Path(row[entry.file_column]).name: row for row in lines}
    units: dict[str, list[Path]] = {}
    for path in paths:
        row = rows.get(path.name)
        if row and all(row[column] == value for column, value in entry.where.items()):
            unit = f"{entry.name} {row[entry.each]}" if entry.each else entry.name
            units.setdefault(unit, []).append(path)
    if not units:
        raise TrainingError(f"{entry.name}: found no picture that {entry.table} selects")
    return units


def _slide(folder: Path, wanted: TileInput, most: int) -> Tiles:
    """Tiles as the node cuts them."""
    slides = find_slides([folder])
    if len(slides) != 1:
        raise TrainingError(f"{folder}: found {len(slides)} slides, expected one")
    try:
        coarsest = wanted.mpp * (1 + wanted.mpp_tolerance)
        with open_slide(slides[0].paths, icc=wanted.icc, coarsest_mpp=coarsest) as slide:
            source = plan_tiles(slide, wanted, ()).sources[0]
            cells = source.cells[_evenly(len(source.cells), most)]
            cut = stream(source.level, source.grid, cells, wanted.batch)
            return np.concatenate([batch.pixels.copy() for batch in cut])
    except (SlideError, ValueError) as error:
        raise TrainingError(f"{folder}: {error}") from error


def _pictures(paths: Sequence[Path], wanted: TileInput, mpp: float, most: int) -> Tiles:
    chosen = [paths[at] for at in _evenly(len(paths), most)]
    found = [tile for path in chosen for tile in _cut(path, wanted, mpp / wanted.mpp)]
    if not found:
        return np.empty((0, wanted.tile_px, wanted.tile_px, 3), np.uint8)
    return np.stack([found[at] for at in _evenly(len(found), most)])


def _cut(path: Path, wanted: TileInput, scale: float) -> list[Tiles]:
    """Tiles side by side around the center of a picture at the student's spacing."""
    try:
        with Image.open(path) as image:
            picture = _rgb(image)
    except OSError as error:
        raise TrainingError(f"{path}: no picture that can be read") from error
    size = [round(side * scale) for side in picture.size]
    pixels = np.asarray(picture.resize((size[0], size[1]), Image.Resampling.LANCZOS))
    side = wanted.tile_px
    rows, cols = (length // side for length in pixels.shape[:2])
    top, left = (pixels.shape[0] - rows * side) // 2, (pixels.shape[1] - cols * side) // 2
    pixels = pixels[top : top + rows * side, left : left + cols * side]
    cut = pixels.reshape(rows, side, cols, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    return [tile for tile in cut if (tile > _GLASS).all(axis=2).mean() <= _MOST_GLASS]


def _rgb(image: Image.Image) -> Image.Image:
    """A picture in 8-bit color; gray ones of 16 bits are stretched to their brightest pixel."""
    if image.mode.startswith("I"):
        gray = np.asarray(image, np.float64)
        return Image.fromarray((gray * (255 / max(gray.max(), 1))).astype(np.uint8)).convert("RGB")
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _evenly(count: int, most: int) -> NDArray[np.intp]:
    """At most `most` of `count` places, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))
