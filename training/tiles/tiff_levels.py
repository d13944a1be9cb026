"""Which image of a TIFF is the slide, its levels, and its scale: told, or refused."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import TrainingError

_CENTIMETER, _INCH = 3, 2
_APERIO_MPP = re.compile(r"(?:^|\|)\s*MPP\s*=\s*([^|\r\n]*)")
_OVERLAPS = "OverlapsXY"
"""Key of Trestle's description."""
_MOST_ANISOTROPY = 1.02
_UM_PER = {_CENTIMETER: 10_000.0, _INCH: 25_400.0}


@dataclass(frozen=True, eq=False)
class Level:
    """One page of the pyramid."""

    page: Any  # tifffile publishes no types
    index: int
    mpp: float


def levels_of(path: Path, tiff: Any) -> list[Level]:
    """The levels of the slide in an open TIFF, the base level first.

    Raises TrainingError for what is no pyramid of tiled RGB of 8 bits with a scale, and where the
    file holds more than one slide.
    """
    levels = _image(path, tiff).levels
    pages = [level.keyframe for level in levels]
    base = pages[0]
    if not base.is_tiled or str(base.dtype) != "uint8" or base.shape[2:] != (3,):
        raise TrainingError(
            f"{path.name}: found {'tiles' if base.is_tiled else 'no tiles'} of shape "
            f"{' x '.join(map(str, base.shape))}, expected a tiled RGB image of 8 bits; convert it "
            "to DICOM."
        )
    if len(levels[0].pages) != 1:
        raise TrainingError(
            f"{path.name}: found {len(levels[0].pages)} planes of one size, expected one; convert "
            "it to DICOM and choose a focal plane there."
        )
    mpp = _scale(path, base)
    width = base.shape[1]
    tiled = [page for page in pages if page.is_tiled and page.shape[2:] == (3,)]
    return [Level(page, at, mpp * width / page.shape[1]) for at, page in enumerate(tiled)]


def _image(path: Path, tiff: Any) -> Any:
    """The largest image of the file: a label, an overview or a macro image may come before it.

    Two of about one size are two scans, and one of overlapping tiles is no grid: neither is
    guessed at.
    """
    if tiff.is_bif or _OVERLAPS in (tiff.pages[0].description or ""):
        raise TrainingError(
            f"{path.name}: found tiles that overlap, as Ventana and Trestle write them, expected a "
            "grid; convert it to DICOM."
        )
    by_size = sorted(tiff.series, key=lambda one: math.prod(one.keyframe.shape[:2]), reverse=True)
    first, *others = by_size
    area = math.prod(first.keyframe.shape[:2])
    alike = [one for one in others if 2 * math.prod(one.keyframe.shape[:2]) > area]
    if alike:
        raise TrainingError(
            f"{path.name}: found {1 + len(alike)} images of about one size, expected one scan; "
            "write each into a file of its own."
        )
    return first


def _scale(path: Path, page: Any) -> float:
    """Um per pixel of the base level: what Aperio writes, else the resolution of the TIFF."""
    stated = _APERIO_MPP.search(page.description or "")
    found = [_number(stated.group(1))] if stated else _resolution(page)
    if not found:
        raise TrainingError(
            f"{path.name}: found no scale, expected um per pixel (Aperio's MPP or the resolution "
            "of the TIFF); convert it to DICOM and state the scale there."
        )
    if not all(math.isfinite(one) and one > 0 for one in found):
        raise TrainingError(
            f"{path.name}: found a scale that is no positive number, expected um per pixel; "
            "convert it to DICOM and state the scale there."
        )
    if max(found) > _MOST_ANISOTROPY * min(found):
        raise TrainingError(
            f"{path.name}: found {found[0]:.4g} um per pixel across and {found[1]:.4g} down, "
            "expected square pixels; convert it to DICOM."
        )
    return found[0]


def _number(text: str) -> float:
    """A number, with a decimal comma too; not a number where it is none."""
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        return math.nan


def _resolution(page: Any) -> list[float]:
    """Um per pixel across and down by the tags of TIFF; empty where they state no length."""
    unit, *tags = (page.tags.get(n) for n in ("ResolutionUnit", "XResolution", "YResolution"))
    if unit is None or None in tags or int(unit.value) not in _UM_PER:
        return []
    ratios = [tag.value for tag in tags]
    return [_UM_PER[int(unit.value)] * below / above if above else 0.0 for above, below in ratios]
