"""Slide to prediction: the whole path, in the order it is walked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.manifest.claims import Applicability
from engines.manifest.foreign import OutOfDistribution
from engines.manifest.tensors import Tensor
from engines.manifest.whole import Manifest
from inference import quality
from inference.archive import load, save
from inference.composition.composing import with_classes, with_measures
from inference.composition.scope import asks_for_organs, organ_of, silent_classes
from inference.condition.focus import FOCUS
from inference.condition.shares import condition_of
from inference.encoded import Encoded, encode
from inference.errors import (
    FramesUnreadable,
    Refused,
    Stopped,
    is_of_the_machine,
    never,
    without_path,
)
from inference.seen import COARSE, Seen, aggregator_inputs, class_values_of, numbers, tile_values_of
from inference.slide.slide import Slide
from inference.tiles.ahead import Ahead
from inference.tiles.encoding import Runtime
from inference.tiles.left_out import counted
from inference.tiles.planned import Asked, Planned
from inference.tiles.planning import LEAST_TISSUE_SHARE, Plan
from inference.tiles.values import discard
from inference.tissue.outlines import outlines
from inference.types import NotAssessable, Prediction, Progress, Reason

__all__ = ["LEAST_TISSUE_SHARE", "Stopped", "discard", "load", "look", "predict", "save"]

_FEATURES = "features"

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
    ahead: Ahead | None = None,
) -> Prediction | NotAssessable:
    """What the student says of the slide in these files, or why it must not say anything.

    The same files, bundle and device give the same numbers. `progress` and `stop` are called on
    this thread. With a folder `resume`, the tiles that a killed or stopped run had done are kept
    there and not done again, unless they were kept with another `read`, which is a digest of the
    files of the levels; `discard` it when the result is safe. `made_for` is asked in the place of
    what the manifest says that the student may be used for. `ahead` opens the slide, and plans the
    one that it was told to expect meanwhile. Raises SlideUnreadable for files that
    are broken or not of one slide, Stopped when `stop` says so, OSError, which names no path, for
    what cannot be read or written now, and what the runtime raises.
    """
    seen = look(
        paths,
        runtime,
        progress=progress,
        stop=stop,
        resume=resume,
        read=read,
        made_for=made_for,
        ahead=ahead,
    )
    if isinstance(seen, NotAssessable):
        return seen
    manifest = runtime.manifest
    outputs = runtime.run("aggregator", aggregator_inputs(manifest, seen.cells, seen.values))
    tile_values = {h.name: tile_values_of(h, seen.values, outputs) for h in manifest.heatmaps}
    classes = {m.name: class_values_of(m, seen.values, outputs) for m in manifest.class_maps}
    refusal = quality.output_refusal(manifest, outputs, tile_values, classes)
    if refusal:
        return seen.refused(*refusal)
    told = seen.with_maps(manifest, tile_values)
    silent = silent_classes(manifest, [seen.origin])
    told = replace(
        told, **numbers(manifest, outputs, silent), not_assessed={**told.not_assessed, **silent}
    )
    composed = with_classes(told, manifest, classes, seen.cells[0], seen.shape, seen.origin)
    return with_measures(composed, manifest)


def look(
    paths: Sequence[Path],
    runtime: Runtime,
    *,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    resume: Path | None = None,
    read: str = "",
    made_for: Applicability | None = None,
    ahead: Ahead | None = None,
) -> Seen | NotAssessable:
    """All of `predict` but the aggregator: what the encoder says of the slide's tiles.

    Arguments and exceptions are those of `predict`. What is in files of `resume` stays there as
    long as the answer is in use.
    """
    try:
        asked = Asked.of(paths, runtime.manifest, made_for)
        stops = stop or never
        with (ahead or Ahead()).opened(asked, stops) as planned:
            return _look(planned, runtime, progress or _ignore, stops, resume, read)
    except Refused as refused:
        return refused.verdict
    except OSError as error:
        if is_of_the_machine(error):
            raise without_path(error) from None
        raise


def _look(
    planned: Planned,
    runtime: Runtime,
    progress: Callable[[Progress], None],
    stop: Callable[[], bool],
    resume: Path | None,
    read: str,
) -> Seen | NotAssessable:
    manifest, plan = runtime.manifest, planned.plan
    try:
        encoded = encode(plan, _wanted(manifest), runtime, progress, stop, resume, read)
    except FramesUnreadable as error:
        return planned.not_assessable((Reason.FRAMES_UNREADABLE, str(error)))
    refusal = encoded.refusal or planned.too_little(encoded.cells)
    if refusal:
        return planned.not_assessable(refusal)
    return _seen(planned.slide, manifest, plan, encoded)


def _wanted(manifest: Manifest) -> list[Tensor]:
    """Encoder tensors that the aggregator takes, maps show, or the comparison needs."""
    taken = {t.name.removesuffix(COARSE) for t in manifest.graphs["aggregator"].inputs}
    maps = (*manifest.heatmaps, *manifest.class_maps)
    shown = {m.tensor for m in maps if m.graph == "encoder"}
    reference = manifest.out_of_distribution
    compared = {_FEATURES} if reference and reference.is_proven else set()
    wanted = taken | shown | compared
    return [t for t in manifest.graphs["encoder"].outputs if t.name in wanted]


def _seen(slide: Slide, manifest: Manifest, plan: Plan, encoded: Encoded) -> Seen:
    cells, grid = encoded.cells[0], plan.sources[0].grid
    features = encoded.values[0].get(_FEATURES)
    unusual = _out_of_distribution(features, manifest.out_of_distribution)
    told = Prediction(
        geometry=slide.geometry,
        stride_px=grid.stride_px,
        scores={},
        percentiles={},
        survivals={},
        heatmaps=(),
        tissue_outlines=outlines(plan.tissue.mask, plan.tissue.downsample),
        tissue_area_mm2=plan.analyzed_mm2(cells),
        tiles_analyzed=len(cells),
        levels=plan.levels,
        warnings=plan.warnings + encoded.warnings + unusual,
        base=slide.base_uid,
        condition=condition_of(plan.marks, cells, encoded.values[0].get(FOCUS)),
        unscanned_mm2=plan.unscanned_mm2,
        left_out=counted(plan.reasons, len(cells)),
    )
    origin = organ_of(slide) if asks_for_organs(manifest) else None
    return Seen(told, grid, encoded.cells, encoded.values, origin)


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


def _ignore(progress: Progress) -> None:
    """For callers that do not watch."""
