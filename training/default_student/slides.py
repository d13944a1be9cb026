"""Simulated slides of real features, and what a slide is compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from training.default_student import data, measure, simulate, train
from training.default_student.augment import centered, restained, stain
from training.default_student.data import TileSet
from training.default_student.encoder import Encoder, PrincipalAxes
from training.default_student.expression import PROGRAMS, Expression
from training.default_student.simulate import Cohort, Library
from training.default_student.tiles import Row, Sources

STAINS = {"train": 6, "test": 3}
LIBRARY_TILES = 100
TRAINING_SLIDES, HELD_OUT_SLIDES = 1800, 600
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Slides:
    """Simulated slides on the axes that the encoder puts out."""

    axes: PrincipalAxes
    training: Cohort
    held: Cohort
    """One third each of patient B's spots, of lung test groups, of drawn test slides."""


@dataclass(frozen=True)
class Reference:
    """Slides as in training: mean [D] and deviation [D] of their means, limit of the distance."""

    mean: Floats
    std: Floats
    limit: float


def simulated(encoder: Encoder, sources: Sources, found: Expression, seed: int) -> Slides:
    """Slides for training and for testing."""
    raw = libraries(encoder, sources, found, "train", seed)
    first = simulate.cohort(raw, TRAINING_SLIDES, seed)
    axes = PrincipalAxes(torch.from_numpy(first.means()))
    held = _on_axes(libraries(encoder, sources, found, "test", seed), axes)
    return Slides(
        axes,
        simulate.cohort(_on_axes(raw, axes), TRAINING_SLIDES, seed),
        simulate.cohort(held, HELD_OUT_SLIDES, seed + 1),
    )


def libraries(
    encoder: Encoder, sources: Sources, found: Expression, split: str, seed: int
) -> list[list[Library]]:
    """By source and section: features of tiles as scanned and under random stains.

    The first source is breast.
    """
    light = torch.Generator().manual_seed(seed + ("train", "test").index(split))
    rng = np.random.default_rng(seed)
    spots, kept = sources.spots.part(split), found.rows(sources.spots.split == split)
    breast = []
    for section in np.unique(spots.group):
        at = _some(np.flatnonzero(spots.group == section), rng)
        library = _library(encoder, spots, at, split, light)
        programs, total = kept.programs()[at], kept.total[at]
        breast.append(
            replace(
                library,
                unit=section,
                programs=programs.astype(np.float32),
                total=total.astype(np.float32),
            )
        )
    others = [
        [_library(encoder, tiles, _some(np.arange(len(tiles)), rng), split, light)]
        for tiles in (sources.lung.part(split), sources.phantom.part(split))
    ]
    return [breast, *others]


def reference(slides: Cohort) -> Reference:
    """What a slide is compared with before anything is said of it: limit at 99.9 % of training."""
    means = slides.means()
    mean, std = means.mean(axis=0), means.std(axis=0)
    return Reference(mean, std, float(np.percentile(_distance(means, mean, std), 99.9)))


def flagged(held: Cohort, known: Reference) -> Row:
    """The share of held-out slides that would be flagged as unlike training."""
    far = (_distance(held.means(), known.mean, known.std) > known.limit).astype(float)
    return (
        "share flagged as unlike training",
        measure.interval(lambda flags: float(flags.mean()), np.arange(len(far)).astype(str), far),
        f"{len(far)} held-out simulated slides, one third of another patient's tiles",
    )


def _some(at: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    kept: NDArray[np.int64] = np.sort(rng.permutation(at)[:LIBRARY_TILES])
    return kept


def _library(
    encoder: Encoder, tiles: TileSet, at: NDArray[np.int64], split: str, light: torch.Generator
) -> Library:
    """Encoded tiles without expression."""
    images = centered(tiles.images[at], tiles.mpp, data.TILE_PX)
    features = [train.encoded(encoder, images, train.MPP)[0]]
    for _ in range(STAINS.get(split, STAINS["test"]) - 1):
        matrix, color = stain(1, light)
        features.append(train.encoded(encoder, _stained(images, matrix, color), train.MPP)[0])
    return Library(
        tiles.source,
        np.stack(features),
        tiles.fraction[at],
        tiles.lymphoid[at],
        programs=np.full((len(at), len(PROGRAMS)), np.nan, np.float32),
        total=np.full(len(at), np.nan, np.float32),
    )


def _stained(
    images: NDArray[np.uint8], matrix: torch.Tensor, color: torch.Tensor
) -> NDArray[np.uint8]:
    stained = np.empty_like(images)
    for at, image in enumerate(images):
        pixels = torch.from_numpy(image).permute(2, 0, 1).float().unsqueeze(0)
        again = restained(pixels, matrix, color)[0].round().byte()
        stained[at] = again.permute(1, 2, 0).numpy()
    return stained


def _on_axes(found: list[list[Library]], axes: PrincipalAxes) -> list[list[Library]]:
    with torch.inference_mode():
        return [
            [
                replace(library, features=axes(torch.from_numpy(library.features)).numpy())
                for library in source
            ]
            for source in found
        ]


def _distance(means: Floats, mean: Floats, std: Floats) -> Floats:
    """[B] as OutOfDistribution of the manifest defines it."""
    distance: Floats = np.sqrt((((means - mean) / std) ** 2).mean(axis=1))
    return distance
