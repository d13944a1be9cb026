"""What is analyzed of a slide: which cells of which grid, from which level."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engines.manifest.tensors import TileInput
from inference.condition.marks import Marks, find_marks
from inference.errors import Refused, never
from inference.quality import dispute_warning
from inference.slide.color_claims import color_conflict
from inference.slide.decoding import MOST_HALVINGS
from inference.slide.frames import Level
from inference.slide.rules.likeness import frames_around_differ
from inference.slide.rules.presence import tissue_missing
from inference.slide.slide import Slide
from inference.tiles.agreement import Expected, expected_of, is_of, outside_contradicted
from inference.tiles.grid import TileGrid
from inference.tiles.left_out import reasons_of
from inference.tiles.order import Source
from inference.tissue.presence import lost_tissue, shown_by, unknown_to_all
from inference.tissue.regions import halved
from inference.tissue.sums import SummedView
from inference.tissue.tissue import TissueMask, tissue_and_view
from inference.types import LevelAccount, NotAssessable, Reason

LEAST_TISSUE_SHARE = 0.25
"""Least share of tissue in a cell that is analyzed: less is mostly glass, of which the encoder has
seen little, and more would leave out the thin edges where tumors grow."""
_LOST_RIM = 0.25
"""Length of missing tissue, of the side of a cell and a pixel of the mask wide, from which on a
cell is left out: what a scanner takes for glass begins a little elsewhere than what we do."""
_UNKNOWN_SHARE = 0.5
"""Share of a cell that no level shows from which on it counts as tissue where tissue ends at it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is analyzed of a slide."""

    tissue: TissueMask
    sources: tuple[Source, ...]
    """The grid of the model, then the coarser one where it takes two magnifications."""
    expected: tuple[Expected | None, ...]
    """What another level shows under the tiles of each source; None where no other is left."""
    warnings: tuple[str, ...]
    levels: tuple[LevelAccount, ...]
    marks: Marks
    """Folds, pen and bubbles in the cells of the first source."""
    reasons: NDArray[np.uint8]
    """[rows, cols] of the first source: why a cell is no tile, as `left_out` says it."""
    unscanned_mm2: float
    """Area of the slide's matrix that was not scanned, or that no level has frames of."""

    def unread_mm2(self, cells: NDArray[np.int32]) -> float:
        """Area of tissue in tiles of the first source that are not among those read, `cells`
        [N, 2]."""
        if len(cells) == len(self.sources[0].cells):
            return 0.0
        unread = self.reasons == 0
        unread[cells[:, 0], cells[:, 1]] = False
        stride_px = self.sources[0].grid.stride_px
        shares = self.tissue.cell_shares(stride_px, *unread.shape)
        side_mm = stride_px / self.tissue.downsample * self.tissue.mpp / 1000
        return float(shares[unread].sum()) * side_mm**2

    def analyzed_mm2(self, cells: NDArray[np.int32]) -> float:
        """Area of the tissue without that of tiles that were not read."""
        return max(0.0, self.tissue.area_mm2 - self.unread_mm2(cells))


def plan_tiles(
    slide: Slide,
    wanted: TileInput,
    warnings: tuple[str, ...],
    stop: Callable[[], bool] = never,
) -> Plan:
    """The plan for a slide whose base level is fine enough. Raises FramesUnreadable, and Stopped
    when `stop` says so.

    `warnings` are those that the header gave; warnings of the slide and its levels join them.
    Tiles over tissue whose frames are not there are left out. Raises Refused where they are many,
    and where levels show different pictures around the tissue.
    """
    tissue, half = tissue_and_view(slide, stop)
    view = SummedView.of(half)
    stored = {level: level for level in slide.levels}
    if tissue.unscanned is not None:
        stored = {replace(level, unscanned=tissue.unscanned): level for level in stored}
    if wanted.scaled_decoding:
        stored = {**stored, **_scaled_views(stored)}
    levels = tuple(stored)
    sources, missing = [], []
    for grid in _grids(slide, levels, wanted):
        level = levels[grid.level_index]
        has_tissue = tissue.cell_shares(grid.stride_px, grid.rows, grid.cols) >= LEAST_TISSUE_SHARE
        lost = _lost(tissue, has_tissue, slide.levels, level, grid)
        sources.append(Source.of(grid, level, np.argwhere(has_tissue & ~lost).astype(np.int32)))
        missing.append((lost, int((has_tissue | lost).sum())))
    lost, of = missing[0]
    refusal, caution = tissue_missing(int(lost.sum()), of)
    if refusal:
        raise _refused(slide, Reason.TISSUE_MISSING, refusal)
    around, doubt = _around(sources[0], tissue, view)
    if around:
        raise _refused(slide, Reason.LEVELS_DIFFER, around)
    tiles_from = tuple(stored[source.level] for source in sources)
    looked_at = dict.fromkeys((*tiles_from, half.level))
    conflicts = tuple(filter(None, (color_conflict(level) for level in looked_at)))
    first = sources[0].grid
    marks = find_marks(half, tissue, first.stride_px, first.rows, first.cols)
    return Plan(
        tissue=_there(tissue, sources[0].level),
        sources=tuple(sources),
        expected=tuple(expected_of(source, view) for source in sources),
        warnings=(
            *slide.warnings,
            *warnings,
            *conflicts,
            *((caution,) if caution else ()),
            *((doubt,) if doubt else ()),
            *_unscanned(tissue),
            *dispute_warning(tissue.disputed_mm2),
        ),
        levels=slide.accounts_for(tiles=tiles_from, tissue=half.level),
        marks=marks,
        reasons=reasons_of(tissue, marks, lost, sources[0].cells, first.stride_px),
        unscanned_mm2=_unscanned_mm2(slide.levels, tissue),
    )


def _refused(slide: Slide, reason: Reason, sentence: str) -> Refused:
    return Refused(NotAssessable(reason, sentence, slide.geometry, slide.accounts, slide.base_uid))


def _around(source: Source, tissue: TissueMask, view: SummedView) -> tuple[str | None, str]:
    """A refusal, or a caution, where the tiles' level shows something outside of the tissue that
    the view does not show: the mask is not believed there."""
    if is_of(view, source.level):
        return None, ""
    return frames_around_differ(*outside_contradicted(source, halved(tissue.mask), view))


def _lost(
    tissue: TissueMask,
    has_tissue: NDArray[np.bool_],
    levels: Sequence[Level],
    level: Level,
    grid: TileGrid,
) -> NDArray[np.bool_]:
    """[rows, cols] cells whose tissue is not in the frames of their level."""
    if level.has_all_frames:
        return np.zeros(has_tissue.shape, np.bool_)

    def shares(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        return replace(tissue, mask=mask).cell_shares(grid.stride_px, grid.rows, grid.cols)

    lost = lost_tissue(tissue.mask, level, levels, tissue.downsample)
    unknown = unknown_to_all(levels, tissue.mask.shape, tissue.downsample)
    side = grid.stride_px / tissue.downsample
    is_lost = shares(lost) * side**2 > _LOST_RIM * side
    return np.asarray(is_lost & (has_tissue | (shares(unknown) >= _UNKNOWN_SHARE)))


def _there(tissue: TissueMask, level: Level) -> TissueMask:
    """The tissue that the frames of a level show."""
    if level.has_all_frames:
        return tissue
    shown = shown_by(level, tissue.mask.shape, tissue.downsample)
    return replace(tissue, mask=tissue.mask & shown)


def _grids(slide: Slide, levels: Sequence[Level], wanted: TileInput) -> Iterator[TileGrid]:
    """The grid of the model, then the coarser one, nested in it."""
    finest = TileGrid.plan(slide.geometry, levels, wanted)
    yield finest
    if wanted.coarse_mpp:
        at_mpp = wanted.model_copy(update={"mpp": wanted.coarse_mpp})
        coarse = TileGrid.plan(slide.geometry, levels, at_mpp)
        # The manifest takes whole multiples only.
        yield finest.nested(round(wanted.coarse_mpp / wanted.mpp), coarse, slide.geometry)


def _scaled_views(stored: Mapping[Level, Level]) -> dict[Level, Level]:
    """Views of levels decoded at a half, a quarter or an eighth, by the level they are of."""
    views = (
        (level.scaled(k), origin)
        for level, origin in stored.items()
        for k in range(1, 1 + MOST_HALVINGS)
    )
    return {view: origin for view, origin in views if view is not None}


def _unscanned_mm2(levels: Sequence[Level], tissue: TissueMask) -> float:
    """Area of fills of the scanner, and of what is in the frames of no level."""
    if any(level.has_all_frames for level in levels):
        return tissue.unscanned_mm2
    nowhere = unknown_to_all(levels, tissue.mask.shape, tissue.downsample)
    if tissue.unscanned is not None:
        nowhere |= tissue.unscanned.mask
    return replace(tissue, mask=nowhere).area_mm2


def _unscanned(tissue: TissueMask) -> tuple[str, ...]:
    """What is said of areas that were not scanned."""
    if tissue.unscanned is None:
        return ()
    return (
        f"{tissue.unscanned_mm2:.2f} mm2 of the slide are black or of one even color: they were "
        "not scanned, hold no tissue, and were analyzed as glass where they touch it.",
    )
