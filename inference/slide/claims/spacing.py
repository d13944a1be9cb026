"""What a pixel measures, by every attribute that says so, in mm."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset

from inference.slide.attributes import BadValue, decimal, decimals, first, items
from inference.slide.headers import ImageHeader

Pair = tuple[float, float]
"""Row spacing, then column spacing, or the like of sizes."""


@dataclass(frozen=True, slots=True)
class Spacings:
    """The sources of the scale; None, or empty, where one says nothing."""

    shared: Pair | None = None
    """Pixel Spacing of the shared functional groups (PS3.3 C.7.6.16.2.1)."""
    of_frames: tuple[Pair, ...] = ()
    """Different values of Pixel Spacing that frames state, smallest first."""
    imaged_mm: Pair | None = None
    """Imaged Volume Height and Width (PS3.3 C.8.12.4), not of a pixel but of all of them."""
    imaged: Pair | None = None
    """The same divided by the rows and columns of the matrix."""
    objective_power: float | None = None
    """Objective Lens Power: 40 for 40x."""

    @property
    def stated(self) -> Pair | None:
        """Pixel Spacing, wherever it stands."""
        return self.shared or (self.of_frames[0] if self.of_frames else None)

    @property
    def best(self) -> Pair | None:
        """What is calculated with."""
        return self.stated or self.imaged


def read_spacings(
    dataset: Dataset, header: ImageHeader, of_frames: frozenset[tuple[float, ...]]
) -> Spacings:
    """All sources of one image. Raises BadValue."""
    shared = first(dataset, "SharedFunctionalGroupsSequence")
    stated = decimals(first(shared, "PixelMeasuresSequence"), "PixelSpacing")
    height, width = decimal(dataset, "ImagedVolumeHeight"), decimal(dataset, "ImagedVolumeWidth")
    size = (height, width) if height and width else None
    has_matrix = header.rows > 0 and header.cols > 0
    return Spacings(
        shared=_pair(stated) if stated else None,
        of_frames=tuple(sorted(_pair(values) for values in of_frames)),
        imaged_mm=size,
        imaged=(size[0] / header.rows, size[1] / header.cols) if size and has_matrix else None,
        objective_power=_objective_power(dataset),
    )


def _pair(values: tuple[float, ...]) -> Pair:
    if len(values) != 2:
        raise BadValue("PixelSpacing is no pair of numbers")
    return values[0], values[1]


def _objective_power(dataset: Dataset) -> float | None:
    """Of the only optical path; where several say differently, none is that of the slide."""
    try:
        paths = items(dataset, "OpticalPathSequence")
        found = {decimal(path, "ObjectiveLensPower") for path in paths} - {None}
    except BadValue:  # nothing is calculated with it
        return None
    return found.pop() if len(found) == 1 else None
