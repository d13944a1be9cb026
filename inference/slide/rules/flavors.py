"""Flavor rules: which images are levels of the slide. Only VOLUME decides about a slide."""

from __future__ import annotations

from collections.abc import Sequence

from inference.slide.images import SlideImage


def no_volume(images: Sequence[SlideImage]) -> str:
    """What is there instead of a VOLUME image, and what is missing."""
    of_slide = [image for image in images if image.header.is_whole_slide_image]
    untyped = [image for image in of_slide if not image.header.flavor]
    if untyped:
        return (
            f"{len(untyped)} of {len(images)} images do not say in Image Type what they show "
            "(value 3); VOLUME is needed for the levels of a slide."
        )
    found = ", ".join(sorted({image.kind for image in images}))
    return f"Found only {found}; VOLUME is needed."


def broken_beside(images: Sequence[SlideImage]) -> tuple[str, ...]:
    """Labels and the like that lack frames: told, and no reason to leave the slide unanalyzed."""
    said = []
    for image in (i for i in images if i.header.is_beside):
        found, stated = sum(p.found for p in image.parts), sum(p.frames for p in image.parts)
        if found < stated:
            said.append(
                f"The {image.kind} image of the slide is damaged: {found} of its {stated} frames "
                "are there. It was not needed."
            )
    return tuple(said)
