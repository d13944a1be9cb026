"""What tells one scan of a slide from another: when it was made, and how much it shows."""

from __future__ import annotations

import re
from datetime import datetime

from pydicom import Dataset

from inference.slide.attributes import BadValue, decimal, decimals, first, number, words

_MOMENT = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?")


def acquired_at(dataset: Dataset) -> datetime | None:
    """When it was scanned, in whatever time zone; None where that is not stated to the minute."""
    stated = words(dataset, "AcquisitionDateTime")
    if not stated:
        stated = words(dataset, "AcquisitionDate") + words(dataset, "AcquisitionTime")
    found = _MOMENT.match(stated)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
    try:
        return datetime(year, month, day, hour, minute, min(second, 59))
    except ValueError:
        return None


def matrix_width_mm(dataset: Dataset) -> float | None:
    """Columns times their Pixel Spacing, or Imaged Volume Width; None where neither is stated."""
    try:
        shared = first(dataset, "SharedFunctionalGroupsSequence")
        spacing = decimals(first(shared, "PixelMeasuresSequence"), "PixelSpacing")
        cols = number(dataset, "TotalPixelMatrixColumns")
        if len(spacing) == 2 and cols:
            return cols * spacing[1]
        return decimal(dataset, "ImagedVolumeWidth")
    except BadValue:  # said where the scale is judged
        return None
