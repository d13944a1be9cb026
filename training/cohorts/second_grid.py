"""The second, coarser magnification of a cohort's slides, held against the first.

A node cuts two grids of one slide, the coarser a whole multiple of the finer, and one encoder sees
both. Files that do not say so are refused: fine and coarse exchanged, or of two slides, are
features all the same, and nothing later would notice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from training.errors import TrainingError
from training.tiles.feature_files import Floats, Origin, read_bag, read_origin

COLUMN = "coarse"
"""Of the slide manifest: the file of the second magnification."""
_WHOLE = 1e-6
_REDO = "extract both with one command, dicom-train features --mpp 0.5 1"


@dataclass(frozen=True)
class SecondGrid:
    """The coarser tiles of every slide, or of every patient, of a cohort."""

    mpps: tuple[float, float]
    """Micrometers per pixel of the first and of the second magnification."""
    bags: dict[str, Floats]
    """float32 [M, D] by slide; in a Cohort by patient, slides in the order of their id."""


def read_second(slides: pd.DataFrame) -> SecondGrid | None:
    """The second magnification of slides with the columns slide, file, coarse; None without one.

    Raises TrainingError where a slide has none, and for files that are not of one slide, one
    encoder and one nested grid, at the same two magnifications for all slides.
    """
    if COLUMN not in slides:
        return None
    empty = slides["slide"][slides[COLUMN].isna()]
    if len(empty):
        raise TrainingError(
            f"found no second magnification for {len(empty)} of {len(slides)} slides, the first "
            f"{empty.iloc[0]}, expected it for all or for none: fill the column {COLUMN} or remove "
            "it"
        )
    bags, of_first = {}, None
    for slide, file, coarse in slides[["slide", "file", COLUMN]].itertuples(index=False):
        first, second = _origin(slide, Path(file)), _origin(slide, Path(coarse))
        _refuse_other(slide, first, second)
        of_first = of_first or (slide, first, second)
        _refuse_mixed(of_first, slide, first, second)
        bags[slide] = read_bag(Path(coarse))
    if of_first is None:
        return None
    return SecondGrid((of_first[1].mpp, of_first[2].mpp), bags)


def _origin(slide: str, path: Path) -> Origin:
    found = read_origin(path)
    if found is None:
        raise TrainingError(
            f"{path}: found features of slide {slide} that do not say their magnification, "
            f"expected two files of dicom-train features: {_REDO}"
        )
    return found


def _refuse_other(slide: str, first: Origin, second: Origin) -> None:
    """Refuses two files that are not two grids of one slide by one encoder."""
    for what, one, other in (
        ("slide contents", first.slide_digest, second.slide_digest),
        ("encoder", first.encoder_digest, second.encoder_digest),
        ("pixels a tile", first.tile_px, second.tile_px),
    ):
        if one != other:
            raise TrainingError(
                f"found {what} {one} and {other} in the two files of slide {slide}, expected the "
                f"same: {_REDO}"
            )
    times = second.mpp / first.mpp
    if round(times) < 2 or abs(times - round(times)) > _WHOLE * times:
        raise TrainingError(
            f"found {first.mpp:g} um per pixel in the column file and {second.mpp:g} in {COLUMN} "
            f"for slide {slide}, expected the second to be 2, 3, ... times the first: exchange the "
            "columns or extract both with one command"
        )
    if second.patch_size_level0 != round(times) * first.patch_size_level0:
        raise TrainingError(
            f"found grids of {first.patch_size_level0} and {second.patch_size_level0} pixels of "
            f"slide {slide}, expected the second to be {round(times)} times the first: {_REDO}"
        )


def _refuse_mixed(
    of_first: tuple[str, Origin, Origin], slide: str, first: Origin, second: Origin
) -> None:
    """Refuses a slide at other magnifications, or by another encoder, than those before it."""
    before, *origins = of_first
    for what, known, found in (
        ("um per pixel", [o.mpp for o in origins], [first.mpp, second.mpp]),
        ("pixels a tile", [origins[0].tile_px], [first.tile_px]),
        ("encoder", [origins[0].encoder_digest[:12]], [first.encoder_digest[:12]]),
    ):
        if known != found:
            named = [" and ".join(str(value) for value in values) for values in (found, known)]
            raise TrainingError(
                f"found {what} {named[0]} for slide {slide} and {named[1]} for {before}, expected "
                f"the same for all slides of a cohort: {_REDO}"
            )
