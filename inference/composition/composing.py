"""The maps of classes of a slide, and what is counted on them, put into what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.manifest.whole import Manifest
from inference.composition.classes import assemble_classes
from inference.composition.measuring import Composed, measures_of
from inference.composition.scope import out_of_scope
from inference.specimen.deciding import Decision
from inference.types import Prediction


def with_classes(
    told: Prediction,
    manifest: Manifest,
    class_values: Mapping[str, NDArray[Any]],
    cells: NDArray[np.int32],
    shape: tuple[int, int],
    origin: Decision | None,
) -> Composed:
    """What is told of a slide of this organ, with the maps that may speak of it, and why the others
    do not. Probabilities [N, K] by output name are of grid cells [N, 2] on a grid of this shape."""
    maps, silent = [], {}
    for output in manifest.class_maps:
        if why := out_of_scope(output.organs, origin):
            silent[output.name] = why
        else:
            maps.append(assemble_classes(output.name, cells, class_values[output.name], shape))
    told = replace(told, class_maps=tuple(maps), not_assessed={**told.not_assessed, **silent})
    return Composed(told, origin)


def with_measures(composed: Composed, manifest: Manifest) -> Prediction:
    """What is told of a slide, with what is counted on its own maps."""
    measures, silent = measures_of(manifest, [composed])
    told = composed.told
    return replace(told, measures=measures, not_assessed={**told.not_assessed, **silent})
