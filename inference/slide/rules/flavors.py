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
