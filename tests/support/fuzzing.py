"""One mutant of a slide through the node, and everything that is wrong with what came of it.

The oracle: a number whose tissue and place agree with what the slide shows, or a stated refusal;
never a traceback, never longer than MOST_S, never more memory than MOST_MB on top.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from traceback import extract_tb
from typing import Any

import numpy as np
from letters import MPP, Truth, judge
from mutant_steps import headers
from mutant_streams import streams, tables
from mutant_studies import studies
from mutants import Mutant, Step, make
from straight import CameOut, straight_through

from engines.runtime import Runtime
from inference.tissue.regions import fill_holes
from inference.tissue.tissue import LARGEST_HOLE_MM2
from inference.types import Prediction

MOST_S, MOST_MB = 30.0, 1024.0
FAMILIES: dict[str, dict[str, Step]] = {
    "headers": headers(),
    "tables": tables(),
    "streams": streams(),
    "studies": studies(),
}
_LEFT_OUT = re.compile(r"(?i)not in the (data|files)|could not be read|left out|not scanned|absent")
_UNFIT = re.compile(r"Traceback|0x[0-9a-f]{6,}|/tmp/|\.dcm\b|\[['\"]|Error\b.*\bError\b")


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant."""

    number: int
    variant: str
    steps: list[str]
    outcome: str
    """'numbers', 'refused' or 'stopped'."""
    faults: list[str]
    said: str
    seconds: float
    grown_mb: float

    def line(self) -> str:
        """The verdict as a line of a log; what was said only where something is wrong."""
        values = asdict(self)
        if not self.faults:
            del values["said"]
        return json.dumps(values)


def run(
    number: int, runtime: Runtime, folder: Path, family: str = "", *, objects_every: int = 1
) -> Verdict:
    """Make a mutant, send it through, and judge what came out.

    Objects are built for every `objects_every`-th number: they cost most of the time.
    """
    chosen = {family: FAMILIES[family]} if family else FAMILIES
    try:
        mutant = make(number, chosen)
    except Exception as error:  # noqa: BLE001 - a fault of the fuzzer must be seen as one
        fault = f"the mutator itself: {type(error).__name__}: {error}"
        return Verdict(number, "", [], "unwritable", [fault], "", 0.0, 0.0)
    shutil.rmtree(folder, ignore_errors=True)
    started, before = time.monotonic(), _peak_mb()
    faults: list[str] = []
    came = CameOut()
    try:
        paths = mutant.save(folder)
    except Exception as error:  # noqa: BLE001 - what no library writes is no input
        return Verdict(
            number, mutant.variant, mutant.steps, "unwritable", [], repr(error), 0.0, 0.0
        )
    started = time.monotonic()
    try:
        came = straight_through(paths, runtime, with_objects=number % objects_every == 0)
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        frames = extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
        faults.append(f"traceback: {type(error).__name__}: {error} at {where}")
    seconds, grown = time.monotonic() - started, _peak_mb() - before
    try:
        faults += disagreements(mutant, came)
    except Exception as error:  # noqa: BLE001 - a fault of the oracle must be seen as one
        faults.append(f"the oracle itself: {type(error).__name__}: {error}")
    faults += [f"took {seconds:.0f} s"] if seconds > MOST_S else []
    faults += [f"grew by {grown:.0f} MB"] if grown > MOST_MB else []
    faults += [f"says {text!r}" for text in _unfit(came)]
    if not faults and not came.results and not came.troubles:
        faults.append("nothing came of it, and nothing was said")
    outcome = "numbers" if came.predictions else "refused" if came.refusals else "stopped"
    return Verdict(
        number, mutant.variant, mutant.steps, outcome, faults, came.said,
        round(seconds, 3), round(grown, 1),
    )  # fmt: skip


def disagreements(mutant: Mutant, came: CameOut) -> list[str]:
    """In what the numbers that came out are not what the slide shows."""
    # A later step may take the file away that contradicts the others.
    if came.predictions and mutant.forbids_numbers and len(mutant.steps) == 1:
        return [f"a number, although {mutant.forbids_numbers}"]
    faults = []
    for found in came.predictions:
        faults += _impossible(found)
        if mutant.unknowable:
            continue
        said = _LEFT_OUT.search(" ".join(found.warnings)) is not None
        truths = [replace(_by_design(truth), is_partial=said) for truth in mutant.truths]
        faults += min((judge(found, truth) for truth in truths), key=len)
        unsaid = [] if said else _broken_under(found, mutant)
        faults += [f"frame {n} of file {file} was read" for file, n in unsaid]
    return faults


def _by_design(truth: Truth) -> Truth:
    """With small holes filled where altered frames left some: the mask's own rule."""
    if truth.has_outline:
        return truth
    return replace(truth, mask=fill_holes(truth.mask, LARGEST_HOLE_MM2 / (MPP / 1000) ** 2))


def _impossible(found: Prediction) -> Sequence[str]:
    """What no slide can be: directions that are none, places and numbers that are not finite."""
    turn = np.array(found.geometry.orientation).reshape(2, 3)
    place = (found.geometry.origin_x_mm, found.geometry.origin_y_mm)
    spacing = (found.geometry.spacing_row_mm, found.geometry.spacing_col_mm)
    numbers = [*place, *spacing, *found.scores.values(), found.tissue_area_mm2]
    if not (np.isfinite(numbers).all() and np.isfinite(turn).all()):
        return ["a number of its geometry is not finite"]
    if np.abs(turn @ turn.T - np.eye(2)).max() > 0.02:
        return [f"its orientation is none: {found.geometry.orientation}"]
    return []


def _broken_under(found: Prediction, mutant: Mutant) -> list[tuple[int, int]]:
    """Frames of the base level that no strict decoder takes, under cells with a value."""
    analyzed = np.isfinite(found.heatmaps[0].values)
    side = found.stride_px
    under = []
    bases = {i.header.get("SOPInstanceUID") for i in mutant.slide.images}
    for file, n in mutant.broken:
        image = mutant.slide.images[file]
        is_of_another = image.header.get("SOPInstanceUID") != found.base and found.base in bases
        if is_of_another and "ConcatenationUID" not in image.header:
            continue
        if image.pixels.shape[:2] != mutant.truths[0].pixels.shape[:2] or n >= len(image.cells):
            continue
        (row, col), (rows, cols) = image.cells[n], image.frame
        inside = analyzed[
            row * rows // side : -(-(row + 1) * rows // side),
            col * cols // side : -(-(col + 1) * cols // side),
        ]
        if inside.any():
            under.append((file, n))
    return under


def _unfit(came: CameOut) -> list[str]:
    """Sentences that no reader should see."""
    texts: list[Any] = [r.detail for r in came.refusals]
    texts += [text for p in came.predictions for text in p.warnings]
    return [text for text in texts if _UNFIT.search(text)]


def _peak_mb() -> float:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
