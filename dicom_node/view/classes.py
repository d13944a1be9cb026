"""Classes of tissue over the picture of a slide, by the segments of the region Segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node.view.segments import class_of, geometry_of, look_up, places_of
from inference.outputs.units import for_people
from inference.types import SlideGeometry

_ALPHA = 255
"""What is drawn over is the color of the legend; the page lets the slide shine through."""
_UNCOLORED = (120, 120, 120)


@dataclass(frozen=True, slots=True)
class ClassShown:
    """A class of tissue, as its segment says. How much of it there is says the report."""

    name: str
    rgb: tuple[int, int, int]
    is_drawn: bool
    """Whether any tile is of it."""
    label: str = ""
    """Its name in the language of the objects, with the status of the model behind it."""
    unmarked: str = ""
    """The label without what stands in brackets behind those of all classes: the status."""

    @property
    def names(self) -> tuple[str, ...]:
        """What a report may call it, the surest first: another class may have its name and more."""
        return (self.name, self.label, self.unmarked)


@dataclass(frozen=True, slots=True)
class ClassMap:
    """All classes of one map on the pixels of a slide's picture."""

    name: str
    description: str
    """Of the first class: how it came about."""
    pixels: NDArray[np.uint8]
    """RGBA [H, W, 4]; transparent where no tissue was analyzed."""
    classes: tuple[ClassShown, ...]


def class_maps(
    paths: Sequence[Path], geometry: SlideGeometry, shape: tuple[int, int]
) -> tuple[ClassMap, ...]:
    """The maps of classes in the Segmentations, for a picture [H, W] that shows the whole slide.

    Raises ValueError for one that lies in another frame of reference.
    """
    return tuple(found for path in paths for found in _of_file(path, geometry, shape))


def _of_file(path: Path, geometry: SlideGeometry, shape: tuple[int, int]) -> list[ClassMap]:
    seg = hd.seg.segread(path)
    segments = [(n, s, of) for n, s in enumerate(seg.SegmentSequence) if (of := class_of(s))]
    if not segments:
        return []
    theirs = geometry_of(path, seg, geometry)
    numbers = [n + 1 for n, _, _ in segments]
    matrix = seg.get_total_pixel_matrix(combine_segments=False, segment_numbers=numbers)
    at = places_of(theirs, geometry, shape)
    maps = []
    for name in dict.fromkeys(of[0] for _, _, of in segments):
        own = [(k, s, of[1]) for k, (_, s, of) in enumerate(segments) if of[0] == name]
        pixels = np.zeros((*shape, 4), np.uint8)
        shown = []
        labels = [str(segment.SegmentLabel) for _, segment, _ in own]
        mark = _mark_of(labels)
        for (k, segment, meaning), label in zip(own, labels, strict=True):
            mask = matrix[..., k] > 0
            rgb = _color_of(segment)
            pixels[look_up(mask, at).reshape(shape) > 0] = (*rgb, _ALPHA)
            unmarked = label.removesuffix(mark)
            shown.append(ClassShown(meaning, rgb, bool(mask.any()), label, unmarked))
        described = for_people(str(own[0][1].get("SegmentDescription", "")))
        maps.append(ClassMap(name, described, pixels, tuple(shown)))
    return maps


def _mark_of(labels: Sequence[str]) -> str:
    """The brackets behind every label; empty where they differ, for then they are of a name."""
    marks = {label[at:] if (at := label.rfind(" (")) > 0 else "" for label in labels}
    return marks.pop() if len(marks) == 1 else ""


def _color_of(segment: Dataset) -> tuple[int, int, int]:
    value = segment.get("RecommendedDisplayCIELabValue")
    if value is None:
        return _UNCOLORED
    red, green, blue = CIELabColor.from_dicom_value(value).to_rgb()
    return int(red), int(green), int(blue)
