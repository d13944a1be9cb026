"""The held tiles of the training data: what temperatures are fitted on and roles are chosen by.

No tile of patient B, of the colon or of the test groups is among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.default_student import measure
from training.default_student.augment import centered
from training.default_student.bundle.said import Said, by_teacher, softmax
from training.default_student.tissue.densenet import DenseNet
from training.default_student.tissue.tiles import SOURCES, TILE_PX, Tiles

TEACHER = "the network that taught it"
LUNG, SLIDES = (
    "LC25000 validation groups, tiles resampled",
    "a fifth of two slides, tiles resampled",
)
SECTION, DRAWN = "HER2+ breast, section C6, all spots resampled", "a drawn slide, fields resampled"
_CANDIDATES = np.logspace(-0.7, 1.2, 191)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Held:
    """N tiles that trained nothing."""

    images: NDArray[np.uint8]
    """[N, 224, 224, 3] at 0.5 um/px."""
    source: NDArray[np.int64]
    tumor: Floats
    """[N] weak label; NaN: unknown."""
    classes: Floats
    """[N, 9] shares: what was drawn, what the counts of a spot say, else what the teacher says."""

    def of(self, name: str) -> NDArray[np.int64]:
        """Rows of a source."""
        return np.flatnonzero(self.source == SOURCES.index(name))


@dataclass(frozen=True)
class Figure:
    """One measured figure of one role, with its 95 % interval."""

    figure: str
    value: float
    low: float
    high: float
    data: str
    subgroup: str
    count: int


def held_tiles(tiles: Tiles, teacher: DenseNet) -> Held:
    """The held ones of all that were gathered."""
    kept = tiles.some(np.flatnonzero(tiles.held))
    images = kept.images()
    for mpp in np.unique(kept.mpp):
        rows = kept.mpp == mpp
        images[rows] = centered(images[rows], float(mpp), TILE_PX)
    classes = kept.classes.astype(np.float64)
    asked = np.isin(kept.source, [SOURCES.index(name) for name in ("lung", "slides")])
    classes[asked] = softmax(by_teacher(teacher, images[asked]))
    return Held(images, kept.source, kept.tumor.astype(np.float64), classes)


def temperatures(held: Held, said: Said) -> tuple[float, float]:
    """Of tumor and of classes: least cross-entropy on what is known, each source weighing the same.

    Else the easy lung tiles would decide alone.
    """
    tumor, classes = np.zeros(len(_CANDIDATES)), np.zeros(len(_CANDIDATES))
    for name in SOURCES:
        rows = held.of(name)
        known = rows[~np.isnan(held.tumor[rows])]
        if len(known):
            tumor += [_tumor_loss(said.tumor[known] / t, held.tumor[known]) for t in _CANDIDATES]
        known = rows[~np.isnan(held.classes[rows, 0])]
        if len(known):
            shares, logits = held.classes[known], said.classes[known]
            classes += [_class_loss(logits / t, shares) for t in _CANDIDATES]
    return float(_CANDIDATES[tumor.argmin()]), float(_CANDIDATES[classes.argmin()])


def agreement(held: Held, said: Said) -> list[Figure]:
    """How far a role agrees with its teachers, or with what is known, source by source."""
    own = said.classes.argmax(axis=1)
    return [
        _same(held, own, "lung", f"same tissue class as {TEACHER}", "lung", LUNG),
        _same(held, own, "slides", f"same tissue class as {TEACHER}", "two slides", SLIDES),
        _same(held, own, "drawn", "tissue class accuracy, held", "drawings", DRAWN),
        _tumor(held, said, "lung", measure.accuracy, ("tumor accuracy, held", "lung", LUNG)),
        _tumor(held, said, "spots", measure.rank_correlation,
               ("Spearman with epithelium, held", "breast", SECTION)),
    ]  # fmt: skip


def chosen(by_role: dict[str, list[Figure]]) -> str:
    """The role with the highest mean of its `agreement`: the rule by which one is shipped."""
    return max(by_role, key=lambda role: np.mean([row.value for row in by_role[role]]))


def _same(
    held: Held, own: NDArray[np.int64], name: str, figure: str, subgroup: str, data: str
) -> Figure:
    rows = held.of(name)
    rows = rows[~np.isnan(held.classes[rows, 0])]
    same = (own[rows] == held.classes[rows].argmax(axis=1)).astype(np.float64)
    return measured(figure, measure.share, (same,), data, subgroup)


def _tumor(
    held: Held, said: Said, name: str, figure: measure.Figure, told: tuple[str, str, str]
) -> Figure:
    rows = held.of(name)
    score = 1 / (1 + np.exp(-said.tumor[rows].astype(np.float64)))
    return measured(told[0], figure, (held.tumor[rows], score), told[2], told[1])


def measured(
    name: str,
    figure: measure.Figure,
    columns: tuple[Floats, ...],
    data: str,
    subgroup: str,
    groups: NDArray[np.str_] | None = None,
) -> Figure:
    """The figure of columns [N] with its interval: rows are redrawn, or `groups` [N] of them."""
    count = len(columns[0])
    units = np.arange(count).astype(str) if groups is None else groups
    value, low, high = measure.interval(figure, units, *columns)
    return Figure(name, value, low, high, data, subgroup, count)


def _tumor_loss(logits: NDArray[np.floating], truth: Floats) -> float:
    loss = np.logaddexp(0, logits) - truth * logits
    return float(np.mean(loss))


def _class_loss(logits: NDArray[np.floating], shares: Floats) -> float:
    return float(-np.mean(np.sum(shares * np.log(softmax(logits) + 1e-12), axis=1)))
