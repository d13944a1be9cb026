"""Areas, shares and ratios of tissue, counted over the most probable classes of tiles.

A tile counts as its place in the grid: what an encoder saw may reach into the tiles beside it, and
no tissue is counted twice for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engines.manifest.outputs import HeatmapOutput, MeasureOutput
from engines.manifest.whole import Manifest
from inference.composition.scope import names_of, out_of_scope
from inference.specimen.deciding import Decision
from inference.types import ClassMap, Measured, Prediction


@dataclass(frozen=True, slots=True)
class Counted:
    """Tiles of one slide."""

    tiles: int
    """Of the classes of a measure."""
    of: int
    """Of all tissue, or of the other side of a ratio."""
    near: int
    """Of the classes around which is counted."""
    tile_mm2: float


@dataclass(frozen=True, slots=True)
class Composed:
    """A slide whose tiles have classes."""

    told: Prediction
    """With its maps of classes."""
    origin: Decision | None


def measures_of(
    manifest: Manifest, slides: Sequence[Composed]
) -> tuple[dict[str, Measured], dict[str, str]]:
    """What is counted of one slide, or of those of a case together, by output name; and why
    another output is not assessed."""
    found, silent = {}, {}
    for output in manifest.measures:
        of_map = next(m for m in manifest.class_maps if m.name == output.map)
        whys = [_silence(output, of_map, slide) for slide in slides]
        counted = [
            count(output, of_map, _maps(slide.told)[output.map], tile_mm2(slide.told))
            for slide, why in zip(slides, whys, strict=True)
            if not why
        ]
        if not counted:
            silent[output.name] = whys[0] if len(set(whys)) == 1 else _no_slide(output, of_map)
            continue
        measured = measure(output, counted)
        left_out = len(slides) - len(counted)
        if left_out:
            measured = replace(measured, beside=_left_out(output, of_map, left_out, len(slides)))
        found[output.name] = measured
    return found, silent


def silence_of(manifest: Manifest, slide: Composed) -> dict[str, str]:
    """Why measures must not be counted on a slide, in a sentence, by output name."""
    of_maps = {of_map.name: of_map for of_map in manifest.class_maps}
    whys = {m.name: _silence(m, of_maps[m.map], slide) for m in manifest.measures}
    return {name: why for name, why in whys.items() if why}


def count(
    output: MeasureOutput, of_map: HeatmapOutput, found: ClassMap, tile_mm2: float
) -> Counted:
    """The tiles of one slide that a measure is of."""
    is_tissue = _is_of(found, of_map, [code.meaning for code in of_map.tissue])
    is_near = _is_of(found, of_map, output.near)
    where = is_tissue & around(is_near) if output.near else is_tissue
    other = _is_of(found, of_map, output.over) if output.over else is_tissue
    return Counted(
        tiles=int((_is_of(found, of_map, output.classes) & where).sum()),
        of=int((other & where).sum()),
        near=int(is_near.sum()),
        tile_mm2=tile_mm2,
    )


def around(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[R, C]: these cells of a grid and the eight that touch each."""
    rows, cols = cells.shape
    wide = np.pad(cells, 1)
    shifted = [wide[r : r + rows, c : c + cols] for r in range(3) for c in range(3)]
    found: NDArray[np.bool_] = np.any(shifted, axis=0)
    return found


def measure(output: MeasureOutput, counted: Sequence[Counted]) -> Measured:
    """The quantity over all that was counted, or why it has no sound value."""
    tiles, of = sum(c.tiles for c in counted), sum(c.of for c in counted)
    area = sum(c.tiles * c.tile_mm2 for c in counted)
    other = sum(c.of * c.tile_mm2 for c in counted)
    if output.near and not any(c.near for c in counted):
        why = f"Not assessable, because no tile of {_words(output.near)} was found."
        return Measured(None, tiles, of, why)
    if output.quantity == "area":
        return Measured(area, tiles, of)
    if of < output.least_tiles:
        what = _words(output.over) if output.over else "tissue"
        where = f" in and around {_words(output.near)}" if output.near else ""
        were = "1 tile" if of == 1 else f"{of or 'no'} tiles"
        why = (
            f"Not assessable, because {were} of {what} {'was' if of == 1 else 'were'} "
            f"found{where}; {output.least_tiles} are needed."
        )
        return Measured(None, tiles, of, why)
    value = area / other
    return Measured(min(value, 1.0) if output.quantity == "share" else value, tiles, of)


def tile_mm2(told: Prediction) -> float:
    """Area of a place of the grid."""
    geometry = told.geometry
    return told.stride_px**2 * geometry.spacing_row_mm * geometry.spacing_col_mm


def _is_of(found: ClassMap, of_map: HeatmapOutput, meanings: Sequence[str]) -> NDArray[np.bool_]:
    places = [n for n, code in enumerate(of_map.classes) if code.meaning in meanings]
    return np.isin(found.classes, np.array(places, np.uint8))


def _maps(told: Prediction) -> Mapping[str, ClassMap]:
    return {one.name: one for one in told.class_maps}


def _silence(output: MeasureOutput, of_map: HeatmapOutput, slide: Composed) -> str:
    own = out_of_scope(output.organs, slide.origin)
    return own or out_of_scope(of_map.organs, slide.origin)


def _no_slide(output: MeasureOutput, of_map: HeatmapOutput) -> str:
    organs = names_of(output.organs or of_map.organs)
    return f"Not assessed, because it was measured on {organs} only; no slide used is of it."


def _left_out(output: MeasureOutput, of_map: HeatmapOutput, left_out: int, of: int) -> str:
    organs = names_of(output.organs or of_map.organs)
    return (
        f"{left_out} of {of} slides used are not counted: it was measured on {organs} only, and "
        "they are of another organ or do not say of which."
    )


def _words(meanings: Sequence[str]) -> str:
    return " or ".join(meanings)
