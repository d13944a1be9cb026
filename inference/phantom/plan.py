"""Where the parts of a drawn slide lie: everything that is decided before a pixel is painted.

All maps are at 1/8 of the slide's resolution (4 um per pixel). Fields are float32, positive
inside; the painter adds fine noise to a field before it thresholds it, so edges are ragged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MPP = 0.5
STEP = 8
"""Slide pixels per pixel of a plan."""
_UM = 1 / (MPP * STEP)
"""Plan pixels per micrometer."""

Field = NDArray[np.float32]


class Kind(IntEnum):
    """What a pixel of the truth map shows."""

    GLASS = 0
    STROMA = 1
    GLAND = 2
    TUMOR = 3
    LYMPHOCYTES = 4
    FAT = 5
    PEN = 6
    FOLD = 7


@dataclass(frozen=True, slots=True)
class Gland:
    """A closed outline in polar form: radius [K] in slide pixels around (row, col)."""

    row: float
    col: float
    radius: Field


@dataclass(frozen=True, slots=True)
class Plan:
    """Fields [R, C] of one slide, and its glands."""

    tissue: Field
    tumor: Field
    """Positive in the nests; the septa between them are negative."""
    invaded: Field
    """Positive in the whole area of nests and septa."""
    lymph: Field
    fat: Field
    fold: Field
    """0 where flat, 1 where the section lies double."""
    pen: Field
    """0 where there is no ink, 1 where it is thickest."""
    glands: tuple[Gland, ...]
    truth: NDArray[np.uint8]
    """[R, C], values of `Kind`."""


def cloud(rng: np.random.Generator, shape: tuple[int, int], cell_px: float) -> Field:
    """Smooth noise [shape], about standard normal, with bumps `cell_px` wide."""
    rows, cols = (max(4, round(n / cell_px) + 3) for n in shape)
    grid = rng.standard_normal((rows, cols), dtype=np.float32)
    # The box keeps bumps equally wide along both axes and the grid's border out of the picture.
    box = (
        1.0,
        1.0,
        1.0 + min(cols - 2, shape[1] / cell_px),
        1.0 + min(rows - 2, shape[0] / cell_px),
    )
    large = Image.fromarray(grid).resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box)
    smooth: Field = np.asarray(large) * np.float32(1.4)
    return smooth


def make_plan(rng: np.random.Generator, rows: int, cols: int) -> Plan:
    """A random plan for a slide of rows x cols pixels: benign and tumor on opposite sides."""
    shape = (rows // STEP, cols // STEP)
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    side = min(shape)
    wide, fine = cloud(rng, shape, side / 3.5), cloud(rng, shape, side / 14)
    tissue = 0.80 - np.hypot(x / 1.02, y) + 0.055 * wide + 0.02 * fine
    tissue += 0.006 * cloud(rng, shape, 30 * _UM)
    # The tumor keeps off the horizontal axis, so a mirrored or turned heatmap is noticed.
    angle = rng.choice([0.6, 2.4, 3.7, 5.6]) + rng.uniform(-0.2, 0.2)

    def blob(turn: float, distance: float, size: float, rough: float) -> Field:
        dx, dy = distance * np.cos(angle + turn), distance * np.sin(angle + turn)
        bumps = cloud(rng, shape, side / 7) + 0.5 * cloud(rng, shape, side / 18)
        field: Field = (1 - np.hypot(x - dx, y - dy) / size + rough * bumps).astype(np.float32)
        return field

    invaded = np.minimum(blob(0.0, 0.36, 0.40, 0.13), tissue * 6 - 0.15)
    nests = cloud(rng, shape, 75 * _UM) + 0.35 * cloud(rng, shape, 30 * _UM)
    tumor = np.minimum(invaded * 3, (nests + 0.75) * 0.5)
    fat = np.minimum(blob(1.75, 0.66, 0.34, 0.16), tissue * 4 + 0.02)
    fat = np.minimum(fat, -invaded - 0.05)
    benign = np.minimum(blob(3.3, 0.40, 0.46, 0.1), np.minimum(tissue * 4 - 0.2, -fat - 0.1))
    lymph = _aggregates(rng, invaded, np.minimum(tissue, -fat))
    glands = _glands(rng, np.minimum(np.minimum(benign, -invaded - 0.1), -lymph - 0.3), shape)
    fold = _fold(rng, x, y, angle, tissue)
    pen = _pen(rng, x, y, angle)
    plan = Plan(tissue, tumor, invaded, lymph, fat, fold, pen, glands, np.zeros(shape, np.uint8))
    return _with_truth(plan)


def spots(
    rng: np.random.Generator, inside: NDArray[np.bool_], spacing_px: float, *, jitter: float = 0.25
) -> NDArray[np.float32]:
    """Points [K, 2] (row, col) in slide pixels on a jittered hexagonal grid, where `inside`.

    `inside` [R, C] is at plan resolution; `spacing_px` is in slide pixels.
    """
    height, width = inside.shape[0] * STEP, inside.shape[1] * STEP
    step_row = spacing_px * 0.866
    row, col = np.mgrid[0 : int(height / step_row), 0 : int(width / spacing_px)].astype(np.float32)
    col += (row % 2) / 2
    points = np.stack([row * step_row, col * spacing_px], -1).reshape(-1, 2)
    points += rng.normal(0, jitter * spacing_px, points.shape).astype(np.float32)
    r, c = (points // STEP).astype(np.intp).T
    ok = (r >= 0) & (r < inside.shape[0]) & (c >= 0) & (c < inside.shape[1])
    ok[ok] = inside[r[ok], c[ok]]
    kept: NDArray[np.float32] = points[ok]
    return kept


def _aggregates(rng: np.random.Generator, invaded: Field, room: Field) -> Field:
    """Four to six round fields of lymphocytes around the tumor, where there is room."""
    rows, cols = np.nonzero((invaded < -0.08) & (invaded > -0.55) & (room > 0.1))
    lymph = np.full(invaded.shape, -1, np.float32)
    y, x = np.ogrid[: invaded.shape[0], : invaded.shape[1]]
    rough = 0.2 * cloud(rng, invaded.shape, 60 * _UM)
    for _ in range(int(rng.integers(4, 7)) if len(rows) else 0):
        k = rng.integers(len(rows))
        size = rng.uniform(0.03, 0.062) * min(invaded.shape)
        far = np.hypot(x - cols[k], (y - rows[k]) * rng.uniform(0.8, 1.4)) / size
        lymph = np.maximum(lymph, (1 - far + rough).astype(np.float32))
    return np.minimum(np.minimum(lymph, -invaded * 8), room * 12)


def _glands(rng: np.random.Generator, benign: Field, shape: tuple[int, int]) -> tuple[Gland, ...]:
    """Lobed outlines 60 to 180 um wide that do not touch."""
    centers = spots(rng, benign > 0, 185 / MPP, jitter=0.2)
    theta = np.linspace(0, 2 * np.pi, 180, endpoint=False, dtype=np.float32)
    glands = []
    for row, col in centers:
        if not (200 < row < shape[0] * STEP - 200 and 200 < col < shape[1] * STEP - 200):
            continue
        waves = sum(
            rng.normal(0, 0.17 / k) * np.cos(k * theta + rng.uniform(0, 6.3)) for k in range(2, 7)
        )
        apart = np.sort(np.hypot(*(centers - (row, col)).T))[1:2].min(initial=400.0)
        widest = min(70 / MPP, apart / 2 / 1.28 - 6 / MPP)
        if widest < 30 / MPP:
            continue
        radius = rng.uniform(30 / MPP, widest) ** 0.5 * widest**0.5 * np.clip(1 + waves, 0.55, 1.28)
        glands.append(Gland(float(row), float(col), radius.astype(np.float32)))
    return tuple(glands)


def _fold(rng: np.random.Generator, x: Field, y: Field, angle: float, tissue: Field) -> Field:
    """A curved band across the section, between tumor and glands, that thins out at its ends."""
    turn = angle + rng.uniform(-0.25, 0.25)
    across = x * np.cos(turn) + y * np.sin(turn) + 0.08 + 0.03 * cloud(rng, tissue.shape, 120)
    along = -x * np.sin(turn) + y * np.cos(turn)
    width = 110 / (tissue.shape[0] * STEP) * np.clip(1.2 - np.abs(along + 0.25) * 1.7, 0, 1)
    inside = np.clip((width - np.abs(across)) / 0.006, 0, 1)
    return np.where(tissue > 0, inside, 0).astype(np.float32)


def _pen(rng: np.random.Generator, x: Field, y: Field, angle: float) -> Field:
    """Two strokes of a marker on the glass, in the corner next to the tumor."""
    right, down = np.sign(np.cos(angle)) or 1.0, np.sign(np.sin(angle)) or 1.0
    u, v = 1 - x * right, 1 - y * down
    shape = (y.shape[0], x.shape[1])
    edge = cloud(rng, shape, 12) * 0.004
    ink = np.zeros(shape, np.float32)
    half_width = 2.1 / (shape[0] * STEP) ** 0.5
    for offset, reach in ((0.19, 0.46), (0.33, 0.36)):
        band = np.abs(u + v + 0.5 * (u - v) ** 2 - offset - 0.02) - half_width + edge
        band = np.maximum(band, np.abs(u - v + 0.02) - reach * 0.5)
        ink = np.maximum(ink, np.clip(-band / 0.006, 0, 1))
    uneven: Field = np.clip(0.8 + 0.12 * cloud(rng, shape, 25), 0.4, 1)
    return ink * uneven


def _with_truth(plan: Plan) -> Plan:
    """The plan with its label map filled in, later kinds over earlier ones."""
    truth = plan.truth
    truth[plan.tissue > 0] = Kind.STROMA
    truth[plan.fat > 0] = Kind.FAT
    y, x = np.ogrid[: truth.shape[0], : truth.shape[1]]
    for gland in plan.glands:
        reach = int(gland.radius.max() / STEP) + 2
        r, c = int(gland.row / STEP), int(gland.col / STEP)
        box = np.s_[max(0, r - reach) : r + reach, max(0, c - reach) : c + reach]
        dy, dx = y[box[0]] * STEP - gland.row, x[:, box[1]] * STEP - gland.col
        turn = (np.arctan2(dy, dx) % (2 * np.pi)) / (2 * np.pi) * len(gland.radius)
        inside = np.hypot(dx, dy) < gland.radius[turn.astype(np.intp) % len(gland.radius)]
        truth[box][inside] = Kind.GLAND
    truth[(plan.tumor > 0) & (plan.tissue > 0)] = Kind.TUMOR
    truth[(plan.lymph > 0) & (plan.tissue > 0)] = Kind.LYMPHOCYTES
    truth[plan.fold > 0.5] = Kind.FOLD
    truth[plan.pen > 0.2] = Kind.PEN
    return plan
