"""Slides to the prediction of their case: one bag of all tiles, one run of the aggregator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.manifest.claims import Applicability
from engines.manifest.whole import Manifest
from inference import quality
from inference.case.values import CaseResult, CaseSlide
from inference.composition.composing import with_classes
from inference.composition.measuring import Composed, measures_of, silence_of
from inference.composition.scope import silent_classes
from inference.seen import Seen, aggregator_inputs, class_values_of, numbers, tile_values_of
from inference.tiles.encoding import Runtime
from inference.types import NotAssessable, Prediction, Reason

Array = NDArray[Any]
Looked = tuple[str, Seen | NotAssessable]
"""Key of a slide, and what `inference.predict.look` says of it, or why it was not looked at."""


def of_any_amount(made_for: Applicability) -> Applicability:
    """What is asked of each slide of a case: all but how much tissue it has. A case needs that of
    all its slides together; of each, one tile."""
    return made_for.model_copy(update={"minimum_tissue_mm2": 0.0, "minimum_tiles": 1})


def predict_case(
    slides: Iterable[Looked], runtime: Runtime, made_for: Applicability | None = None
) -> CaseResult:
    """What the student says of all slides together, or why it must not say anything.

    The order of `slides` changes nothing: their tiles go into the bag by key. `made_for` is asked
    in the place of what the manifest says. Raises what the runtime raises.
    """
    manifest = runtime.manifest
    ordered = sorted(slides, key=lambda slide: slide[0])
    used = [seen for _, seen in ordered if isinstance(seen, Seen)]
    refusal = _none_used(len(ordered)) if not used else None
    refusal = refusal or _too_little(used, made_for or manifest.applicability)
    if refusal:
        return _refused(ordered, refusal)
    outputs = runtime.run("aggregator", bag(manifest, used))
    values = {
        h.name: np.concatenate([tile_values_of(h, seen.values, outputs) for seen in used])
        if h.graph == "encoder"
        else tile_values_of(h, (), outputs)
        for h in manifest.heatmaps
    }
    classes = {
        m.name: np.concatenate([class_values_of(m, seen.values, outputs) for seen in used])
        if m.graph == "encoder"
        else class_values_of(m, (), outputs)
        for m in manifest.class_maps
    }
    refusal = quality.output_refusal(manifest, outputs, values, classes)
    if refusal:
        return _refused(ordered, refusal)
    composed = _composed(manifest, used, values, classes)
    measures, silent = measures_of(manifest, composed)
    silent |= silent_classes(manifest, [seen.origin for seen in used])
    maps = iter(composed)
    return CaseResult(
        slides=tuple(
            CaseSlide(key, _told(next(maps), manifest) if isinstance(seen, Seen) else seen)
            for key, seen in ordered
        ),
        numbers=replace(
            _together(used),
            **numbers(manifest, outputs, silent),
            measures=measures,
            not_assessed=silent,
        ),
    )


def _composed(
    manifest: Manifest,
    used: Sequence[Seen],
    values: Mapping[str, Array],
    classes: Mapping[str, Array],
) -> list[Composed]:
    """Each slide with its maps, of values [N] and [N, K] of all tiles one slide after the other."""
    ends = np.cumsum([len(seen.cells[0]) for seen in used])[:-1]
    of_maps = {name: np.split(tiles, ends) for name, tiles in values.items()}
    of_classes = {name: np.split(tiles, ends) for name, tiles in classes.items()}
    return [
        with_classes(
            seen.with_maps(manifest, {name: parts[n] for name, parts in of_maps.items()}),
            manifest,
            {name: parts[n] for name, parts in of_classes.items()},
            seen.cells[0],
            seen.shape,
            seen.origin,
        )
        for n, seen in enumerate(used)
    ]


def bag(manifest: Manifest, slides: Sequence[Seen]) -> dict[str, Array]:
    """Inputs of the aggregator: the tiles of all slides, one slide after the other.

    Those of one slide are taken as they lie, in files where they were kept; those of several are
    copied, tensor by tensor: the features alone, never a pixel.
    """
    each = [aggregator_inputs(manifest, seen.cells, seen.values) for seen in slides]
    if len(each) == 1:
        return each[0]
    return {name: np.concatenate([inputs[name] for inputs in each]) for name in each[0]}


def _told(slide: Composed, manifest: Manifest) -> Prediction:
    """What is told of a slide of a case, with what is not counted on it and why."""
    silent = silence_of(manifest, slide)
    return replace(slide.told, not_assessed={**slide.told.not_assessed, **silent})


def _together(used: Sequence[Seen]) -> Prediction:
    """What is told of all slides used, as of one: their tissue and tiles, and no place."""
    return replace(
        used[0].told,
        tissue_outlines=(),
        tissue_area_mm2=sum(seen.told.tissue_area_mm2 for seen in used),
        tiles_analyzed=sum(seen.told.tiles_analyzed for seen in used),
        levels=(),
        warnings=(),
        base="",
        condition=None,
        unscanned_mm2=None,
    )


def _too_little(used: Sequence[Seen], made_for: Applicability) -> tuple[Reason, str] | None:
    """Why all slides together hold too little to judge."""
    tissue_mm2 = sum(seen.told.tissue_area_mm2 for seen in used)
    tiles = min(sum(map(len, cells)) for cells in zip(*(seen.cells for seen in used), strict=True))
    refusal = quality.tissue_refusal(tissue_mm2, tiles, made_for)
    return refusal and (refusal[0], f"Of all slides used together: {refusal[1]}")


def _none_used(slides: int) -> tuple[Reason, str]:
    which = f"None of the {slides} slides" if slides != 1 else "The one slide"
    return Reason.NO_SLIDE, f"{which} of the case can be used; why is said of each."


def _refused(slides: Iterable[Looked], refusal: tuple[Reason, str]) -> CaseResult:
    return CaseResult(
        tuple(
            CaseSlide(key, seen.told if isinstance(seen, Seen) else seen) for key, seen in slides
        ),
        refusal,
    )
