"""The result of a slide in sentences: each number with its uncertainty, or that nobody knows it."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.results.seg import labels
from dicom_node.results.sr import composition
from dicom_node.results.sr.figures import above, heatmap_of, percent, rounded
from engines.manifest.outputs import HeatmapOutput, ScoreOutput, SurvivalOutput
from engines.manifest.uncertainty import Calibrated, Ensemble, Interval, Uncertainty
from engines.manifest.whole import Manifest
from inference.types import Prediction


def results_of(result: Prediction, manifest: Manifest) -> Iterator[str]:
    """The composition of the tissue, scores, curves, what is counted, maps; a model that gives no
    score says so."""
    yield from composition.of_tissue([result], manifest, result)
    yield from numbers_of(result, manifest)
    yield from maps_of(result, manifest)
    yield from calibrations_of(manifest)


def numbers_of(result: Prediction, manifest: Manifest) -> Iterator[str]:
    """Scores, then curves, then what is counted on maps of classes."""
    for score in manifest.scores:
        yield _score(result, score, manifest)
    for curve in manifest.survivals:
        yield from _curve(result, curve)
    if not manifest.scores and not manifest.survivals:
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
            known = _calibration(output.uncertainty)
            yield f"Calibration of the {name[:1].lower()}{name[1:]}: {known}"
    for output in manifest.class_maps:
        known = _calibration(output.uncertainty)
        yield f"Calibration of the classes of {output.name}: {known}"


def _score(result: Prediction, score: ScoreOutput, manifest: Manifest) -> str:
    value = result.scores[score.name]
    unit = "" if score.unit.value in ("1", "{score}") else f" {score.unit.meaning}"
    ends = result.intervals.get(score.name, (None,))[0]
    text = f"{score.code.meaning} {rounded(value)}{unit} ({_known(score.uncertainty, ends)})."
    if score.name in result.percentiles:
        text += (
            f" It ranks above {round(result.percentiles[score.name])} of 100 of: "
            f"{manifest.finding.reference_cohort}. A rank is no probability."
        )
    return text


def _curve(result: Prediction, curve: SurvivalOutput) -> Iterator[str]:
    probabilities = result.survivals[curve.name]
    ends = result.intervals.get(curve.name, (None,) * len(probabilities))
    for code, probability, known in zip(curve.codes, probabilities, ends, strict=True):
        around = None if known is None else (100 * known[0], 100 * known[1])
        yield (
            f"{code.meaning} {percent(probability)} % ({_known(curve.uncertainty, around, ' %')})."
        )


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
        yield f"{shown} It shows where the model looked, which is no finding."
        return
    highest = heatmap.top_patches[:1]
    if highest:
        shown += f" The highest of a tile is {rounded(highest[0].value)}."
    yield shown


def _picture(output: HeatmapOutput) -> str:
    floor = f"nothing below {output.floor:g} is shown" if output.floor else "all values are shown"
    region = "" if output.threshold is None else f"; the region is drawn at {output.threshold:g}"
    return f"{floor}{region}."


def _known(uncertainty: Uncertainty, ends: tuple[float, float] | None, unit: str = "") -> str:
    """What is known of a number: its interval, its calibration, or nothing."""
    if isinstance(uncertainty, Calibrated):
        return f"interval not known; calibration: {_calibration(uncertainty).rstrip('.')}"
    if ends is None or not isinstance(uncertainty, Interval | Ensemble):
        return "uncertainty: not known"
    low, high = (rounded(end) for end in ends)
    if isinstance(uncertainty, Ensemble):
        return f"members of an ensemble say {low} to {high}{unit}; {uncertainty.source}"
    return f"{100 * uncertainty.level:g} % interval {low} to {high}{unit}; {uncertainty.source}"


def _calibration(uncertainty: Uncertainty) -> str:
    if not isinstance(uncertainty, Calibrated):
        return "not known."
    tendency = ""
    if uncertainty.intercept:
        tendency = f", the values are too {'high' if uncertainty.intercept < 0 else 'low'} there"
    return (
        f"slope {uncertainty.slope:.2f} and intercept {uncertainty.intercept:.2f} (1 and 0 would "
        f"be perfect{tendency}), on {uncertainty.count} of: {uncertainty.data}."
    )
