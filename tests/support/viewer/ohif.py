"""What OHIF shows of a study in a PACS, series by series, and what the README says that it does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from viewer.installed import SUPPORT
from viewer_studies import SeenStudy

from dicom_node.results import kinds

MODES = ("microscopy", "viewer")
SHOWN, NOT_SHOWN, BREAKS = "shown", "not shown", "the page breaks"
SLIDE, FOREIGN = "slide", "foreign"
NO_IMAGES = "_getReferencedDisplaySetMetadata"
"""Where the page breaks: the first image of what is referred to is read, and what OHIF keeps of a
slide has no list `images`. The same in the viewports of Segmentations and of parametric maps."""
RACE = "ViewportOrientationMarkers"
"""Where the page breaks now and then when another slide is opened before the first is drawn."""

EXPECTED = {
    "microscopy": {
        SLIDE: SHOWN,
        kinds.REPORT.name: SHOWN,
        kinds.OVERLAY.name: SHOWN,
        kinds.SUMMARY.name: SHOWN,
    },
    "viewer": {
        SLIDE: SHOWN,
        kinds.OVERLAY.name: SHOWN,
        kinds.CAPTURE.name: SHOWN,
        kinds.SUMMARY.name: SHOWN,
        kinds.REPORT_TEXT.name: SHOWN,
        kinds.HEATMAP.name: BREAKS,
        kinds.REGION.name: BREAKS,
        kinds.LEVEL.name: BREAKS,
        kinds.MAP.name: BREAKS,
        FOREIGN: BREAKS,
    },
}
"""By mode and kind, as the README's table says; what is not named is not shown."""
_IN_A_RACE = (SLIDE, kinds.OVERLAY.name)
_DARK, _FEW, _FRAME = 40, 0.005, 12


@dataclass(frozen=True)
class Seen:
    """What came of the double click on the thumbnail of a series."""

    kind: str
    outcome: str
    why: str
    """Of a page that broke: the error and where it was."""


def look(modules: Path, origin: str, mode: str, study: SeenStudy, folder: Path) -> list[Seen] | str:
    """Pictures MODE-N.png of every series in `folder`, and what was seen; or why OHIF did not open.

    What OHIF says on the way is kept in MODE.json.
    """
    chromium = shutil.which("chromium") or ""
    done = subprocess.run(
        ["node", SUPPORT / "ohif.js", modules, chromium, origin, mode, study.uid, folder],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(folder)},
    )
    (folder / f"{mode}.json").write_text(done.stdout)
    if done.returncode != 0:
        return done.stderr
    numbers = _kinds_by_series_number(study)
    told = [(one, _kind(one["text"], numbers)) for one in json.loads(done.stdout)[1:]]
    slides = [field(folder, mode, one) for one, kind in told if kind == SLIDE and not one["broke"]]
    return [
        Seen(kind, *outcome(one, kind, folder, mode, slides))
        for one, kind in told
        if isinstance(one["n"], int)  # not a slide that is looked at again
    ]


def differences(mode: str, seen: list[Seen]) -> list[str]:
    """A sentence for each series of which the README's table is not true; one, too, for a page that
    breaks elsewhere than where the fault was found."""
    found = []
    for one in seen:
        known = kinds.kind_of(one.kind)
        name = known.name if known else one.kind.partition("-")[0]
        expected = EXPECTED[mode].get(name, NOT_SHOWN)
        if one.outcome == BREAKS and name in _IN_A_RACE and RACE in one.why:
            continue
        if one.outcome != expected:
            found.append(f"{mode}, {one.kind}: found '{one.outcome}', README says '{expected}'")
        elif expected == BREAKS and NO_IMAGES not in one.why:
            found.append(f"{mode}, {one.kind}: breaks elsewhere than known: {one.why}")
    return found


def _kinds_by_series_number(study: SeenStudy) -> dict[int, str]:
    made = {path: kind for objects in study.objects.values() for kind, path in objects.items()}
    return {
        int(dcmread(path, stop_before_pixels=True).SeriesNumber): made.get(path, SLIDE)
        for path in study.files
    }


def _kind(text: str, numbers: dict[int, str]) -> str:
    """Of the series on whose thumbnail `text` stands."""
    number = re.search(r"S:(\d+)", text)
    assert number, f"no series number on the thumbnail: {text}"
    return numbers[int(number[1])]


def outcome(
    one: dict[str, Any], kind: str, folder: Path, mode: str, slides: list[NDArray[np.uint8]]
) -> tuple[str, str]:
    if one["broke"]:
        return BREAKS, str(one["seen"])[:900]
    shown = field(folder, mode, one)
    is_black = (shown.max(axis=2) > _DARK).mean() < _FEW
    if kind == SLIDE:
        return (NOT_SHOWN if is_black else SHOWN), ""
    is_of_before = not one["changed"] or any(_are_alike(shown, slide) for slide in slides)
    return (NOT_SHOWN if is_black or is_of_before else SHOWN), ""


def field(folder: Path, mode: str, one: dict[str, Any]) -> NDArray[np.uint8]:
    """What is in the field for images, without its frame: uint8 RGB [H, W, 3]."""
    left, top, right, bottom = one["grid"]
    pixels = np.asarray(Image.open(folder / f"{mode}-{one['n']}.png").convert("RGB"))
    return pixels[top + _FRAME : bottom - _FRAME, left + _FRAME : right - _FRAME]


def _are_alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether two pictures differ in next to nothing: OHIF goes back to the slide."""
    if one.shape != other.shape:
        return False
    return bool((np.abs(one.astype(int) - other).max(axis=2) > _DARK).mean() < _FEW / 10)
