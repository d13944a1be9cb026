"""Slide to prediction: the whole path, in the order it is walked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.manifest import HeatmapOutput, Manifest, OutOfDistribution
from inference import quality
from inference.archive import load, save
from inference.errors import FramesUnreadable, Refused, Stopped
from inference.heatmap import assemble
from inference.outlines import outlines
from inference.slide import Slide, open_slide
from inference.tiles import TileGrid, stream
from inference.tissue import TissueMask, tissue_level, tissue_mask
from inference.types import Heatmap, LevelAccount, NotAssessable, Prediction, Progress, Reason

__all__ = ["Stopped", "load", "predict", "save"]

LEAST_TISSUE_SHARE = 0.25
"""Least share of tissue in a cell that is analyzed: less is mostly glass, of which the encoder has
seen little, and more would leave out the thin edges where tumors grow."""
_FEATURES = "features"

Array = NDArray[Any]


class Runtime(Protocol):
    """What is asked of engines.runtime.Runtime."""

    @property
    def manifest(self) -> Manifest: ...

    def run(self, graph_name: str, arrays: Mapping[str, Array]) -> dict[str, Array]: ...


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is analyzed of a slide."""

    tissue: TissueMask
    grid: TileGrid
    cells: NDArray[np.int32]
    """[N, 2] in raster order."""
    warnings: tuple[str, ...]
    levels: tuple[LevelAccount, ...]


def predict(
    paths: Sequence[Path],
    runtime: Runtime,
    *,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Prediction | NotAssessable:
    """What the student says of the slide in these files, or why it must not say anything.

    The same files, bundle and device give the same numbers. Raises SlideUnreadable for files that
    are broken or not of one slide, Stopped when `stop` says so (asked between batches), and what
    the runtime raises.
    """
    try:
        with open_slide(paths) as slide:
            return _predict(slide, runtime, progress or _ignore, stop or _never)
    except Refused as refused:
        return refused.verdict


def _predict(
    slide: Slide,
    runtime: Runtime,
    progress: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> Prediction | NotAssessable:
    manifest = runtime.manifest
    accounts = slide.accounts
    try:
        refusal = quality.magnification_refusal(slide.mpp, manifest.input)
        stain, warnings = quality.stain_refusal(slide.stains, manifest.applicability)
        if refusal or stain:
            return _not_assessable(slide, accounts, refusal or stain)
        plan = _plan(slide, manifest, warnings)
        accounts = plan.levels
        refusal = quality.tissue_refusal(
            plan.tissue.area_mm2, len(plan.cells), manifest.applicability
        )
        if refusal:
            return _not_assessable(slide, accounts, refusal)
        encoded = _encode(slide, plan, runtime, progress, stop)
    except FramesUnreadable as error:
        return _not_assessable(slide, accounts, (Reason.FRAMES_UNREADABLE, str(error)))
    inputs = {t.name: encoded[t.name] for t in manifest.graphs["aggregator"].inputs}
    outputs = runtime.run("aggregator", inputs)
    tile_values = {
        h.name: (encoded if h.graph == "encoder" else outputs)[h.tensor].reshape(-1)
        for h in manifest.heatmaps
    }
    refusal = quality.output_refusal(manifest, outputs, tile_values)
    if refusal:
        return _not_assessable(slide, accounts, refusal)
    unusual = _out_of_distribution(encoded.get(_FEATURES), manifest.out_of_distribution)
    return _prediction(slide, manifest, plan, outputs, tile_values, unusual)


def _plan(slide: Slide, manifest: Manifest, warnings: tuple[str, ...]) -> _Plan:
    grid = TileGrid.plan(slide.geometry, slide.levels, manifest.input)
    tiles_from, tissue_from = slide.levels[grid.level_index], tissue_level(slide)
    tissue = tissue_mask(slide)
    shares = tissue.cell_shares(grid.stride_px, grid.rows, grid.cols)
    conflicts = tuple(
        f"The header of the level of {level.rows} x {level.cols} pixels says RGB, its JPEG frames "
        "say YCbCr; the frames were believed, as viewers do."
        for level in dict.fromkeys((tiles_from, tissue_from))
        if level.header_conflicts()
    )
    return _Plan(
        tissue=tissue,
        grid=grid,
        cells=np.argwhere(shares >= LEAST_TISSUE_SHARE).astype(np.int32),
        warnings=slide.warnings + warnings + conflicts,
        levels=slide.accounts_for(tiles=tiles_from, tissue=tissue_from),
    )


def _encode(
    slide: Slide,
    plan: _Plan,
    runtime: Runtime,
    progress: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> dict[str, Array]:
    """Outputs of the encoder [N, ...] by tensor name, those that anything asks for."""
    manifest = runtime.manifest
    encoder = manifest.graphs["encoder"]
    wanted = _wanted(manifest)
    tiles_name = encoder.inputs[0].name
    total = len(plan.cells)
    collected: dict[str, Array] = {}
    done = 0
    since = monotonic()
    progress(Progress(0, total, 0.0))
    for batch in stream(slide, plan.grid, plan.cells, manifest.input.batch):
        if stop():
            raise Stopped(f"stopped after {done} of {total} tiles")
        outputs = runtime.run("encoder", {tiles_name: batch.pixels})
        count = len(batch.cells)
        for name in wanted:
            values = outputs[name]
            if name not in collected:
                collected[name] = np.empty((total, *values.shape[1:]), values.dtype)
            collected[name][done : done + count] = values
        done += count
        progress(Progress(done, total, monotonic() - since))
    return collected


def _wanted(manifest: Manifest) -> set[str]:
    """Encoder tensors that the aggregator takes, heatmaps show, or the comparison needs."""
    taken = {t.name for t in manifest.graphs["aggregator"].inputs}
    shown = {h.tensor for h in manifest.heatmaps if h.graph == "encoder"}
    compared = {_FEATURES} if manifest.out_of_distribution else set()
    return taken | shown | compared


def _prediction(
    slide: Slide,
    manifest: Manifest,
    plan: _Plan,
    outputs: Mapping[str, Array],
    tile_values: Mapping[str, Array],
    unusual: tuple[str, ...],
) -> Prediction:
    scores = {s.name: float(outputs[s.tensor].reshape(())) for s in manifest.scores}
    return Prediction(
        geometry=slide.geometry,
        stride_px=plan.grid.stride_px,
        scores=scores,
        percentiles={
            s.name: float(np.interp(scores[s.name], s.percentiles, np.arange(101)))
            for s in manifest.scores
            if s.percentiles is not None
        },
        survivals={
            s.name: tuple(np.clip(outputs[s.tensor].reshape(-1), 0, 1).tolist())
            for s in manifest.survivals
        },
        heatmaps=tuple(_heatmap(h, plan, tile_values[h.name]) for h in manifest.heatmaps),
        tissue_outlines=outlines(plan.tissue.mask, plan.tissue.downsample),
        tissue_area_mm2=plan.tissue.area_mm2,
        tiles_analyzed=len(plan.cells),
        levels=plan.levels,
        warnings=plan.warnings + unusual,
    )


def _heatmap(output: HeatmapOutput, plan: _Plan, values: Array) -> Heatmap:
    return assemble(
        output.name,
        plan.cells,
        np.clip(values, 0, 1).astype(np.float32),
        shape=(plan.grid.rows, plan.grid.cols),
        top=output.top_patches,
    )


def _out_of_distribution(
    features: Array | None, reference: OutOfDistribution | None
) -> tuple[str, ...]:
    """The warning for a slide whose mean feature is far from that of the training slides."""
    if reference is None or features is None:
        return ()
    offset = (features.mean(0, dtype=np.float64) - reference.mean) / reference.std
    distance = float(np.sqrt(np.mean(offset**2)))
    if distance <= reference.limit:
        return ()
    return (
        f"The slide is unlike the training slides: distance {distance:.2f}, usual are up to "
        f"{reference.limit:.2f}. Its results may be wrong.",
    )


def _not_assessable(
    slide: Slide, accounts: tuple[LevelAccount, ...], refusal: tuple[Reason, str] | None
) -> NotAssessable:
    if refusal is None:
        raise ValueError("expected a reason, found none")
    return NotAssessable(refusal[0], refusal[1], slide.geometry, accounts)


def _ignore(progress: Progress) -> None:
    """For callers that do not watch."""


def _never() -> bool:
    return False
