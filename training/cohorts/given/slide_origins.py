"""Whether each file of a slide manifest is that of its slide, and of no other.

A file that stands there for two patients puts the features of one on both sides of a split, and
features of two encoders of one width are numbers all the same: nothing later would notice.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from training.cohorts.material import Bag
from training.errors import TrainingError
from training.tiles.feature_files import Origin, read_origin

_MANIFEST = "correct the slide manifest"


def refuse_strange_files(slides: pd.DataFrame) -> None:
    """TrainingError for a file of two slides, for files that say that they are of another slide of
    the manifest, and for files that say two encoders, spacings or sizes of tile.

    `slides`: patient, slide, file. What a file of another program does not say is not asked.
    """
    own = slides[~slides["file"].str.endswith(".npz")]
    _refuse_pair(own, own["file"], "the same file {}")
    found = [read_origin(Path(file)) if file.endswith(".h5") else None for file in own["file"]]
    said = {slide: origin for slide, origin in zip(own["slide"], found, strict=True) if origin}
    for slide, origin in said.items():
        if origin.slide != slide and origin.slide in said:
            raise TrainingError(
                f"found the features of slide {origin.slide} in the file of slide {slide}, "
                f"expected its own: {_MANIFEST}"
            )
    known = own[own["slide"].isin(said)]
    contents = pd.Series([said[slide].slide_digest for slide in known["slide"]], known.index)
    _refuse_pair(known, contents, "the same pixels (digest {})")
    _refuse_mixed(said)


def refuse_same_features(slides: pd.DataFrame, bags: dict[str, Bag]) -> None:
    """TrainingError where slides of two patients have the same features to the last bit."""
    seen: dict[bytes, tuple[str, str]] = {}
    for patient, slide in slides[["patient", "slide"]].itertuples(index=False):
        bag = bags[slide]
        ends = bag[[0, len(bag) // 2, -1]].tobytes() + len(bag).to_bytes(8)
        before, of = seen.setdefault(ends, (patient, slide))
        if before != patient and np.array_equal(bags[of], bag):
            raise TrainingError(
                f"found the same features for slide {of} of {before} and slide {slide} of "
                f"{patient}, expected each patient's own: {_MANIFEST}, or leave one patient out"
            )


def _refuse_pair(slides: pd.DataFrame, values: pd.Series[str], what: str) -> None:
    twice = values.duplicated(keep=False)
    if twice.any():
        value = values[twice].iloc[0]
        rows = slides[values == value]
        named = " and ".join(f"{row.slide} of {row.patient}" for row in rows[:2].itertuples())
        raise TrainingError(
            f"found {what.format(value)} for slides {named}, expected one for each slide: "
            f"{_MANIFEST}"
        )


def _refuse_mixed(said: dict[str, Origin]) -> None:
    first = next(iter(said), None)
    for slide, origin in said.items():
        for name in ("encoder_digest", "mpp", "tile_px"):
            one, other = getattr(said[str(first)], name), getattr(origin, name)
            if one != other:
                raise TrainingError(
                    f"found features of {name} {one} for slide {first} and {other} for slide "
                    f"{slide}, expected one encoder at one spacing for all: extract the features "
                    "again with one command"
                )
