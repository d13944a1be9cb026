"""What of a slide was analyzed, and what was left out and why, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dicom_node.results.sr.figures import percent, rounded, tile_mm
from engines.manifest.whole import Manifest
from inference.tiles.left_out import Why
from inference.tiles.planning import LEAST_TISSUE_SHARE
from inference.types import Condition, LevelAccount, Prediction

_READ = ("tiles", "tissue", "tiles and tissue")
_MOST_LEVELS = 6
_WHY: dict[str, str] = {
    Why.GLASS: "glass",
    Why.EDGE: f"edge of tissue, less than {LEAST_TISSUE_SHARE:.0%} in them",
    Why.PEN: "pen marks or black dirt",
    Why.FOLD: "folds",
    Why.BUBBLE: "air bubbles",
    Why.NOT_SCANNED: "not scanned",
    Why.NO_FRAMES: "tissue that is not in the files",
    Why.NOT_READ: "pixels that could not be read or that levels contradict",
}


def analyzed(result: Prediction, manifest: Manifest) -> Iterator[str]:
    """Tissue and tiles, the levels that were read, and the spacing."""
    geometry, wanted = result.geometry, manifest.input
    height, width = tile_mm(result)
    yield (
        f"{rounded(result.tissue_area_mm2)} mm2 of tissue, {_share(result)}, in "
        f"{result.tiles_analyzed} tiles of {rounded(1000 * width)} x {rounded(1000 * height)} um."
    )
    base = sorted({rounded(1000 * v) for v in (geometry.spacing_row_mm, geometry.spacing_col_mm)})
    yield (
        f"The model takes {wanted.tile_px} px at {wanted.mpp:g} um per pixel; the slide was "
        f"scanned at {' x '.join(map(str, base))} um per pixel."
    )
    read = [level for level in result.levels if level.used_as in _READ]
    for level in read[:_MOST_LEVELS]:
        yield f"Read for {level.used_as}: {_level(level)}."


def _share(result: Prediction) -> str:
    """The tissue in percent of what was scanned, or of the matrix where that is not known."""
    geometry = result.geometry
    area = geometry.rows * geometry.spacing_row_mm * geometry.cols * geometry.spacing_col_mm
    if result.unscanned_mm2 is None:
        return f"{percent(min(1.0, result.tissue_area_mm2 / area))} % of the whole image"
    # pixels of the mask reach a little over the matrix, and over what is not scanned
    scanned = max(area - result.unscanned_mm2, result.tissue_area_mm2)
    return f"{percent(min(1.0, result.tissue_area_mm2 / scanned))} % of the scanned area"


def left_out(result: Prediction, manifest: Manifest) -> Iterator[str]:
    """Cells of the grid without a tile, levels left aside, and what was not asked."""
    yield from left_out_of(result)
    yield from not_judged(manifest)


def left_out_of(result: Prediction) -> Iterator[str]:
    """Cells of the grid without a tile, levels left aside, and what befell tiles."""
    yield from _places(result)
    yield from levels_left_out(result.levels)
    yield from _found(result.condition)


def _places(result: Prediction) -> Iterator[str]:
    """Cells of the grid without a tile, by reason, with their areas, glass in them included."""
    size = next((heatmap.values.size for heatmap in result.heatmaps), 0)
    if result.left_out:
        height, width = tile_mm(result)
        counts = [(why, result.left_out[why]) for why in _WHY if result.left_out.get(why)]
        parts = [f"{_WHY[why]} {n} ({rounded(n * height * width)} mm2)" for why, n in counts]
        others = sum(n for _, n in counts)
        yield (
            f"{others} of {others + result.tiles_analyzed} places for a tile "
            f"({rounded(others * height * width)} mm2): {', '.join(parts)}."
        )
    elif others := max(0, size - result.tiles_analyzed):  # a result of an earlier version
        yield (
            f"{others} of {size} places for a tile: less than {LEAST_TISSUE_SHARE:.0%} tissue in "
            "them, or their pixels could not be read, which a caution says."
        )


def not_judged(manifest: Manifest) -> Iterator[str]:
    """What the model does not ask of a slide."""
    reference = manifest.out_of_distribution
    if reference is None or not reference.is_proven:
        yield (
            f"Whether the {manifest.unit} is unlike those the model was trained on was not judged: "
            "this model has not shown that it can tell."
        )


def levels_left_out(levels: Sequence[LevelAccount]) -> Iterator[str]:
    """Images of the slide that were not read, and why."""
    aside = [level for level in levels if level.used_as not in _READ]
    for level in aside[:_MOST_LEVELS]:
        yield f"Not read: {_level(level)} ({level.used_as.removeprefix('left aside: ')})."
    if len(aside) > _MOST_LEVELS:
        yield f"{len(aside) - _MOST_LEVELS} more images of the slide."


def _level(level: LevelAccount) -> str:
    spacing = "" if level.mpp is None else f" at {level.mpp:.3g} um per pixel"
    return f"{level.flavor} of {level.cols} x {level.rows} px{spacing}"


def _found(condition: Condition | None) -> Iterator[str]:
    """Of what was analyzed, what befell the slide: it was not left out, and is said here."""
    if condition is None:
        return
    named = (
        ("out of focus", condition.blurred, " looked at"),  # a sample of the tiles
        ("folded", condition.folded, ""),
        ("with pen or black dirt", condition.inked, ""),
        ("with air bubbles", condition.bubbles, ""),
    )
    parts = [
        f"{name} {found.tiles} of {found.of}{which}"
        for name, found, which in named
        if found is not None and found.tiles
    ]
    if parts:
        yield f"Analyzed all the same: tiles {', '.join(parts)}."
