"""At which magnifications a run learned: what its features say, what the method made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from training.cohorts.material import Cohort
from training.cohorts.second_grid import COLUMN
from training.errors import TrainingError
from training.methods.registry import method
from training.tiles.feature_files import read_origin
from training.tiles.slide_features import LARGEST_TILE_PX

Second = Literal["none", "read", "derived", "unread"]
"""none: one magnification, and the method reads one. read: two, both read. derived: one, and the
method made the second of it. unread: two, and the method read the first."""


def second_of(name: str, cohort: Cohort) -> Second:
    """What the method `name` does about a second magnification of the cohort.

    Raises TrainingError where it would derive one of tiles: from slides it can be cut.
    """
    reads, has = method(name).reads_second, cohort.second is not None
    if reads and not has:
        _refuse_tiles(name, cohort)
        return "derived"
    if has:
        return "read" if reads else "unread"
    return "none"


def features_of(slides: pd.DataFrame, column: str = "file") -> list[dict[str, object]]:
    """What made the features: encoder digest, mpp and tile_px; None where a file does not say."""
    made: dict[tuple[object, ...], dict[str, object]] = {}
    for file in sorted(set(slides[column])) if column in slides else ():
        origin = read_origin(Path(file)) if file.endswith(".h5") else None
        by = (None,) * 3 if origin is None else (origin.encoder_digest, origin.mpp, origin.tile_px)
        made[by] = dict(zip(("encoder", "mpp", "tile_px"), by, strict=True))
    return list(made.values())


def _refuse_tiles(name: str, cohort: Cohort) -> None:
    """The derived second magnification is for features of regions, which have but one."""
    for made in features_of(cohort.slides):
        size = made["tile_px"]
        if isinstance(size, int) and size <= LARGEST_TILE_PX:
            raise TrainingError(
                f"method {name}: found tiles of {size} px at {made['mpp']:g} um per pixel alone in "
                f"{cohort.name}, expected two magnifications of each slide; extract both "
                f"(dicom-train features --mpp {made['mpp']:g} {2 * _number(made['mpp']):g}), name "
                f"the files of the second in the column {COLUMN} of the slide manifest, and build "
                "the cohort again"
            )


def _number(value: object) -> float:
    assert isinstance(value, float | int)  # read from the attributes of a file of ours
    return float(value)
