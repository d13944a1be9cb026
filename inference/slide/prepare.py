"""From stored pixels to what the graphs take: the only such code of the repository.

The graphs take uint8 RGB [N, H, W, 3] and normalize inside, so color conversion, padding and
resampling are all there is. Training uses these functions too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WHITE = 255
"""Glass: what lies outside of the matrix, and tiles that a sparse slide leaves out."""


def to_rgb(pixels: NDArray[np.uint8], *, is_ycbcr: bool) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of decoded samples; YCbCr is YBR_FULL (PS3.3 C.7.6.3.1.2)."""
    if not is_ycbcr:
        return pixels
    image = Image.frombytes("YCbCr", pixels.shape[1::-1], np.ascontiguousarray(pixels).tobytes())
    return np.asarray(image.convert("RGB"))


def pad_white(pixels: NDArray[np.uint8], rows: int, cols: int) -> NDArray[np.uint8]:
    """The pixels [h, w, 3] in the top left corner of a white [rows, cols, 3]."""
    if pixels.shape[:2] == (rows, cols):
        return pixels
    padded = np.full((rows, cols, 3), WHITE, np.uint8)
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    return padded


def resample(
    pixels: NDArray[np.uint8], box: tuple[float, float, float, float], size: int
) -> NDArray[np.uint8]:
    """The part `box` (top, left, bottom, right; fractions count) as RGB [size, size, 3].

    Bilinear with the support widened to the reduction, so that nothing aliases.
    """
    top, left, bottom, right = box
    image = Image.fromarray(pixels).resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom)
    )
    return np.asarray(image)


def reduce(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Means of factor x factor blocks: [ceil(H / factor), ceil(W / factor), 3]."""
    return pixels if factor == 1 else np.asarray(Image.fromarray(pixels).reduce(factor))
