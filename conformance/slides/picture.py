"""A drawn piece of pink and purple tissue on glass; it looks like a section only from afar."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Pixels = NDArray[np.uint8]

_GLASS = (243, 242, 244)
_EOSIN = np.array([214, 136, 178], np.float32)
_HEMATOXYLIN = (92, 58, 138)
_GRAIN = 9.0


def tissue(rows: int, cols: int, *, seed: int) -> Pixels:
    """RGB uint8 [rows, cols, 3]: an oval of tissue that fills half of the glass, full of nuclei.

    The same seed and size give the same pixels.
    """
    rng = np.random.default_rng(seed)
    cloud = _cloud(rng, rows, cols)
    ground = _EOSIN + 26 * cloud[..., None] + rng.normal(0, _GRAIN, (rows, cols, 1))
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    _nuclei(rng, image, count=rows * cols // 900)
    image = image.filter(ImageFilter.GaussianBlur(0.8))
    glass = Image.new("RGB", (cols, rows), _GLASS)
    glass.paste(image, mask=_oval(rows, cols))
    return np.asarray(glass)


def half(pixels: Pixels) -> Pixels:
    """The same at half the resolution: sides must be even."""
    return np.asarray(Image.fromarray(pixels).reduce(2))


def _cloud(rng: np.random.Generator, rows: int, cols: int) -> NDArray[np.float32]:
    """A smooth field about -1 to 1 of [rows, cols]."""
    coarse = rng.normal(0, 0.6, (rows // 48 + 2, cols // 48 + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((cols, rows), Image.Resampling.BICUBIC))


def _nuclei(rng: np.random.Generator, image: Image.Image, count: int) -> None:
    draw = ImageDraw.Draw(image)
    places = rng.uniform(0, 1, (count, 2)) * (image.width, image.height)
    for (col, row), radius in zip(places, rng.uniform(4, 8, count), strict=True):
        draw.ellipse(
            (col - radius, row - radius * 0.8, col + radius, row + radius * 0.8), _HEMATOXYLIN
        )


def _oval(rows: int, cols: int) -> Image.Image:
    mask = Image.new("L", (cols, rows), 0)
    edge = (cols // 12, rows // 12, cols - cols // 12, rows - rows // 12)
    ImageDraw.Draw(mask).ellipse(edge, 255)
    return mask.filter(ImageFilter.GaussianBlur(3))
