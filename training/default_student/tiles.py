"""The tile level: the encoders, and what each is worth on tiles it did not see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.default_student import data, expression, measure, teacher, train
from training.default_student.data import TileSet
from training.default_student.encoder import COLORS, Encoder
from training.default_student.expression import Expression, Targets

FOLDERS = ("lc25000_lung_clean", "her2st_spots", "tiles_crc_val_he_7k_32")
PENALTIES = np.logspace(1, 4, 7)
SHOWN = ("total counts", "EPCAM", "ERBB2", "GRB7", "KRT19", "CD3E", "COL1A1", "immune")
"""Targets that the card lists one by one; chosen with floors on both patients known."""
Row = tuple[str, tuple[float, float, float], str]
"""Name, (value, low, high), data."""


@dataclass(frozen=True)
class Sources:
    """The four sources of tiles."""

    lung: TileSet
    spots: TileSet
    phantom: TileSet
    colon: TileSet

    def part(self, *splits: str) -> list[TileSet]:
        """The named splits of the sources that training may see."""
        return [s.part(*splits) for s in (self.lung, self.spots, self.phantom)]


def load(folder: Path) -> tuple[Sources, Expression]:
    """Tiles and expression from the data folder."""
    lung, spots, colon = (folder / name for name in FOLDERS)
    sources = Sources(data.lung(lung), data.spots(spots), data.phantom(), data.colon(colon))
    return sources, expression.load(spots)


@dataclass(frozen=True)
class Encoders:
    """The student, and what it is compared with; all share the first stage and the views."""

    distilled: Encoder
    twin: Encoder
    """Without the privileged terms."""
    null: Encoder
    """Distilled from expression that was exchanged among the spots of a section."""


def encoders(sources: Sources, found: Expression, steps: tuple[int, int], seed: int) -> Encoders:
    """The three encoders, of as many steps in the first stage and in the second."""
    lung, _, phantom = sources.part("train")
    first = train.started([lung, phantom], steps[0], seed)

    def branch(given: Expression, terms: train.Terms) -> Encoder:
        spots = dressed(sources.spots, given, sources.spots.split == "train").part("train")
        return train.branched(first, [lung, spots, phantom], terms, steps[1], seed)

    return Encoders(
        branch(found, "distilled"),
        branch(found, "plain"),
        branch(found.permuted(seed), "distilled"),
    )


def dressed(spots: TileSet, found: Expression, training: NDArray[np.bool_]) -> TileSet:
    """The spots with targets of expression and the cross-fitted teacher's soft targets."""
    targets = expression.targets(found, training)
    taught = teacher.cross_fitted(targets.values, spots.tumor, spots.group, training)
    return replace(
        spots,
        expression=targets.values,
        teacher=taught.out_of_fold.astype(np.float32),
    )


Encoded = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Raw features [T, 134] and tumor probability [T] of all spots by role."""


def encoded_spots(models: Encoders, spots: TileSet) -> Encoded:
    """All spots by each encoder."""
    return {
        role: train.encoded(encoder, spots.images, spots.mpp)
        for role, encoder in vars(models).items()
    }


def tumor_rows(
    student: Encoder, sources: Sources, found: Expression, encoded: Encoded
) -> list[Row]:
    """How well tumor is told apart, by the student everywhere and by the others on patient B."""
    rows: list[Row] = []
    for tiles, source, grouped in (
        (sources.lung, "LC25000 test groups", True),
        (sources.colon, "32 colon tiles, 4 of them tumor; external", False),
        (sources.phantom, "3 drawn slides, fields resampled", False),
    ):
        part = tiles.part("test")
        _, score = train.encoded(student, part.images, part.mpp)
        known = part.clear
        units = part.group[known] if grouped else np.arange(known.sum()).astype(str)
        columns = part.tumor[known].astype(float), score[known].astype(float)
        for name, figure in (("tumor AUC", measure.auc), ("tumor accuracy", measure.accuracy)):
            rows.append((name, measure.interval(figure, units, *columns), source))
    spots = sources.spots
    training, held = spots.split == "train", spots.split == "test"
    part = spots.part("test")
    for role, (_, score) in encoded.items():
        rows += _patient_b(role, part, score[held].astype(float))
    values = expression.targets(found, training).values
    answers = teacher.cross_fitted(values, spots.tumor, spots.group, training).elsewhere
    return [*rows, *_patient_b("teacher", part, answers[held])]


def _patient_b(role: str, part: TileSet, score: NDArray[np.float64]) -> list[Row]:
    known, units = part.clear, np.arange(len(part)).astype(str)
    truth = part.tumor.astype(float)
    return [
        (
            f"tumor AUC, {role}",
            measure.interval(measure.auc, units[known], truth[known], score[known]),
            "HER2+ breast, patient B, clear spots resampled",
        ),
        (
            f"Spearman with epithelium, {role}",
            measure.interval(measure.rank_correlation, units, part.fraction.astype(float), score),
            "HER2+ breast, patient B, all spots resampled",
        ),
    ]


@dataclass(frozen=True)
class Predicted:
    """Expression of T held-out spots, and as read from features by ridge regression."""

    names: tuple[str, ...]
    truth: NDArray[np.float64]
    """[T, G] standardized within the section."""
    log_total: NDArray[np.float64]
    """[T] logarithm of all counts: how deeply the spot was sequenced and how many cells it has."""
    by_role: dict[str, NDArray[np.float64]]
    """[T, G] by encoder; "color" is the floor: mean and spread of the three colors alone."""


def predicted(
    encoded: Encoded, found: Expression, training: NDArray[np.bool_], held: NDArray[np.bool_]
) -> Predicted:
    """Expression of the `held` spots [T], read from features by ridge fitted on `training` [T].

    One and the same reader for all encoders, also for the twin, which has no head for expression.
    """
    targets: Targets = expression.targets(found, training)
    by_role = {}
    for role, (features, _) in encoded.items():
        by_role[role] = _read(features[:, COLORS:], targets.values, training, held)
        by_role["color"] = _read(features[:, :COLORS], targets.values, training, held)
    return Predicted(
        targets.names,
        targets.values[held].astype(np.float64),
        np.log(found.total[held]),
        by_role,
    )


def _read(
    features: NDArray[np.float32],
    targets: NDArray[np.float32],
    training: NDArray[np.bool_],
    held: NDArray[np.bool_],
) -> NDArray[np.float64]:
    reader = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    reader.fit(features[training].astype(np.float64), targets[training].astype(np.float64))
    read: NDArray[np.float64] = reader.predict(features[held].astype(np.float64))
    return read


def mean_rows(found: Predicted, where: str) -> list[Row]:
    """Mean correlation over all targets for every role, and the gain of distillation."""
    units, truth, total = np.arange(len(found.truth)).astype(str), found.truth, found.log_total
    rows: list[Row] = []
    for role, read in found.by_role.items():
        raw = measure.interval(measure.mean_correlation, units, read, truth)
        rows.append((f"mean r over {len(found.names)} expression targets, {role}", raw, where))
        beyond = measure.interval(measure.partial_correlation, units, read, truth, total)
        rows.append((f"the same beyond total counts, {role}", beyond, where))
    pair = found.by_role["distilled"], found.by_role["twin"]
    gain = measure.interval(measure.correlation_gain, units, *pair, truth, total)
    return [*rows, ("its gain, distilled over twin", gain, where)]


def single_rows(found: Predicted, where: str) -> list[Row]:
    """Correlations of the student for the targets of SHOWN."""
    units = np.arange(len(found.truth)).astype(str)
    rows: list[Row] = []
    for name in SHOWN:
        at = [found.names.index(name)]
        columns = found.by_role["distilled"][:, at], found.truth[:, at]
        raw = measure.interval(measure.mean_correlation, units, *columns)
        rows.append((f"r of {name}, distilled", raw, where))
        if name != expression.TOTAL:
            beyond = measure.interval(measure.partial_correlation, units, *columns, found.log_total)
            rows.append((f"r of {name} beyond total counts, distilled", beyond, where))
    return rows


def expression_table(found: Predicted) -> list[tuple[str, dict[str, tuple[float, float]]]]:
    """By target of SHOWN and role: correlation, and correlation beyond total counts.

    Nothing is left of the total counts beyond themselves: NaN.
    """
    table = []
    for name in SHOWN:
        at = [found.names.index(name)]
        cells = {
            role: (
                measure.mean_correlation(read[:, at], found.truth[:, at]),
                _beyond(name, read[:, at], found.truth[:, at], found.log_total),
            )
            for role, read in found.by_role.items()
        }
        table.append((name, cells))
    return table


def _beyond(
    name: str,
    read: NDArray[np.float64],
    truth: NDArray[np.float64],
    log_total: NDArray[np.float64],
) -> float:
    if name == expression.TOTAL:
        return float("nan")
    return measure.partial_correlation(read, truth, log_total)
