"""What a report says of what is counted on the tissue of a slide, beside its composition.

Every word of it is here and in `tissue`; `measured` puts the same numbers into measurement groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydicom.sr.coding import Code

from dicom_node.results import codes
from dicom_node.results.sr.figures import percent, rounded
from engines.manifest.outputs import ClassOutput, HeatmapOutput, MeasureOutput
from engines.manifest.uncertainty import Interval, Unknown
from engines.manifest.whole import Manifest
from inference.composition.scope import names_of
from inference.types import Measured, Prediction

_NOT_ASSESSED = "Not assessed, "
_UNITS = {"area": codes.SQUARE_MM, "ratio": codes.RATIO}


def of_measures(result: Prediction, manifest: Manifest) -> Iterator[str]:
    """What is counted beside the composition: each number with its uncertainty and where it was
    measured, or why there is none."""
    for output in manifest.measures:
        found = result.measures.get(output.name)
        if found is not None and not _is_in_composition(output, result, manifest):
            yield f"{output.code.meaning}: {_said(output, found)}{domain(output)}"
    silent: dict[str, list[str]] = {}
    maps = [result.not_assessed.get(m.name) for m in manifest.class_maps]
    for output in manifest.measures:
        why = result.not_assessed.get(output.name)
        if why is not None and why not in maps:
            silent.setdefault(why, []).append(output.code.meaning)
    for why, names in silent.items():
        yield f"{', '.join(names)}: {low([why])}"


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


def plain_of(map_name: str, manifest: Manifest) -> list[MeasureOutput]:
    """The areas and shares of single classes of a map."""
    return [m for m in manifest.measures if m.map == map_name and is_plain(m)]


def is_plain(output: MeasureOutput) -> bool:
    """Whether it is the area or the share of one class on the whole slide."""
    return not (output.near or output.over) and len(output.classes) == 1


def _is_in_composition(output: MeasureOutput, result: Prediction, manifest: Manifest) -> bool:
    """Whether the sentence of the composition says it: a class of which any number leaves out a
    slide of a case may be told apart there."""
    is_told = isinstance(output.uncertainty, Unknown) or output.quantity == "share"
    if not (is_plain(output) and is_told) or result.measures[output.name].why:
        return False
    of_class = [m for m in plain_of(output.map, manifest) if m.classes == output.classes]
    return not any(m.name in result.measures and result.measures[m.name].beside for m in of_class)


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


def domain(output: HeatmapOutput | MeasureOutput) -> str:
    """Where it was measured, as a sentence behind another."""
    return f" {said}" if (said := measured_on(output)) else ""


def low(sentences: Iterable[str]) -> str:
    """Sentences after a colon."""
    first, *others = (s.replace(_NOT_ASSESSED, _NOT_ASSESSED.lower(), 1) for s in sentences)
    return " ".join((first, *others))
