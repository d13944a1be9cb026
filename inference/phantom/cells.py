"""The small parts of a drawn slide: nuclei, collagen fibers, fat cells, gland epithelium.

Amounts of stain are uint8: `h` hematoxylin, `e` eosin; `draw` turns them into color.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from inference.phantom.plan import MPP, Gland

ANGLES = 16
"""Directions a bank of elongated nuclei is drawn in, over half a turn."""


@dataclass(frozen=True, slots=True)
class Nucleus:
    """How one sort of nucleus looks: semi-axes in um, amount of hematoxylin 0-255."""

    long_um: float
    short_um: float
    spread: float
    """Relative spread of the size."""
    rough: float
    """How irregular the outline is."""
    amount: int
    clear: float
    """0 solid .. 1 vesicular: pale center with a dark membrane."""
    nucleoli: int = 0


FIBROBLAST = Nucleus(7.5, 1.7, 0.2, 0.05, 150, 0.15)
EPITHELIUM = Nucleus(4.6, 3.0, 0.1, 0.04, 140, 0.35)
TUMOR = Nucleus(6.7, 5.2, 0.15, 0.09, 148, 0.62, nucleoli=2)
LYMPHOCYTE = Nucleus(3.6, 3.4, 0.06, 0.03, 200, 0.1)


def nucleus_bank(rng: np.random.Generator, look: Nucleus, variants: int) -> NDArray[np.uint8]:
    """Pictures [ANGLES * variants, S, S] of single nuclei; picture k points along k % ANGLES."""
    n = ANGLES * variants
    scale = rng.normal(1, look.spread, (n, 1, 1)).clip(0.65, 1.5) / MPP
    half = int(look.long_um / MPP * 1.75) + 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    turn = (np.arange(n) % ANGLES * np.pi / ANGLES + rng.normal(0, 0.08, n))[:, None, None]
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    stretch = rng.normal(1, look.spread / 2, (n, 1, 1)).clip(0.7, 1.3)
    along, across = (
        along / (look.long_um * scale * stretch),
        across * stretch / (look.short_um * scale),
    )
    theta, radius = np.arctan2(across, along), np.hypot(along, across)
    edge = 1 + sum(
        rng.normal(0, look.rough / k**0.5, (n, 1, 1))
        * np.cos(k * theta + rng.uniform(0, 6.3, (n, 1, 1)))
        for k in range(2, 6)
    )
    size_px = look.short_um / MPP
    inside = np.clip((edge - radius) * size_px / 2.2 + 0.5, 0, 1)
    rim = np.exp(-(((edge - radius) * size_px - 1.6) ** 2) / 3)
    chromatin = _grain(rng, (n, *x.shape))
    clear = look.clear * rng.uniform(0.5, 1.3, (n, 1, 1))
    body = 1 - 0.55 * clear + 0.5 * clear * rim + (0.10 + 0.14 * clear) * chromatin
    for _ in range(look.nucleoli):
        at = rng.uniform(-0.45, 0.45, (2, n, 1, 1))
        far = np.hypot((along - at[0]) * look.long_um, (across - at[1]) * look.short_um)
        body += 0.45 * (rng.random((n, 1, 1)) < 0.6) * np.exp(-((far / 0.95) ** 2))
    tone = rng.normal(1, 0.13, (n, 1, 1)).clip(0.7, 1.35)
    bank: NDArray[np.uint8] = (look.amount * tone * inside * body).clip(0, 250).astype(np.uint8)
    return bank


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Noise a few pixels wide, about standard normal."""
    noise = rng.standard_normal(shape)
    for axis in (1, 2):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
    return noise / 3


def stamp(
    h: NDArray[np.uint8],
    points: NDArray[np.float32],
    bank: NDArray[np.uint8],
    which: NDArray[np.intp],
) -> None:
    """Puts picture which[k] of the bank at points[k] (row, col); the darker value stays."""
    size = bank.shape[1]
    top_left = np.rint(points).astype(np.intp) - size // 2
    fits = (top_left >= 0).all(1) & (top_left + size <= np.array(h.shape)).all(1)
    for (row, col), k in zip(top_left[fits].tolist(), which[fits].tolist(), strict=True):
        place = h[row : row + size, col : col + size]
        np.maximum(place, bank[k], out=place)


def fiber_texture(rng: np.random.Generator, side: int = 1024) -> NDArray[np.float32]:
    """Periodic noise [side, side], about standard normal, drawn out along the columns' axis."""
    across = np.fft.fftfreq(side)[:, None]
    along = np.fft.rfftfreq(side)[None, :]
    spectrum = np.fft.rfft2(rng.standard_normal((side, side)))
    total = np.zeros((side, side))
    for sigma_across, sigma_along, weight in (
        (0.7, 14, 0.75),
        (1.6, 30, 0.7),
        (3.5, 60, 0.7),
        (8.0, 80, 0.6),
    ):
        soft = np.exp(-2 * np.pi**2 * ((across * sigma_across) ** 2 + (along * sigma_along) ** 2))
        layer = np.fft.irfft2(spectrum * soft, s=(side, side))
        total += weight * layer / layer.std()
    texture: NDArray[np.float32] = (total / total.std()).astype(np.float32)
    return texture


def fat_outlines(centers: NDArray[np.float32], wall_px: float) -> list[NDArray[np.float32]]:
    """Rounded polygons [K, 2] (row, col), one a cell, that leave walls between neighbors.

    `centers` [N, 2] in pixels, roughly evenly spread.
    """
    theta = np.linspace(0, 2 * np.pi, 40, endpoint=False, dtype=np.float32)
    ray = np.stack([np.sin(theta), np.cos(theta)], -1)
    outlines = []
    for center in centers:
        apart = centers - center
        far = np.hypot(apart[:, 0], apart[:, 1])
        near = np.argsort(far)[1:12]
        if len(near) < 3:
            continue
        toward = (ray @ apart[near].T) / far[near]
        # Distance along each ray to the bisector with each neighbor; a soft minimum rounds corners.
        reach = (far[near] / 2 - wall_px) / np.maximum(toward, 0.05)
        radius = (reach.clip(1) ** -9.0).sum(1) ** (-1 / 9.0)
        outlines.append(center + ray * np.minimum(radius, 45 / MPP)[:, None])
    return outlines


def draw_gland(e: Image.Image, h: Image.Image, gland: Gland, scale: float, tone: float) -> None:
    """Paints epithelium and lumen of one gland on stain maps at `scale` of the slide.

    From the outside: pale cleft, dark basal cytoplasm, paler apical cytoplasm, empty lumen.
    """
    theta = np.linspace(0, 2 * np.pi, len(gland.radius), endpoint=False)
    paint_e, paint_h = ImageDraw.Draw(e), ImageDraw.Draw(h)
    depths = np.array([-3.0, -0.1, 0, 2, 5, 8, 11, 13, 15, 17, 19, 21, 22.5, 23.5])
    amounts_e = np.interp(
        depths, (-3, -0.1, 0, 3, 12, 21, 22.5, 23.5), (22, 26, 104, 84, 72, 46, 70, 2)
    )
    amounts_h = np.interp(
        depths, (-3, -0.1, 0, 3, 12, 21, 22.5, 23.5), (6, 8, 40, 46, 32, 16, 22, 1)
    )
    for depth_um, eosin, hematoxylin in zip(depths, amounts_e, amounts_h, strict=True):
        radius = np.maximum(gland.radius - depth_um / MPP, 3) * scale
        rows, cols = (
            gland.row * scale + radius * np.sin(theta),
            gland.col * scale + radius * np.cos(theta),
        )
        outline = list(zip(cols.tolist(), rows.tolist(), strict=True))
        paint_e.polygon(outline, fill=int(eosin * tone))
        paint_h.polygon(outline, fill=int(hematoxylin * tone))


def gland_nuclei(
    rng: np.random.Generator, gland: Gland
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Points [K, 2] of the basal nuclei of one gland and the direction index each points in."""
    theta = np.linspace(0, 2 * np.pi, len(gland.radius), endpoint=False)
    count = int(2 * np.pi * float(gland.radius.mean()) * MPP / 6.2)
    turn = (np.arange(count) + rng.uniform(-0.22, 0.22, count)) * 2 * np.pi / count
    radius = np.interp(turn, theta, gland.radius, period=2 * np.pi)
    radius -= rng.normal(7.5, 1.3, count) / MPP
    points = np.stack([gland.row + radius * np.sin(turn), gland.col + radius * np.cos(turn)], -1)
    return points.astype(np.float32), np.rint(turn / np.pi * ANGLES).astype(np.intp) % ANGLES
