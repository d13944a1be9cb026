"""The list of rules: what every image, and every level beside its base, must not contradict.

A rule is a function that gives one sentence for people, or None. The first that speaks decides. Of
scale the lower levels are asked last: a level elsewhere is better called so.
"""

from __future__ import annotations

from collections.abc import Callable

from inference.slide.images import SlideImage
from inference.slide.rules import color, geometry, planes, positions, scale
from inference.types import Reason

Rule = Callable[[SlideImage], str | None]
Refusal = tuple[Reason, str]

OF_THE_HEADER: tuple[tuple[Reason, Rule], ...] = (
    (Reason.PHOTOMETRIC_INTERPRETATION, color.colors_that_cannot_be_decoded),
    (Reason.PIXEL_FORMAT, color.samples_that_are_no_color),
    (Reason.SPACING_MISSING, scale.spacing_missing),
    (Reason.SPACING_IMPLAUSIBLE, scale.spacing_implausible),
    (Reason.GEOMETRY_MISSING, geometry.matrix_missing),
    (Reason.GEOMETRY_MISSING, geometry.matrix_absurd),
    (Reason.GEOMETRY_MISSING, geometry.placement_missing),
    (Reason.GEOMETRY_MISSING, geometry.directions_degenerate),
    (Reason.GEOMETRY_MISSING, geometry.origin_absurd),
)
"""What stands in the header of an image alone."""

OF_THE_FRAMES: tuple[tuple[Reason, Rule], ...] = (
    (Reason.FRAMES_UNREADABLE, positions.parts_differ),
    (Reason.FRAMES_UNREADABLE, positions.parts_apart),
    (Reason.FRAMES_UNREADABLE, positions.frames_missing),
    (Reason.FRAME_POSITIONS, positions.places_missing),
    (Reason.FRAME_POSITIONS, positions.places_contradict_order),
    (Reason.FRAME_POSITIONS, positions.off_the_grid),
    (Reason.FRAME_POSITIONS, positions.places_repeat),
    (Reason.FRAME_POSITIONS, planes.spacing_of_planes_missing),
    (Reason.SPACING_IMPLAUSIBLE, scale.frames_of_several_scales),
    (Reason.SPACING_IMPLAUSIBLE, scale.volume_of_another_scale),
)
"""What the frames say, and whether it fits the header."""

OF_THE_BASE: tuple[tuple[Reason, Rule], ...] = (
    (Reason.SPACING_IMPLAUSIBLE, scale.objective_of_another_scale),
)
"""What only the pixels of the scanner answer for. A level names the objective of its scan too, and
not every writer says that it was resampled."""


def image_refusal(image: SlideImage) -> Refusal | None:
    """The first rule that an image breaks by itself."""
    return _first(image, (*OF_THE_HEADER, *OF_THE_FRAMES, *OF_THE_BASE))


def level_refusal(image: SlideImage, base: SlideImage) -> Refusal | None:
    """The first rule that an image breaks as a level of a slide with this base image."""
    found = _first(image, OF_THE_HEADER)
    elsewhere = geometry.misplaced(image, base)
    if found is None and elsewhere:
        found = Reason.GEOMETRY_MISSING, elsewhere
    return found or _first(image, (*OF_THE_FRAMES, *(OF_THE_BASE if image is base else ())))


def _first(image: SlideImage, rules: tuple[tuple[Reason, Rule], ...]) -> Refusal | None:
    for reason, rule in rules:
        sentence = rule(image)
        if sentence:
            return reason, sentence
    return None
