"""The slide level: simulated slides of real features, the aggregators, and their figures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from training.default_student import aggregator, data, measure, simulate, train
from training.default_student.aggregator import Aggregator
from training.default_student.augment import centered, restained, stain
from training.default_student.data import TileSet
from training.default_student.encoder import Encoder, PrincipalAxes
from training.default_student.expression import PROGRAMS, Expression
from training.default_student.simulate import Cohort, Library
from training.default_student.tiles import Row, Sources

STAINS = {"train": 6, "test": 3}
LIBRARY_TILES = 100
TRAINING_SLIDES, HELD_OUT_SLIDES = 1800, 600
EPOCHS = 12
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Slides:
    """Simulated slides on the axes that the encoder puts out."""

    axes: PrincipalAxes
    training: Cohort
    held: Cohort
    """One third each of patient B's spots, of lung test groups, of drawn test slides."""
    section: Cohort
    """Of the section of the training patient that no network was fitted to."""


@dataclass(frozen=True)
class Aggregators:
    """The student, and what it is compared with: the same slides, seed and epochs."""

    distilled: Aggregator
    twin: Aggregator
    null: Aggregator
    """Taught by a teacher of expression exchanged among slides of a section."""


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
    section = _on_axes(libraries(encoder, sources, found, "val", seed)[:1], axes)
    return Slides(
        axes,
        simulate.cohort(_on_axes(raw, axes), TRAINING_SLIDES, seed),
        simulate.cohort(held, HELD_OUT_SLIDES, seed + 1),
        simulate.cohort(section, HELD_OUT_SLIDES // 3, seed + 2),
    )


def libraries(
    encoder: Encoder, sources: Sources, found: Expression, split: str, seed: int
) -> list[list[Library]]:
    """By source and section: features of tiles as scanned and under random stains.

    The first source is breast. "val" gives breast alone: the rest tunes the temperature.
    """
    light = torch.Generator().manual_seed(seed + ("train", "test", "val").index(split))
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
    if split == "val":
        return [breast]
    others = [
        [_library(encoder, tiles, _some(np.arange(len(tiles)), rng), split, light)]
        for tiles in (sources.lung.part(split), sources.phantom.part(split))
    ]
    return [breast, *others]


def fitted(slides: Slides, seed: int) -> Aggregators:
    """The three aggregators."""
    lesson = aggregator.lesson(slides.training, EPOCHS, seed)
    shuffled = aggregator.lesson(_exchanged(slides.training, seed), EPOCHS, seed)
    return Aggregators(
        aggregator.student(slides.training, EPOCHS, seed, lesson),
        aggregator.student(slides.training, EPOCHS, seed, None),
        aggregator.student(slides.training, EPOCHS, seed, shuffled),
    )


def rows(models: Aggregators, slides: Slides, seed: int) -> list[Row]:
    """C-indices with their intervals: by part of the held-out slides, student beside the others."""
    held = slides.held
    breast = held.paired
    parts = (
        (slides.section, f"{len(slides.section.tiles)} simulated slides of another section, C6"),
        (held.rows(breast), f"{breast.sum()} simulated slides of the other patient's spots"),
        (held.rows(~breast), f"{(~breast).sum()} simulated slides of lung and drawn tiles"),
        (held, f"all {len(breast)} held-out simulated slides, simulated outcomes"),
    )
    found: list[Row] = []
    for cohort, source in parts:
        found += _compared(models, cohort, source)
        if cohort.paired.all():
            answers = aggregator.teacher_risk(slides.training, cohort, EPOCHS, seed)
            told = aggregator.told_risk(models.distilled, cohort)
            found.append(_concordance("C-index, teacher", answers, cohort, source))
            units = np.arange(len(told)).astype(str)
            agreed = measure.interval(
                lambda a, b: float(np.corrcoef(a, b)[0, 1]), units, told, answers
            )
            found.append(("r of the teacher's risk guessed from pixels", agreed, source))
    tumor = measure.interval(
        measure.rank_correlation,
        np.arange(len(breast)).astype(str),
        aggregator.risks(models.distilled, held),
        held.tumor.astype(float),
    )
    found.append(("Spearman of risk with tumor share", tumor, parts[-1][1]))
    return found


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


def _compared(models: Aggregators, cohort: Cohort, source: str) -> list[Row]:
    risk = {role: aggregator.risks(model, cohort) for role, model in vars(models).items()}
    found = [
        _concordance(f"C-index, {role}", values, cohort, source) for role, values in risk.items()
    ]
    truth = cohort.log_hazard().astype(float)
    found.append(_concordance("C-index, the formula itself", truth, cohort, source))
    gain = measure.interval(
        measure.concordance_gain,
        np.arange(len(truth)).astype(str),
        risk["distilled"],
        risk["twin"],
        cohort.months.astype(float),
        cohort.event.astype(float),
    )
    return [*found, ("C-index gained, distilled over twin", gain, source)]


def _concordance(name: str, risk: NDArray[np.float64], cohort: Cohort, source: str) -> Row:
    outcome = cohort.months.astype(float), cohort.event.astype(float)
    units = np.arange(len(risk)).astype(str)
    return name, measure.interval(measure.concordance, units, risk, *outcome), source


def _exchanged(slides: Cohort, seed: int) -> Cohort:
    """The null: slides exchange their expression with others of their section."""
    rng, bulk = np.random.default_rng(seed), slides.bulk.copy()
    for unit in np.unique(slides.unit[slides.paired]):
        at = np.flatnonzero(slides.unit == unit)
        bulk[at] = bulk[rng.permutation(at)]
    return replace(slides, bulk=bulk)


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
