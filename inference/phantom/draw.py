"""A whole slide that nobody ever cut: drawn by this code, with known ground truth.

It looks like an H&E section at low and high power so that people can judge what the node shows,
and every pixel's kind is known so that tests can. It is drawn: no tissue, no patient, no diagnosis,
and figures measured on it say nothing about real slides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from inference.phantom import cells
from inference.phantom.plan import MPP, STEP, Field, Kind, Plan, cloud, make_plan, spots
from inference.phantom.stain import Stain, develop

__all__ = ["DRAWN", "MPP", "STEP", "Kind", "Phantom", "draw"]

DRAWN = "Drawn phantom, not a patient"
"""Series description of every drawn slide: who shows one must say so."""
_HALF = 2
"""Cytoplasm and fibers are painted at half resolution, nuclei at full resolution."""


@dataclass(frozen=True, slots=True)
class Phantom:
    """A drawn slide at MPP um per pixel."""

    pixels: NDArray[np.uint8]
    """RGB [H, W, 3]."""
    truth: NDArray[np.uint8]
    """[H // STEP, W // STEP], values of Kind: the label of each STEP x STEP block of pixels."""


def draw(seed: int, *, rows: int = 6144, cols: int = 8192) -> Phantom:
    """The drawn slide number `seed`: the same seed and size give the same pixels.

    Raises ValueError when a side is below 1024 px or no multiple of 16.
    """
    if min(rows, cols) < 1024 or rows % 16 or cols % 16:
        raise ValueError(f"drawn slide {rows}x{cols}: expected multiples of 16, 1024 or larger")
    rng = np.random.default_rng(seed)
    plan = make_plan(rng, rows, cols)
    along, across = _fiber_coordinates(rng, (rows // _HALF, cols // _HALF))
    e, h = _ground(rng, plan, along, across)
    direction = _direction(across)
    del along, across
    e_map, h_map = _epithelium(rng, plan, e, h)
    size = (cols, rows)
    eosin = np.asarray(e_map.resize(size, Image.Resampling.BILINEAR))
    hematoxylin = np.array(h_map.resize(size, Image.Resampling.BILINEAR))
    _nuclei(rng, plan, hematoxylin, direction)
    return Phantom(develop(rng, plan, hematoxylin, eosin, Stain()), plan.truth)


def _enlarge(field: Field, shape: tuple[int, int]) -> Field:
    return np.asarray(Image.fromarray(field).resize(shape[::-1], Image.Resampling.BICUBIC))


def _fiber_coordinates(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Field, Field]:
    """Coordinates along and across the collagen [shape], in um: a bent, rotated grid."""
    turn = rng.uniform(0, np.pi)
    y = np.arange(shape[0], dtype=np.float32)[:, None]
    x = np.arange(shape[1], dtype=np.float32)[None, :]
    across = y * np.float32(np.cos(turn)) - x * np.float32(np.sin(turn))
    along = x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn))
    bend = cloud(rng, shape, 520)
    across += 150 * bend + 22 * cloud(rng, shape, 130) + 3.5 * cloud(rng, shape, 34)
    along += 60 * bend
    return along, across


def _direction(across: Field) -> NDArray[np.intp]:
    """Index of the fiber direction (in cells.ANGLES) at plan resolution."""
    small = across[:: STEP // _HALF, :: STEP // _HALF]
    down, right = np.gradient(small)
    turn: NDArray[np.intp] = np.rint(np.arctan2(-right, down) / np.pi * cells.ANGLES).astype(
        np.intp
    )
    return turn % cells.ANGLES


def _ground(
    rng: np.random.Generator, plan: Plan, along: Field, across: Field
) -> tuple[Field, Field]:
    """Eosin and hematoxylin of everything but cells, at half resolution."""
    shape = across.shape
    texture = cells.fiber_texture(rng)
    side = len(texture)
    fibers = texture[across.astype(np.int32) % side, along.astype(np.int32) % side]
    grain = rng.standard_normal((512, 512), dtype=np.float32)
    grain = np.tile(grain, (shape[0] // 512 + 1, shape[1] // 512 + 1))[: shape[0], : shape[1]]
    thick = cloud(rng, shape, 260)
    e = 80 + 19 * fibers + 14 * thick + 5 * grain
    # Shrinkage opens slits between the bundles.
    e *= np.clip(1.45 + 0.5 * fibers + 0.4 * cloud(rng, shape, 90), 0.06, 1)
    h = 14 + 4 * fibers + 3 * thick
    ragged = 0.25 * fibers + 0.2 * grain
    for field, eosin, hematoxylin in ((plan.lymph, 46, 26), (plan.tumor, 70, 30)):
        weight = np.clip(_enlarge(field, shape) * 22 + ragged + 0.3, 0, 1)
        rough = 1 + 0.09 * thick + 0.07 * grain
        e += weight * (eosin * rough - e)
        h += weight * (hematoxylin * rough - h)
    weight = np.clip(_enlarge(plan.tissue, shape) * 90 + 1.4 * ragged + 0.5, 0, 1)
    return (e * weight).clip(0, 255), (h * weight).clip(0, 255)


def _epithelium(
    rng: np.random.Generator, plan: Plan, e: Field, h: Field
) -> tuple[Image.Image, Image.Image]:
    """The stain maps with fat cells and glands painted in."""
    e_map, h_map = Image.fromarray(e.astype(np.uint8)), Image.fromarray(h.astype(np.uint8))
    paint_e, paint_h = ImageDraw.Draw(e_map), ImageDraw.Draw(h_map)
    for outline in cells.fat_outlines(spots(rng, plan.fat > 0, 62 / MPP, jitter=0.18), 0.8 / MPP):
        points = [(float(col) / _HALF, float(row) / _HALF) for row, col in outline]
        paint_e.polygon(points, fill=2, outline=84)
        paint_h.polygon(points, fill=1, outline=14)
    for gland in plan.glands:
        cells.draw_gland(e_map, h_map, gland, 1 / _HALF, rng.uniform(0.85, 1.1))
    soft = ImageFilter.GaussianBlur(0.8)
    return e_map.filter(soft), h_map.filter(soft)


def _nuclei(
    rng: np.random.Generator, plan: Plan, h: NDArray[np.uint8], direction: NDArray[np.intp]
) -> None:
    """Stamps all nuclei on the hematoxylin map, each sort where it lives."""
    banks = {
        look: cells.nucleus_bank(rng, look, 12)
        for look in (cells.FIBROBLAST, cells.EPITHELIUM, cells.TUMOR, cells.LYMPHOCYTE)
    }
    inside = plan.tissue > 0.004
    taken = np.isin(plan.truth, (Kind.GLAND, Kind.FAT)).astype(np.uint8)
    # Nuclei are larger than a pixel of the plan: keep their centers off glands and fat cells.
    taken = np.asarray(Image.fromarray(taken).filter(ImageFilter.MaxFilter(7)))
    stroma = inside & (taken == 0) & (plan.tumor < 0) & (plan.lymph < 0)

    def put(look: cells.Nucleus, points: NDArray[np.float32], turn: NDArray[np.intp]) -> None:
        variant = rng.integers(len(banks[look]) // cells.ANGLES, size=len(points))
        cells.stamp(h, points, banks[look], variant * cells.ANGLES + turn)

    def put_any(look: cells.Nucleus, points: NDArray[np.float32]) -> None:
        put(look, points, rng.integers(cells.ANGLES, size=len(points)))

    points = spots(rng, stroma, 27 / MPP, jitter=0.4)
    row, col = (points // STEP).astype(np.intp).T
    put(
        cells.FIBROBLAST,
        points,
        (direction[row, col] + rng.integers(-1, 2, len(row))) % cells.ANGLES,
    )
    near = np.maximum(0.22 + plan.invaded * 0.5, 0.5 + plan.lymph).clip(0.03, 0.55)
    points = spots(rng, stroma, 24 / MPP, jitter=0.5)
    row, col = (points // STEP).astype(np.intp).T
    put_any(cells.LYMPHOCYTE, points[rng.random(len(points)) < near[row, col]])
    put_any(cells.TUMOR, spots(rng, (plan.tumor > 0.01) & inside, 14.8 / MPP, jitter=0.12))
    put_any(cells.LYMPHOCYTE, spots(rng, (plan.lymph > 0) & inside, 8.6 / MPP, jitter=0.24))
    for gland in plan.glands:
        put(cells.EPITHELIUM, *cells.gland_nuclei(rng, gland))
