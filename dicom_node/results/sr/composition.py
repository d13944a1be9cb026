"""What a report says of the tissue of a slide: its composition, and what is counted on it.

Every word of it is here; `measured` puts the same numbers into measurement groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydicom.sr.coding import Code

from dicom_node.results import codes
from dicom_node.results.sr.figures import percent, rounded, tile_mm
from engines.manifest.outputs import ClassOutput, HeatmapOutput, MeasureOutput
from engines.manifest.uncertainty import Interval, Unknown
from engines.manifest.whole import Manifest
from inference.composition.scope import names_of
from inference.types import ClassMap, Measured, Prediction

_NOT_ASSESSED = "Not assessed, "
_UNITS = {"area": codes.SQUARE_MM, "ratio": codes.RATIO}


def of_tissue(slides: Sequence[Prediction], manifest: Manifest, whole: Prediction) -> Iterator[str]:
    """The composition of a slide, or of all slides of a case together: a sentence for each map of
    classes. `whole` is the slide or the case, which knows what is counted."""
    for output in manifest.class_maps:
        found = [
            (told, one) for told in slides for one in told.class_maps if one.name == output.name
        ]
        if found:
            intervals = _intervals(output, manifest, whole.measures)
            silent = [
                m.classes[0]
                for m in manifest.measures
                if m.map == output.name and is_plain(m) and m.name in whole.not_assessed
            ]
            few = _without_share(output, manifest, whole.measures)
            yield _composition(output, found, len(slides), intervals, set(silent), few)
        else:
            whys = dict.fromkeys(_why(told, output) for told in slides)
            yield f"Composition of the tissue, and all that is counted on it: {_low(whys)}"


def of_measures(result: Prediction, manifest: Manifest) -> Iterator[str]:
    """What is counted beside the composition: each number with its uncertainty and where it was
    measured, or why there is none."""
    for output in manifest.measures:
        found = result.measures.get(output.name)
        if found is not None and not _is_in_composition(output, found):
            yield f"{output.code.meaning}: {_said(output, found)}{_domain(output)}"
    silent: dict[str, list[str]] = {}
    maps = [result.not_assessed.get(m.name) for m in manifest.class_maps]
    for output in manifest.measures:
        why = result.not_assessed.get(output.name)
        if why is not None and why not in maps:
            silent.setdefault(why, []).append(output.code.meaning)
    for why, names in silent.items():
        yield f"{', '.join(names)}: {_low([why])}"


def unit_of(output: MeasureOutput) -> Code:
    """The unit that a value is told in: a share is one of 100, whatever the manifest writes."""
    return codes.PERCENT if output.quantity == "share" else _UNITS[output.quantity]


def value_of(output: MeasureOutput, value: float) -> float | int:
    """A value in that unit, with as many digits as are told."""
    return percent(value) if output.quantity == "share" else rounded(value)


def ends_of(output: MeasureOutput, found: Measured) -> tuple[float, float] | None:
    """Low and high of the interval of a value, in that unit; None where there is none."""
    known = output.uncertainty
    if found.value is None or not isinstance(known, Interval) or known.half_width is None:
        return None
    if output.quantity != "share":
        return max(0.0, found.value - known.half_width), found.value + known.half_width
    around = known.half_width * (1 if output.unit.value == "%" else 100)
    return max(0.0, 100 * found.value - around), min(100.0, 100 * found.value + around)


def classes_of(output: MeasureOutput) -> str:
    """What is counted, in words: "Stroma", "Tumor over Stroma", "Lymphocytes in and around
    Tumor"."""
    words = " and ".join(output.classes)
    if output.over:
        words += f" over {' and '.join(output.over)}"
    return f"{words} in and around {' and '.join(output.near)}" if output.near else words


def tiles_of(output: MeasureOutput, found: Measured) -> str:
    """How many tiles that is, and of how many."""
    if output.quantity == "ratio":
        return f"{found.tiles} over {found.of}"
    return f"{found.tiles} of {found.of} tiles of tissue"


def measured_on(output: ClassOutput | HeatmapOutput | MeasureOutput) -> str:
    """Where it was measured, in a sentence; empty where it may speak of every organ."""
    return f"Measured on {names_of(output.organs)} only." if output.organs else ""


def unassessed(result: Prediction, of_map: HeatmapOutput, manifest: Manifest) -> Iterator[str]:
    """Why a map, or what would be counted on it, has no value, and what of a case is not counted:
    each sentence once."""
    if why := result.not_assessed.get(of_map.name):
        yield why
    told: dict[str, list[str]] = {}
    for output in manifest.measures:
        if output.map != of_map.name:
            continue
        found = result.measures.get(output.name)
        whys = [found.why, found.beside] if found else [result.not_assessed.get(output.name, "")]
        for why in filter(None, whys):
            told.setdefault(why, []).append(output.code.meaning)
    for why, names in told.items():
        if why != result.not_assessed.get(of_map.name):
            yield f"{', '.join(names)}: {why}"


Intervals = dict[str, tuple[tuple[float, float], Interval]]
"""Low and high of shares, by class, and what is known of them."""


def _intervals(
    of_map: HeatmapOutput, manifest: Manifest, measures: Mapping[str, Measured]
) -> Intervals:
    found: Intervals = {}
    for output in manifest.measures:
        known, one = output.uncertainty, measures.get(output.name)
        is_of_map = output.map == of_map.name and output.quantity == "share" and is_plain(output)
        ends = ends_of(output, one) if is_of_map and one is not None else None
        if ends is not None and isinstance(known, Interval):
            found[output.classes[0]] = (ends, known)
    return found


def _without_share(
    of_map: HeatmapOutput, manifest: Manifest, measures: Mapping[str, Measured]
) -> set[str]:
    """Classes whose share on the slide has no sound value: none is said of them."""
    return {
        output.classes[0]
        for output in manifest.measures
        if output.map == of_map.name
        and output.quantity == "share"
        and is_plain(output)
        and output.name in measures
        and measures[output.name].value is None
    }


def _composition(
    output: HeatmapOutput,
    found: Sequence[tuple[Prediction, ClassMap]],
    of: int,
    intervals: Intervals,
    silent: set[str],
    few: set[str],
) -> str:
    places = {code.meaning: n for n, code in enumerate(output.classes)}
    tiles = {m: sum(one.tiles_of(n) for _, one in found) for m, n in places.items()}
    areas = {
        m: sum(one.tiles_of(n) * _tile_mm2(told) for told, one in found) for m, n in places.items()
    }
    tissue = [code.meaning for code in output.tissue]
    whole, count = sum(areas[m] for m in tissue), sum(tiles[m] for m in tissue)
    glass = sum(tiles[m] for m in output.background)
    where = f", of {len(found)} of {of} slides" if len(found) < of else ""
    beside = f" {glass} more tiles are {' or '.join(output.background)}." if glass else ""
    if not count:
        return f"Composition of the tissue: not assessable, because no tile is of tissue.{beside}"
    there = sorted((m for m in tissue if tiles[m]), key=lambda m: -areas[m])
    named = [
        f"{m} {rounded(areas[m])} mm2 (too few tiles for a share)"
        if m in few
        else f"{m} {percent(areas[m] / whole)} % ({_between(m, intervals)}{rounded(areas[m])} mm2)"
        for m in there
        if m not in silent
    ]
    shares = [m for m in there if m not in silent | few]
    unsaid = [m for m in tissue if m in silent]
    named += [f"not assessed: {' and '.join(unsaid)}"] if unsaid else []
    absent = [m for m in tissue if not tiles[m] and m not in silent]
    none = f"; no tile of {', '.join(absent)}" if absent else ""
    return (
        f"Composition of the tissue{where}: {', '.join(named)}{none}; of {rounded(whole)} mm2 in "
        f"{count} tiles, each counted whole for its most probable class.{beside}"
        f"{_sure(output, shares, intervals)}{_domain(output)}"
    )


def _between(meaning: str, intervals: Intervals) -> str:
    if meaning not in intervals:
        return ""
    low, high = (rounded(end) for end in intervals[meaning][0])
    return f"{low} to {high} %; "


def _sure(output: HeatmapOutput, shares: Sequence[str], intervals: Intervals) -> str:
    """How sure the shares are."""
    known = dict.fromkeys(
        f" In brackets first the {100 * intervals[m][1].level:g} % interval of the share: "
        f"{intervals[m][1].source}."
        for m in shares
        if m in intervals
    )
    unknown = not all(m in intervals for m in shares) and isinstance(output.uncertainty, Unknown)
    which = "the other" if known else "these"
    return "".join(known) + (f" The uncertainty of {which} shares is not known." if unknown else "")


def _why(told: Prediction, output: HeatmapOutput) -> str:
    if output.name not in told.not_assessed:
        raise ValueError(f"the manifest promises {output.name}; the result does not hold it")
    return told.not_assessed[output.name]


def is_plain(output: MeasureOutput) -> bool:
    """Whether it is the area or the share of one class on the whole slide."""
    return not (output.near or output.over) and len(output.classes) == 1


def _is_in_composition(output: MeasureOutput, found: Measured) -> bool:
    """Whether the sentence of the composition says it."""
    is_told = isinstance(output.uncertainty, Unknown) or output.quantity == "share"
    return is_plain(output) and is_told and not (found.why or found.beside)


def _said(output: MeasureOutput, found: Measured) -> str:
    if found.value is None:
        return found.why[:1].lower() + found.why[1:]
    unit = {"share": " %", "area": " mm2"}.get(output.quantity, "")
    ends, known = ends_of(output, found), output.uncertainty
    sure = "uncertainty: not known"
    if ends is not None and isinstance(known, Interval):
        low, high = (rounded(end) for end in ends)
        sure = f"{100 * known.level:g} % interval {low} to {high}{unit}; {known.source}"
    beside = f" {found.beside}" if found.beside else ""
    what = f"{classes_of(output)}, {tiles_of(output, found)}"
    return f"{value_of(output, found.value)}{unit} ({what}; {sure}).{beside}"


def _domain(output: HeatmapOutput | MeasureOutput) -> str:
    return f" {said}" if (said := measured_on(output)) else ""


def _low(sentences: Sequence[str] | dict[str, None]) -> str:
    """Sentences after a colon."""
    first, *others = (s.replace(_NOT_ASSESSED, _NOT_ASSESSED.lower(), 1) for s in sentences)
    return " ".join((first, *others))


def _tile_mm2(told: Prediction) -> float:
    height, width = tile_mm(told)
    return height * width
