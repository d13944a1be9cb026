"""What a report says of which tissue a slide, or all slides of a case together, is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dicom_node.results.sr.counted.composition import domain, ends_of, low, plain_of
from dicom_node.results.sr.figures import percent, rounded, tile_mm
from engines.manifest.outputs import HeatmapOutput, MeasureOutput
from engines.manifest.uncertainty import Interval, Unknown
from engines.manifest.whole import Manifest
from inference.types import ClassMap, Prediction


@dataclass(frozen=True, slots=True)
class _Known:
    """What the measures say of the classes of a map, by meaning."""

    intervals: dict[str, tuple[tuple[float, float], Interval]]
    """Low and high of shares, and what is known of them."""
    silent: set[str]
    """Of which nothing may be said."""
    few: set[str]
    """Whose share has no sound value."""
    apart: set[str]
    """Of which a number is counted on fewer slides than the composition is of."""


def of_tissue(slides: Sequence[Prediction], manifest: Manifest, whole: Prediction) -> Iterator[str]:
    """The composition of a slide, or of all slides of a case together: a sentence for each map of
    classes. `whole` is the slide or the case, which knows what is counted.

    It is of the slides on which any area or share of a class may be counted, so that a number and
    its interval are of the same tiles; of all that have the map where nothing is counted.
    """
    for output in manifest.class_maps:
        on_map = f"On the map {output.name}: " if len(manifest.class_maps) > 1 else ""
        plain = plain_of(output.name, manifest)
        counted = [m for m in plain if m.name in whole.measures]
        places = {m.name: _places(m, slides) for m in counted}
        where = set().union(*places.values()) if places else set(range(len(slides)))
        found = [
            (told, one)
            for n, told in enumerate(slides)
            for one in told.class_maps
            if one.name == output.name and n in where
        ]
        if not found:
            whys = dict.fromkeys(_why(told, output) for told in slides)
            yield f"{on_map}Composition of the tissue, and all that is counted on it: {low(whys)}"
            continue
        silent = {m.classes[0] for m in plain if m.name in whole.not_assessed}
        apart = {m.classes[0] for m in counted if places[m.name] != where}
        told_here = [m for m in counted if m.quantity == "share" and m.classes[0] not in apart]
        known = _Known(
            _intervals(told_here, whole), silent, _without_share(told_here, whole), apart - silent
        )
        yield on_map + _composition(output, found, len(slides), known)


def _places(output: MeasureOutput, slides: Sequence[Prediction]) -> set[int]:
    """The slides that a measure is counted on."""
    return {n for n, told in enumerate(slides) if output.name not in told.not_assessed}


def _intervals(
    shares: Sequence[MeasureOutput], whole: Prediction
) -> dict[str, tuple[tuple[float, float], Interval]]:
    found = {}
    for output in shares:
        known, ends = output.uncertainty, ends_of(output, whole.measures[output.name])
        if ends is not None and isinstance(known, Interval):
            found[output.classes[0]] = (ends, known)
    return found


def _without_share(shares: Sequence[MeasureOutput], whole: Prediction) -> set[str]:
    """Classes whose share has no sound value: none is said of them."""
    return {m.classes[0] for m in shares if whole.measures[m.name].value is None}


def _composition(
    output: HeatmapOutput,
    found: Sequence[tuple[Prediction, ClassMap]],
    of: int,
    known: _Known,
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
    unsaid = known.silent | known.apart
    there = sorted((m for m in tissue if tiles[m] and m not in unsaid), key=lambda m: -areas[m])
    named = [
        f"{m} {rounded(areas[m])} mm2 (too few tiles for a share)"
        if m in known.few
        else f"{m} {percent(areas[m] / whole)} % ({_between(m, known)}{rounded(areas[m])} mm2)"
        for m in there
    ]
    for why, group in (
        ("told below, of fewer slides", known.apart),
        ("not assessed", known.silent),
    ):
        if group:
            named.append(f"{why}: {' and '.join(m for m in tissue if m in group)}")
    absent = [m for m in tissue if not tiles[m] and m not in unsaid]
    none = f"; no tile of {', '.join(absent)}" if absent else ""
    return (
        f"Composition of the tissue{where}: {', '.join(named)}{none}; of {rounded(whole)} mm2 in "
        f"{count} tiles, each counted whole for its most probable class.{beside}"
        f"{_sure(output, [m for m in there if m not in known.few], known)}{domain(output)}"
    )


def _between(meaning: str, known: _Known) -> str:
    if meaning not in known.intervals:
        return ""
    lowest, highest = (rounded(end) for end in known.intervals[meaning][0])
    return f"{lowest} to {highest} %; "


def _sure(output: HeatmapOutput, shares: Sequence[str], known: _Known) -> str:
    """How sure the shares are."""
    found = [known.intervals[m][1] for m in shares if m in known.intervals]
    stated = dict.fromkeys(
        f" In brackets first the {100 * one.level:g} % interval of the share: {one.source}."
        for one in found
    )
    unknown = len(found) < len(shares) and isinstance(output.uncertainty, Unknown)
    which = "the other" if stated else "these"
    return "".join(stated) + (
        f" The uncertainty of {which} shares is not known." if unknown else ""
    )


def _why(told: Prediction, output: HeatmapOutput) -> str:
    if output.name not in told.not_assessed:
        raise ValueError(f"the manifest promises {output.name}; the result does not hold it")
    return told.not_assessed[output.name]


def _tile_mm2(told: Prediction) -> float:
    height, width = tile_mm(told)
    return height * width
