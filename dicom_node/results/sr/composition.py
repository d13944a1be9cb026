"""What a report says of the tissue of a slide: its composition, and what is counted on it.

Every word of it is here; `measured` puts the same numbers into measurement groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dicom_node.results.sr.figures import percent, rounded, tile_mm
from engines.manifest.outputs import HeatmapOutput, MeasureOutput
from engines.manifest.uncertainty import Interval, Unknown
from engines.manifest.whole import Manifest
from inference.composition.scope import names_of
from inference.types import ClassMap, Measured, Prediction

_NOT_ASSESSED = "Not assessed, "


def of_tissue(slides: Sequence[Prediction], manifest: Manifest) -> Iterator[str]:
    """The composition of a slide, or of all slides of a case together: a sentence for each map of
    classes."""
    for output in manifest.class_maps:
        found = [(told, one) for told in slides for one in told.class_maps
                 if one.name == output.name]  # fmt: skip
        if found:
            yield _composition(output, found, len(slides))
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


def value_of(output: MeasureOutput, value: float) -> float | int:
    """A value in the unit of its measure, with as many digits as are told."""
    return percent(value) if output.unit.value == "%" else rounded(value)


def ends_of(output: MeasureOutput, found: Measured) -> tuple[float, float] | None:
    """Low and high of the interval of a value, in its unit; None where there is none."""
    known = output.uncertainty
    if found.value is None or not isinstance(known, Interval) or known.half_width is None:
        return None
    value = 100 * found.value if output.unit.value == "%" else found.value
    highest = {"%": 100.0, "1": 1.0}.get(output.unit.value) if output.quantity == "share" else None
    high = value + known.half_width
    return max(0.0, value - known.half_width), high if highest is None else min(highest, high)


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


def measured_on(output: HeatmapOutput | MeasureOutput) -> str:
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


def _composition(
    output: HeatmapOutput, found: Sequence[tuple[Prediction, ClassMap]], of: int
) -> str:
    places = {code.meaning: n for n, code in enumerate(output.classes)}
    tiles = {m: sum(one.tiles_of(n) for _, one in found) for m, n in places.items()}
    areas = {m: sum(one.tiles_of(n) * _tile_mm2(told) for told, one in found)
             for m, n in places.items()}  # fmt: skip
    tissue = [code.meaning for code in output.tissue]
    whole, count = sum(areas[m] for m in tissue), sum(tiles[m] for m in tissue)
    glass = sum(tiles[m] for m in output.background)
    where = f", of {len(found)} of {of} slides" if len(found) < of else ""
    beside = f" {glass} more tiles are {' or '.join(output.background)}." if glass else ""
    if not count:
        return f"Composition of the tissue: not assessable, because no tile is of tissue.{beside}"
    there = sorted((m for m in tissue if tiles[m]), key=lambda m: -areas[m])
    named = [f"{m} {percent(areas[m] / whole)} % ({rounded(areas[m])} mm2)" for m in there]
    absent = [m for m in tissue if not tiles[m]]
    none = f"; no tile of {', '.join(absent)}" if absent else ""
    known = " The uncertainty of these shares is not known."
    return (
        f"Composition of the tissue{where}: {', '.join(named)}{none}; of {rounded(whole)} mm2 in "
        f"{count} tiles, each counted whole for its most probable class.{beside}"
        f"{known if isinstance(output.uncertainty, Unknown) else ''}{_domain(output)}"
    )


def _why(told: Prediction, output: HeatmapOutput) -> str:
    if output.name not in told.not_assessed:
        raise ValueError(f"the manifest promises {output.name}; the result does not hold it")
    return told.not_assessed[output.name]


def _is_in_composition(output: MeasureOutput, found: Measured) -> bool:
    """Whether the sentence of the composition says it: an area or share of one class."""
    is_plain = not (output.near or output.over or found.why or found.beside)
    return is_plain and len(output.classes) == 1 and isinstance(output.uncertainty, Unknown)


def _said(output: MeasureOutput, found: Measured) -> str:
    if found.value is None:
        return found.why[:1].lower() + found.why[1:]
    unit = {"%": " %", "mm2": " mm2"}.get(output.unit.value, "")
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
