"""From amounts of stain to the colors a scanner would see, on a drawn slide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.phantom.plan import STEP, Field, Plan

_BAND = 256
"""Rows developed at a time: bounds the memory."""


@dataclass(frozen=True, slots=True)
class Stain:
    """Optical density per unit of stain, white level and ink color of one laboratory."""

    hematoxylin: tuple[float, float, float] = (0.78, 0.86, 0.42)
    eosin: tuple[float, float, float] = (0.11, 0.66, 0.33)
    strength: float = 1.0
    white: tuple[int, int, int] = (243, 241, 244)
    ink: tuple[float, float, float] = (1.6, 0.75, 0.12)


def develop(
    rng: np.random.Generator,
    plan: Plan,
    h: NDArray[np.uint8],
    e: NDArray[np.uint8],
    stain: Stain,
) -> NDArray[np.uint8]:
    """RGB of the stained section: Beer-Lambert absorption, fold, ink and sensor noise."""
    lut = _color_table(stain)
    rows, cols = h.shape
    pixels = np.empty((rows, cols, 3), np.uint8)
    noise = rng.integers(0, 7, _BAND * cols * 3 + 4096, dtype=np.uint8)
    for top in range(0, rows, _BAND):
        band = np.s_[top : min(top + _BAND, rows)]
        h_band, e_band = _folded(_rows_of(plan.fold, band), h[band], e[band])
        index = (h_band.astype(np.uint16) << 8) | e_band
        color = lut[index].view(np.uint8).reshape(*index.shape, 4)[..., :3]
        start = int(rng.integers(4096))
        out = pixels[band]
        np.add(color, noise[start : start + color.size].reshape(color.shape), out=out)
        _ink(_rows_of(plan.pen, band), out, stain)
    return pixels


def _color_table(stain: Stain) -> NDArray[np.uint32]:
    """Packed RGBx by (h << 8 | e), 3 below the white level to leave room for noise."""
    amount = np.arange(256) / 100 * stain.strength
    density = amount[:, None, None] * np.array(stain.hematoxylin) + amount[
        None, :, None
    ] * np.array(stain.eosin)
    table = np.zeros((256, 256, 4), np.uint8)
    table[..., :3] = (np.array(stain.white) - 3) * np.exp(-density) + 0.5
    return table.reshape(-1, 4).view(np.uint32).ravel()


def _rows_of(field: Field, band: slice) -> Field:
    """The rows of a plan field under a band of slide rows, enlarged downward only.

    Rows above and below take part in the interpolation: no seams between bands.
    """
    image = Image.fromarray(field)
    size = (field.shape[1], band.stop - band.start)
    box = (0, band.start / STEP, field.shape[1], band.stop / STEP)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box)).clip(0, 1)


def _folded(
    fold: Field, h: NDArray[np.uint8], e: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Stain maps of a band with the tissue beside the fold laid over it; fold [H, W // STEP]."""
    if not fold.any():
        return h, e
    over = _widen(fold, h.shape[1])
    h_twice, e_twice = (
        np.minimum(m + over * np.roll(m, 97, 1), 255).astype(np.uint8) for m in (h, e)
    )
    return h_twice, e_twice


def _ink(pen: Field, out: NDArray[np.uint8], stain: Stain) -> None:
    """Colors the inked part of a band; pen [H, W // STEP]."""
    cols = np.nonzero(pen.any(0))[0]
    if not len(cols):
        return
    left, right = cols[0], cols[-1] + 1
    place = out[:, left * STEP : right * STEP]
    ink = _widen(np.ascontiguousarray(pen[:, left:right]), place.shape[1])
    place[:] = place * np.exp(-ink[..., None] * np.array(stain.ink, np.float32))


def _widen(field: Field, cols: int) -> Field:
    size = (cols, field.shape[0])
    return np.asarray(Image.fromarray(field).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
