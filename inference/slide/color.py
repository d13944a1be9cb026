"""The slide's ICC profile: from the scanner's colors to sRGB, where a bundle asks for it.

Costs about a millisecond per frame of 256 x 256 pixels on one core, several times its decoding.
"""

from __future__ import annotations

from io import BytesIO
from threading import local

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from pydicom import Dataset

from inference.errors import MALFORMED


class ToSrgb:
    """Converts pixels by one profile; every thread has a transform of its own."""

    def __init__(self, profile: bytes) -> None:
        """Raises ValueError for bytes that are no profile from RGB."""
        self._profile = profile
        self._own = local()
        self._own.transform = self._build()

    def convert(self, pixels: NDArray[np.uint8]) -> None:
        """RGB [H, W, 3], changed in place; perceptual intent, as ImageCms has it by default."""
        if not hasattr(self._own, "transform"):
            self._own.transform = self._build()
        image = Image.fromarray(pixels)
        ImageCms.applyTransform(image, self._own.transform, inPlace=True)
        pixels[:] = np.asarray(image)

    def _build(self) -> ImageCms.ImageCmsTransform:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(self._profile))
            return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "RGB", "RGB")
        except (ImageCms.PyCMSError, OSError):
            raise ValueError("the ICC profile is none from RGB") from None


def to_srgb(header: Dataset) -> tuple[ToSrgb | None, str]:
    """The conversion of a slide, and the warning where there is none (PS3.3 C.8.12.5)."""
    try:
        paths = header.get("OpticalPathSequence") or ()
        profile = next((p.get("ICCProfile") for p in paths if p.get("ICCProfile")), None)
    except MALFORMED:  # of another kind than bytes, as below
        profile = ""
    if profile is None:
        return None, "The model asks for sRGB colors; the slide has no ICC profile, and its " + _AS
    try:
        return ToSrgb(profile if isinstance(profile, bytes) else b""), ""
    except ValueError:
        what = "the ICC profile cannot be used: it is damaged, or is not of RGB. The slide's"
        return None, f"The model asks for sRGB colors; {what} {_AS}"


_AS = "colors were taken as they are."
