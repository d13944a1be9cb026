"""A slide whose tiles were encoded, and what an aggregator takes and gives."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.manifest.outputs import HeatmapOutput
from engines.manifest.whole import Manifest
from inference.composition.scope import of_heatmap
from inference.heatmap import assemble
from inference.outputs.classification import probabilities_of
from inference.outputs.rank import rank_of
from inference.outputs.uncertainty import intervals
from inference.specimen.deciding import Decision
from inference.tiles.grid import TileGrid
from inference.types import NotAssessable, Prediction, Reason

COARSE = "_coarse"
POSITIONS = "positions"

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a slide before the aggregator speaks."""

    told: Prediction
    """Without a number of the model, and without maps."""
    grid: TileGrid
    """Of the first source."""
    cells: tuple[NDArray[np.int32], ...]
    """[N, 2] (row, col) of the tiles that are judged, by source."""
    values: tuple[Mapping[str, Array], ...]
    """[N, ...] by tensor name of the encoder, by source; maybe in files."""
    origin: Decision | None = None
    """The organ of the slide; None where no output asks for it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return self.grid.rows, self.grid.cols

    def refused(self, reason: Reason, detail: str) -> NotAssessable:
        """Why the slide is not assessable all the same."""
        return NotAssessable(reason, detail, self.told.geometry, self.told.levels, self.told.base)

    def with_maps(self, manifest: Manifest, tile_values: Mapping[str, Array]) -> Prediction:
        """What is told, with the maps of values [N] by output name that may speak of its organ, and
        why the others do not; no number yet."""
        scopes = {o.name: of_heatmap(o, self.origin) for o in manifest.heatmaps}
        maps = (
            assemble(
                output.name,
                self.cells[0],
                np.clip(tile_values[output.name], 0, 1).astype(np.float32),
                shape=self.shape,
                top=output.top_patches,
            )
            for output in manifest.heatmaps
            if not scopes[output.name][0]
        )
        return replace(
            self.told,
            heatmaps=tuple(maps),
            warnings=(*self.told.warnings, *(text for _, text in scopes.values() if text)),
            not_assessed={name: why for name, (why, _) in scopes.items() if why},
        )


def aggregator_inputs(
    manifest: Manifest,
    cells: Sequence[NDArray[np.int32]],
    values: Sequence[Mapping[str, Array]],
) -> dict[str, Array]:
    """By the convention of the manifest: an encoder output, `positions`, or either `_coarse`.

    `cells` and `values` by source, as `Seen` has them.
    """
    inputs: dict[str, Array] = {}
    for tensor in manifest.graphs["aggregator"].inputs:
        source = 1 if tensor.name.endswith(COARSE) else 0
        name = tensor.name.removesuffix(COARSE)
        is_place = name == POSITIONS
        inputs[tensor.name] = cells[source].astype(np.int64) if is_place else values[source][name]
    return inputs


def tile_values_of(
    output: HeatmapOutput, values: Sequence[Mapping[str, Array]], outputs: Mapping[str, Array]
) -> Array:
    """[N] of a map, for the tiles of the first source: of the encoder, or of the aggregator."""
    return (values[0] if output.graph == "encoder" else outputs)[output.tensor].reshape(-1)


def class_values_of(
    output: HeatmapOutput, values: Sequence[Mapping[str, Array]], outputs: Mapping[str, Array]
) -> Array:
    """[N, K] of a map of K classes, for the tiles of the first source."""
    found = (values[0] if output.graph == "encoder" else outputs)[output.tensor]
    return found.reshape(-1, len(output.classes))


def numbers(
    manifest: Manifest, outputs: Mapping[str, Array], silent: Collection[str]
) -> dict[str, Any]:
    """Scores, percentiles, survivals, probabilities and intervals of `Prediction`, of the
    aggregator's outputs; none of those outputs that are `silent`, by name."""
    scores = {s.name: float(outputs[s.tensor].reshape(())) for s in manifest.scores}
    return {
        "scores": scores,
        "percentiles": {
            s.name: rank_of(scores[s.name], s.percentiles)
            for s in manifest.scores
            if s.percentiles is not None
        },
        "survivals": {
            s.name: tuple(np.clip(outputs[s.tensor].reshape(-1), 0, 1).tolist())
            for s in manifest.survivals
        },
        "probabilities": {
            c.name: probabilities_of(outputs[c.tensor])
            for c in manifest.classifications
            if c.name not in silent
        },
        "intervals": {
            name: ends for name, ends in intervals(manifest, outputs).items() if name not in silent
        },
    }
