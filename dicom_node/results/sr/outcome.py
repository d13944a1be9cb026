"""The result of a slide in sentences: each number with its uncertainty, or that nobody knows it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dicom_node.results.seg import labels
from dicom_node.results.sr.classes.sentences import of_classes
from dicom_node.results.sr.counted import composition
from dicom_node.results.sr.counted.tissue import of_tissue
from dicom_node.results.sr.figures import (
    above,
    calibration,
    heatmap_of,
    known,
    percent,
    rank,
    rounded,
)
from engines.manifest.outputs import HeatmapOutput, ScoreOutput, SurvivalOutput
from engines.manifest.whole import Manifest
from inference.types import Heatmap, Prediction

_LOOKED = {
    False: "It shows where the model looked, which is no finding.",
    True: "It has one value on every tile: the model weighed all alike, and the map shows nothing.",
}
"""Of a map of attention, by whether it is even."""
_ROUNDING = 1e-6


def results_of(result: Prediction, manifest: Manifest) -> Iterator[str]:
    """The composition of the tissue, the class, scores, curves, what is counted, maps; a model that
    gives no number of the slide says so."""
    yield from of_tissue([result], manifest, result)
    yield from numbers_of(result, manifest)
    yield from maps_of(result, manifest)
    yield from calibrations_of(manifest)


def numbers_of(result: Prediction, manifest: Manifest) -> Iterator[str]:
    """The class, then scores, then curves, then what is counted on maps of classes."""
    yield from of_classes(result, manifest)
    for score in manifest.scores:
        yield _score(result, score, manifest)
    for curve in manifest.survivals:
        yield from _curve(result, curve)
    if not (manifest.scores or manifest.survivals or manifest.classifications):
        gives = "maps and what is counted on them" if manifest.measures else "a map"
        yield f"No score of the {manifest.unit} is given: this model gives {gives} only."
    yield from composition.of_measures(result, manifest)


def maps_of(result: Prediction, manifest: Manifest) -> Iterator[str]:
    """What the maps of a slide show."""
    for output in manifest.heatmaps:
        yield from _map(result, output, manifest)


def calibrations_of(manifest: Manifest) -> Iterator[str]:
    """How far the values of maps of findings may be taken as they are; of the model, not of a
    slide."""
    for output in manifest.heatmaps:
        if output.shows != "attention":
            name = labels.quantity(output)
            how = calibration(output.uncertainty)
            yield f"Calibration of the {name[:1].lower()}{name[1:]}: {how}"
    for output in manifest.class_maps:
        how = calibration(output.uncertainty, of_classes=True)
        yield f"Calibration of the classes of {output.name}: {how}"


def _score(result: Prediction, score: ScoreOutput, manifest: Manifest) -> str:
    value = result.scores[score.name]
    unit = "" if score.unit.value in ("1", "{score}") else f" {score.unit.meaning}"
    ends = result.intervals.get(score.name, (None,))[0]
    text = f"{score.code.meaning} {rounded(value)}{unit} ({known(score.uncertainty, ends)})."
    if score.name in result.percentiles:
        text += (
            f" It ranks above {rank(result.percentiles[score.name])} of 100 of: "
            f"{manifest.finding.reference_cohort}. A rank is no probability."
        )
    return text


def _curve(result: Prediction, curve: SurvivalOutput) -> Iterator[str]:
    probabilities = result.survivals[curve.name]
    ends = result.intervals.get(curve.name, (None,) * len(probabilities))
    for code, probability, around in zip(curve.codes, probabilities, ends, strict=True):
        in_percent = None if around is None else (100 * around[0], 100 * around[1])
        how = known(curve.uncertainty, in_percent, " %")
        yield f"{code.meaning} {percent(probability)} % ({how})."


def _map(result: Prediction, output: HeatmapOutput, manifest: Manifest) -> Iterator[str]:
    """The share above the threshold, the highest tile, what the picture shows."""
    name = labels.quantity(output)
    if why := result.not_assessed.get(output.name):
        yield f"{name}: {why[:1].lower()}{why[1:]}"
        return
    heatmap = heatmap_of(result, output)
    found = above(heatmap, output, result)
    if found is not None:
        yield (
            f"{name} is {found.threshold:g} or more in {found.tiles} of {found.of} tiles analyzed "
            f"({percent(found.share)} %, {rounded(found.area_mm2)} mm2 of tiles). Such a share has "
            f"no interval: its uncertainty is not known."
        )
    shown = f"{labels.of_heatmap(output, manifest)}: {_picture(output)}"
    if output.shows == "attention":
        yield f"{shown} {_LOOKED[_is_even(heatmap)]}"
        return
    highest = heatmap.top_patches[:1]
    if highest:
        shown += f" The highest of a tile is {rounded(highest[0].value)}."
    yield shown


def _is_even(heatmap: Heatmap) -> bool:
    """Whether all tiles have one value, but for what rounding does to it."""
    values = heatmap.values[np.isfinite(heatmap.values)]
    return values.size > 1 and float(np.ptp(values)) <= _ROUNDING


def _picture(output: HeatmapOutput) -> str:
    floor = f"nothing below {output.floor:g} is shown" if output.floor else "all values are shown"
    region = "" if output.threshold is None else f"; the region is drawn at {output.threshold:g}"
    return f"{floor}{region}."
