"""Simulated slides: bags of tiles, so that a slide can be compared with what was trained on.

A simulated slide is a bag of tiles of one section, of one slide, of the lung tiles or of the drawn
ones, under one stain. It has no patient and no outcome.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.default_student.augment import restained, stain
from training.default_student.bundle.said import by_student
from training.default_student.encoder import PrincipalAxes
from training.default_student.tissue.student import TissueEncoder

Floats = NDArray[np.float32]
STAINS = {"train": 6, "test": 3}
LIBRARY_TILES = 100
TRAINING_SLIDES, HELD_OUT_SLIDES = 2000, 600
_FEWEST, _MOST = 4, 256
_TILT = 6.0
Units = dict[str, dict[str, NDArray[np.uint8]]]
"""Tiles [T, 224, 224, 3] by source and unit: a section, a slide, or all of the source."""


@dataclass(frozen=True)
class Library:
    """Encoded tiles of one unit: the same T tiles under V stains."""

    features: Floats
    """[V, T, D]; the first stain is the original one."""
    classes: Floats
    """[T, 9] probabilities of tissue as the student gives them."""


@dataclass(frozen=True)
class Reference:
    """Slides as in training: mean [D] and deviation [D] of their means, limit of the distance."""

    mean: Floats
    std: Floats
    limit: float


def libraries(encoder: TissueEncoder, units: Units, part: str, seed: int) -> list[list[Library]]:
    """By source and unit: raw features of some tiles as scanned and under random stains."""
    light = torch.Generator().manual_seed(seed + list(STAINS).index(part))
    rng = np.random.default_rng(seed)
    found = []
    for source in units.values():
        kept = [tiles[_some(len(tiles), rng)] for tiles in source.values()]
        found.append([_library(encoder, tiles, STAINS[part], light) for tiles in kept])
    return found


def means(sources: list[list[Library]], count: int, seed: int) -> Floats:
    """[count, D] mean features of slides, equally many of each source."""
    rng = np.random.default_rng(seed)
    found = np.empty((count, sources[0][0].features.shape[-1]), np.float32)
    for at in range(count):
        source = sources[at % len(sources)]
        library = source[rng.integers(len(source))]
        view = rng.integers(len(library.features))
        found[at] = library.features[view, _members(library, rng)].mean(axis=0)
    return found


def on_axes(slides: Floats, axes: PrincipalAxes) -> Floats:
    """Mean features [B, 134] on the axes that the encoder puts out, [B, 64]."""
    with torch.inference_mode():
        turned: Floats = axes(torch.from_numpy(slides)).numpy()
    return turned


def reference(slides: Floats) -> Reference:
    """What a slide is compared with: mean features [B, D]; the limit at 99.9 % of training."""
    mean, std = slides.mean(axis=0), slides.std(axis=0)
    return Reference(mean, std, float(np.percentile(distance(slides, mean, std), 99.9)))


def distance(slides: Floats, mean: Floats, std: Floats) -> Floats:
    """[B] as OutOfDistribution of the manifest defines it."""
    found: Floats = np.sqrt((((slides - mean) / std) ** 2).mean(axis=1))
    return found


def _some(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    kept: NDArray[np.int64] = np.sort(rng.permutation(count)[:LIBRARY_TILES])
    return kept


def _library(
    encoder: TissueEncoder, images: NDArray[np.uint8], views: int, light: torch.Generator
) -> Library:
    first = by_student(encoder, images)
    features = [first.raw]
    for _ in range(views - 1):
        matrix, color = stain(1, light)
        features.append(by_student(encoder, _stained(images, matrix, color)).raw)
    return Library(np.stack(features), first.probabilities())


def _stained(
    images: NDArray[np.uint8], matrix: torch.Tensor, color: torch.Tensor
) -> NDArray[np.uint8]:
    stained = np.empty_like(images)
    for at, image in enumerate(images):
        pixels = torch.from_numpy(image).permute(2, 0, 1).float().unsqueeze(0)
        again = restained(pixels, matrix, color)[0].round().byte()
        stained[at] = again.permute(1, 2, 0).numpy()
    return stained


def _members(library: Library, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of one slide's tiles: 4 to 256, leaning to some tissues and away from others."""
    count = round(_FEWEST * (_MOST / _FEWEST) ** rng.random())
    lean = library.classes @ rng.uniform(-_TILT, _TILT, library.classes.shape[1])
    weight = np.exp(lean - lean.max())
    members: NDArray[np.int64] = rng.choice(len(weight), count, p=weight / weight.sum())
    return members
