"""How good a student is in parts of its cohort: sites, sex, age and stage, with counts.

Of patients that the student scored had not seen; pairs are taken inside a fold and counted together
over the folds, since a part of one fold may hold no two patients to compare. Patients are drawn
again inside their fold, as for the figure of everybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.cohorts.given.reading import stored
from training.scoring import resample
from training.scoring.resample import Interval, Pairs
from training.scoring.runs import Unit

FILE = "patients.csv"
FEWEST_PATIENTS, FEWEST_EVENTS = 20, 5
"""Below these a part says nothing: of events, or of patients of every class."""
_AGES = ((0, 50, "below 50 years"), (50, 65, "50 to 64 years"), (65, 200, "65 years and above"))
_STAGES = ("", "I", "II", "III", "IV")


@dataclass(frozen=True)
class Part:
    """Some of the cohort."""

    name: str
    count: int
    events: int
    """Deaths; for classes the patients of the rarest one."""
    figure: Interval | None
    """C-index or AUC; None where the part is too small to say."""


def parts(run: Path, units: Sequence[Unit], role: tuple[str, str]) -> list[Part]:
    """Every part of the cohort that the run knows; empty for a run that does not say who is who."""
    if not (run / FILE).is_file():
        return []
    table = stored(run / FILE, ("patient", "site")).set_index("patient")
    folds = [_Fold.of([unit for unit in units if unit.fold == fold], role)
             for fold in sorted({unit.fold for unit in units})]  # fmt: skip
    scored = [patient for fold in folds for patient in fold.patients]
    return [_part(name, members, folds) for name, members in _named(table.loc[scored])]


@dataclass(frozen=True)
class _Fold:
    patients: tuple[str, ...]
    rare: NDArray[np.int64]
    """1 for a death; for classes the class."""
    classes: int
    pairs: Pairs
    draws: resample.Counts

    @classmethod
    def of(cls, same: Sequence[Unit], role: tuple[str, str]) -> _Fold:
        """Of the units of one fold, one for each seed."""
        said = [unit.predictions[role] for unit in same]
        risks = [one.risk for one in said if one.risk is not None]
        chances = [one.probability for one in said if one.probability is not None]
        first = same[0]
        drawn = resample.draws(len(first.patients), fold=first.fold)
        if risks:
            pairs = resample.survival_pairs(first.outcome, np.stack(risks))
            return cls(first.patients, first.outcome.event.astype(np.int64), 0, pairs, drawn)
        pairs = resample.class_pairs(first.label, np.stack(chances))
        return cls(first.patients, first.label, chances[0].shape[1], pairs, drawn)


def _named(table: pd.DataFrame) -> Iterator[tuple[str, set[str]]]:
    """Name and patients of each part."""

    def those(mask: pd.Series[bool]) -> set[str]:
        return set(table.index[mask])

    if "male" in table:
        yield "women", those(table["male"] == 0)
        yield "men", those(table["male"] == 1)
    for low, high, name in _AGES:
        yield name, those((table["age"] >= low) & (table["age"] < high))
    if "stage" in table:
        for at, word in enumerate(_STAGES):
            if at:
                yield f"stage {word}", those(np.floor(table["stage"]) == at)
    sizes = table["site"].value_counts()
    large = sorted(sizes.index[sizes >= FEWEST_PATIENTS])
    for site in large:
        yield f"site {site}", those(table["site"] == site)
    yield "other sites" if large else "sites, each too small", those(~table["site"].isin(large))


def _part(name: str, members: set[str], folds: Sequence[_Fold]) -> Part:
    masks = [np.array([patient in members for patient in fold.patients]) for fold in folds]
    known = np.concatenate([fold.rare[mask] for fold, mask in zip(folds, masks, strict=True)])
    classes = folds[0].classes
    events = int(min((known == at).sum() for at in range(classes))) if classes else int(known.sum())
    if len(known) < FEWEST_PATIENTS or events < FEWEST_EVENTS:
        return Part(name, len(known), events, None)
    once = _pooled(folds, [mask[None].astype(np.float32) for mask in masks])
    drawn = _pooled(folds, [fold.draws * mask for fold, mask in zip(folds, masks, strict=True)])
    return Part(name, len(known), events, resample.percentiles(float(once[0]), drawn))


def _pooled(folds: Sequence[_Fold], counts: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Share of pairs won in each draw [B], pairs of folds summed; the mean of classes."""
    won, pairs = (
        np.sum(
            [
                np.einsum("bp,kpq,bq->kb", given, getattr(fold.pairs, key), given, optimize=True)
                for fold, given in zip(folds, counts, strict=True)
            ],
            axis=0,
            dtype=np.float64,
        )
        for key in ("wins", "comparable")
    )
    share = np.divide(won, pairs, out=np.full(won.shape, np.nan), where=pairs > 0)
    return np.asarray(share.mean(axis=0), dtype=np.float64)


def table(found: Sequence[Part], figure: str) -> str:
    """The parts as a section of a model card; empty where the run does not say who is who."""
    if not found:
        return ""
    rows = [
        f"| {part.name} | {part.count} | {part.events} | "
        + (
            "too few to say |"
            if part.figure is None
            else f"{part.figure.value:.3f} ({part.figure.low:.3f} to {part.figure.high:.3f}) |"
        )
        for part in found
    ]
    head = f"| part | patients | deaths, or the rarest class | {figure} (95 % interval) |"
    return "\n".join(["## In parts of the cohort", "", head, "|---|---|---|---|", *rows]) + "\n"


def rows(found: Sequence[Part], figure: str, data: str) -> list[Mapping[str, object]]:
    """The parts that are large enough, as performance of a manifest."""
    return [
        {
            "figure": figure,
            "value": round(part.figure.value, 4),
            "low": round(part.figure.low, 4),
            "high": round(part.figure.high, 4),
            "data": data,
            "subgroup": part.name,
            "count": part.count,
        }
        for part in found
        if part.figure is not None and part.figure.low <= part.figure.value <= part.figure.high
    ]
