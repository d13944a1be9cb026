"""Slide to prediction: the whole path, in the order it is walked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.manifest.claims import Applicability
from engines.manifest.foreign import OutOfDistribution
from engines.manifest.outputs import HeatmapOutput
from engines.manifest.tensors import Tensor
from engines.manifest.whole import Manifest
from inference import quality
from inference.archive import load, save
from inference.condition.focus import FOCUS
from inference.condition.shares import condition_of
from inference.encoded import Encoded, encode
from inference.errors import FramesUnreadable, Refused, Stopped, is_of_the_machine, without_path
from inference.heatmap import assemble
from inference.slide.slide import Slide, open_slide
from inference.tiles.encoding import Runtime
from inference.tiles.grid import TileGrid
from inference.tiles.planning import LEAST_TISSUE_SHARE, Plan, plan_tiles
from inference.tiles.values import discard
from inference.tissue.outlines import outlines
from inference.tissue.overview import outside_scan_mm2, outside_scan_warning
from inference.types import Heatmap, LevelAccount, NotAssessable, Prediction, Progress, Reason

__all__ = ["LEAST_TISSUE_SHARE", "Stopped", "discard", "load", "predict", "save"]

_FEATURES = "features"
_COARSE = "_coarse"
_POSITIONS = "positions"

Array = NDArray[Any]


def predict(
    paths: Sequence[Path],
    runtime: Runtime,
    *,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    resume: Path | None = None,
    read: str = "",
    made_for: Applicability | None = None,
) -> Prediction | NotAssessable:
    """What the student says of the slide in these files, or why it must not say anything.

    The same files, bundle and device give the same numbers. `progress` and `stop` are called on
    this thread. With a folder `resume`, the tiles that a killed or stopped run had done are kept
    there and not done again, unless they were kept with another `read`, which is a digest of the
    files of the levels; `discard` it when the result is safe. `made_for` is asked in the place of
    what the manifest says that the student may be used for. Raises SlideUnreadable for files that
    are broken or not of one slide, Stopped when `stop` says so, OSError, which names no path, for
    what cannot be read or written now, and what the runtime raises.
    """
    try:
        wanted = runtime.manifest.input
        coarsest = wanted.mpp * (1 + wanted.mpp_tolerance)
        with open_slide(paths, icc=wanted.icc, coarsest_mpp=coarsest) as slide:
            asked = made_for or runtime.manifest.applicability
            kept = (resume, read)
            return _predict(slide, runtime, asked, progress or _ignore, stop or _never, kept)
    except Refused as refused:
        return refused.verdict
    except OSError as error:
        if is_of_the_machine(error):
            raise without_path(error) from None
        raise


def _predict(
    slide: Slide,
    runtime: Runtime,
    made_for: Applicability,
    progress: Callable[[Progress], None],
    stop: Callable[[], bool],
    kept: tuple[Path | None, str],
) -> Prediction | NotAssessable:
    manifest = runtime.manifest
    accounts = slide.accounts
    try:
        refusal = quality.magnification_refusal(slide.mpp, manifest.input)
        stain, warnings = quality.stain_refusal(slide.stains, made_for)
        if refusal or stain:
            return _not_assessable(slide, accounts, refusal or stain)
        plan = plan_tiles(slide, manifest.input, warnings)
        accounts = plan.levels
        tissue = plan.tissue
        beyond = outside_scan_warning(outside_scan_mm2(slide, tissue))
        plan = replace(plan, warnings=plan.warnings + beyond)
        refusal = quality.dispute_refusal(tissue.area_mm2, tissue.disputed_mm2)
        refusal = refusal or _too_little(plan, [len(s.cells) for s in plan.sources], made_for)
        if refusal:
            return _not_assessable(slide, accounts, quality.with_tissue_beyond(refusal, beyond))
        encoded = encode(plan, _wanted(manifest), runtime, progress, stop, *kept)
    except FramesUnreadable as error:
        return _not_assessable(slide, accounts, (Reason.FRAMES_UNREADABLE, str(error)))
    if encoded.refusal:
        return _not_assessable(slide, accounts, encoded.refusal)
    refusal = _too_little(plan, [len(cells) for cells in encoded.cells], made_for)
    if refusal:
        return _not_assessable(slide, accounts, quality.with_tissue_beyond(refusal, beyond))
    outputs = runtime.run("aggregator", _aggregator_inputs(manifest, encoded))
    tile_values = {
        h.name: (encoded.values[0] if h.graph == "encoder" else outputs)[h.tensor].reshape(-1)
        for h in manifest.heatmaps
    }
    refusal = quality.output_refusal(manifest, outputs, tile_values)
    if refusal:
        return _not_assessable(slide, accounts, refusal)
    return _prediction(slide, manifest, plan, encoded, outputs, tile_values)


def _too_little(
    plan: Plan, tiles: Sequence[int], made_for: Applicability
) -> tuple[Reason, str] | None:
    """Why the least well filled grid of the slide holds too little to judge."""
    return quality.tissue_refusal(plan.tissue.area_mm2, min(tiles), made_for)


def _wanted(manifest: Manifest) -> list[Tensor]:
    """Encoder tensors that the aggregator takes, heatmaps show, or the comparison needs."""
    taken = {t.name.removesuffix(_COARSE) for t in manifest.graphs["aggregator"].inputs}
    shown = {h.tensor for h in manifest.heatmaps if h.graph == "encoder"}
    reference = manifest.out_of_distribution
    compared = {_FEATURES} if reference and reference.is_proven else set()
    wanted = taken | shown | compared
    return [t for t in manifest.graphs["encoder"].outputs if t.name in wanted]


def _aggregator_inputs(manifest: Manifest, encoded: Encoded) -> dict[str, Array]:
    """By the convention of the manifest: an encoder output, `positions`, or either `_coarse`."""
    inputs: dict[str, Array] = {}
    for tensor in manifest.graphs["aggregator"].inputs:
        source = 1 if tensor.name.endswith(_COARSE) else 0
        name = tensor.name.removesuffix(_COARSE)
        is_place = name == _POSITIONS
        inputs[tensor.name] = (
            encoded.cells[source].astype(np.int64) if is_place else encoded.values[source][name]
        )
    return inputs


def _prediction(
    slide: Slide,
    manifest: Manifest,
    plan: Plan,
    encoded: Encoded,
    outputs: Mapping[str, Array],
    tile_values: Mapping[str, Array],
) -> Prediction:
    cells, grid = encoded.cells[0], plan.sources[0].grid
    features = encoded.values[0].get(_FEATURES)
    unusual = _out_of_distribution(features, manifest.out_of_distribution)
    scores = {s.name: float(outputs[s.tensor].reshape(())) for s in manifest.scores}
    return Prediction(
        geometry=slide.geometry,
        stride_px=grid.stride_px,
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
        heatmaps=tuple(_heatmap(h, grid, cells, tile_values[h.name]) for h in manifest.heatmaps),
        tissue_outlines=outlines(plan.tissue.mask, plan.tissue.downsample),
        tissue_area_mm2=plan.tissue.area_mm2,
        tiles_analyzed=len(cells),
        levels=plan.levels,
        warnings=plan.warnings + encoded.warnings + unusual,
        base=slide.base_uid,
        condition=condition_of(plan.marks, cells, encoded.values[0].get(FOCUS)),
    )


def _heatmap(
    output: HeatmapOutput, grid: TileGrid, cells: NDArray[np.int32], values: Array
) -> Heatmap:
    return assemble(
        output.name,
        cells,
        np.clip(values, 0, 1).astype(np.float32),
        shape=(grid.rows, grid.cols),
        top=output.top_patches,
    )


def _out_of_distribution(
    features: Array | None, reference: OutOfDistribution | None
) -> tuple[str, ...]:
    """The warning for a slide whose mean feature is far from that of the training slides.

    Nothing is said by a student whose limit was not shown to tell foreign slides from ordinary
    ones: a caution that stands on sound slides too is one that nobody reads.
    """
    told = reference.measured if reference else None
    if features is None or reference is None or told is None or not told.is_enough:
        return ()
    offset = (features.mean(0, dtype=np.float64) - reference.mean) / reference.std
    distance = float(np.sqrt(np.mean(offset**2)))
    if distance <= reference.limit:
        return ()
    return (
        f"The slide is unlike the training slides: distance {distance:.2f}, usual are up to "
        f"{reference.limit:.2f}. Its results may be wrong. In its test this was said of "
        f"{told.hits} of {told.foreign_count} foreign slides and of {told.false_alarms} of "
        f"{told.ordinary_count} ordinary ones.",
    )


def _not_assessable(
    slide: Slide, accounts: tuple[LevelAccount, ...], refusal: tuple[Reason, str] | None
) -> NotAssessable:
    if refusal is None:
        raise ValueError("expected a reason, found none")
    return NotAssessable(refusal[0], refusal[1], slide.geometry, accounts, slide.base_uid)


def _ignore(progress: Progress) -> None:
    """For callers that do not watch."""


def _never() -> bool:
    return False
