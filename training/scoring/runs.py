"""What `dicom-train fit` left behind: runs, and the predictions of their finished units.

The layout is that of `training.runs.units`. Only what is asked for is read: predictions and facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from training.errors import TrainingError
from training.json_files import read_json
from training.scoring import metrics
from training.scoring.metrics import Floats, Ints, Outcome

_RUN_KEYS = ("method", "cohort", "cohort_digest", "task", "kind", "settings", "seeds", "versions")
_UNIT_KEYS = ("fold", "seed", "edges_months", "train")
_COLUMNS = ("patient", "role", "rule", "time_months", "event", "label")


@dataclass(frozen=True)
class Run:
    """What `run.json` says, and which of its units were not finished when it was read."""

    path: Path
    method: str
    cohort: str
    digest: str
    task: str
    classes: tuple[str, ...]
    """Empty for survival."""
    kind: str
    """Folds: "official" or "site"."""
    settings: Mapping[str, object]
    seeds: tuple[int, ...]
    versions: Mapping[str, str]
    patients: int | None
    dropped: Mapping[str, int] | None
    """Reason -> patients; None where the run does not say."""
    second: str | None = None
    """What became of a second magnification (runs/magnifications.py); None: it does not say."""
    features: tuple[str, ...] = ()
    """Encoders, by digest, and the spacing of their tiles; what is not said is left out."""
    unfinished: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """What one role says of the P patients of an outer fold, by one rule of choosing the epoch."""

    risk: Floats | None
    survival: Floats | None
    """[P, 4] at the bin ends."""
    probability: Floats | None
    """[P, C]."""


@dataclass(frozen=True)
class Unit:
    """One outer fold with one seed. Patients are in the order of their id."""

    fold: int
    seed: int
    edges: tuple[float, ...]
    seconds: float | None
    peak_rss_mb: float | None
    facts: Mapping[str, float]
    train: Outcome
    patients: tuple[str, ...]
    outcome: Outcome
    label: Ints
    predictions: Mapping[tuple[str, str], Prediction]
    """(role, rule)."""
    without_genes: int = 0
    """Of the patients; a role that needs genes sees them at the mean."""

    @cached_property
    def horizon(self) -> float:
        """Months up to which the censoring of the training patients is known well enough."""
        return metrics.horizon(self.train)


def read(path: Path) -> tuple[Run, tuple[Unit, ...]]:
    """A run and its finished units, by fold and seed.

    A unit without `unit.json` is named in `Run.unfinished` and not read. Raises TrainingError for
    a file that lacks something, and for a patient who is in two outer folds.
    """
    said = _json(path / "run.json", _RUN_KEYS)
    places = sorted(path.glob("fold*-seed*"))
    done = [place for place in places if (place / "unit.json").is_file()]
    dropped = said.get("dropped")
    run = Run(
        path=path,
        method=str(said["method"]),
        cohort=str(said["cohort"]),
        digest=str(said["cohort_digest"]),
        task=str(said["task"]),
        classes=tuple(said.get("classes", ())),
        kind=str(said["kind"]),
        settings=dict(said["settings"]),
        seeds=tuple(int(seed) for seed in said["seeds"]),
        versions={name: str(number) for name, number in said["versions"].items()},
        patients=said.get("patients"),
        dropped=None if dropped is None else {str(k): int(v) for k, v in dropped.items()},
        second=said.get("second_magnification"),
        features=tuple(sorted(_made(said.get("features", ())))),
        unfinished=tuple(place.name for place in places if place not in done),
    )
    units = tuple(sorted((_unit(run, at) for at in done), key=lambda unit: (unit.fold, unit.seed)))
    _refuse_patient_in_two_folds(run, units)
    return run, units


def _made(features: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{str(made['encoder'])[:12]} at {made['mpp']:g} um/px"
        for made in features
        if made["encoder"] is not None and made["mpp"] is not None
    ]


def _unit(run: Run, place: Path) -> Unit:
    said = _json(place / "unit.json", _UNIT_KEYS)
    file = place / "predictions.csv"
    if not file.is_file():
        raise TrainingError(f"{place}: found no predictions.csv beside unit.json; fit it again")
    table = pd.read_csv(  # "null" is a role, not a missing value
        file, dtype={"patient": str, "role": str, "rule": str}, keep_default_na=False, na_values=""
    )
    if lacking := [name for name in _COLUMNS if name not in table]:
        raise TrainingError(f"{file}: found no column {lacking[0]}, expected it; fit it again")
    table = table.sort_values(["role", "rule", "patient"], kind="stable")
    parts = {(role, rule): part for (role, rule), part in table.groupby(["role", "rule"])}
    if not parts:
        raise TrainingError(f"{file}: found no rows, expected the patients of a fold; fit it again")
    first = next(iter(parts.values()))
    for name, part in parts.items():
        _refuse_other_patients(file, name, first, part)
    return Unit(
        fold=int(said["fold"]),
        seed=int(said["seed"]),
        edges=tuple(float(edge) for edge in said["edges_months"]),
        seconds=said.get("seconds"),
        peak_rss_mb=said.get("peak_rss_mb"),
        facts={name: float(value) for name, value in said.get("facts", {}).items()},
        train=_outcome(said["train"]["time"], said["train"]["event"]),
        patients=tuple(first["patient"]),
        outcome=_outcome(first["time_months"], first["event"]),
        label=first["label"].to_numpy(np.int64),
        predictions={key: _prediction(run, file, key, part) for key, part in parts.items()},
        without_genes=int(said.get("scored_without_genes", 0)),
    )


def _prediction(run: Run, file: Path, key: tuple[str, str], part: pd.DataFrame) -> Prediction:
    found = Prediction(
        risk=_numbers(file, key, part, [name for name in ("risk",) if name in part]),
        survival=_numbers(file, key, part, _lettered(part, "s")),
        probability=_numbers(file, key, part, _lettered(part, "p")),
    )
    needed, word = (found.probability, "p0 ..") if run.classes else (found.risk, "risk")
    if needed is None:
        raise TrainingError(
            f"{file}: found no {word} for {key[0]} ({key[1]}), expected it for task {run.task}; "
            "fit it again"
        )
    if run.classes and needed.shape[1] != len(run.classes):
        raise TrainingError(
            f"{file}: found {needed.shape[1]} probabilities for {key[0]}, expected "
            f"{len(run.classes)} ({', '.join(run.classes)}); fit it again"
        )
    if found.risk is None:
        return found
    return Prediction(found.risk[:, 0], found.survival, found.probability)


def _numbers(
    file: Path, key: tuple[str, str], part: pd.DataFrame, columns: list[str]
) -> Floats | None:
    """[P, columns]; None where the role does not have them at all, an error where some do."""
    values: Floats = part[columns].to_numpy(np.float64)
    if values.size == 0 or np.isnan(values).all():
        return None
    whole = ~np.isnan(values).all(axis=0)  # a role with fewer classes leaves whole columns empty
    if not np.isfinite(values[:, whole]).all():
        raise TrainingError(
            f"{file}: found scores of {key[0]} ({key[1]}) that are not numbers, expected one for "
            "every patient of the fold; fit it again"
        )
    return values[:, whole]


def _lettered(part: pd.DataFrame, letter: str) -> list[str]:
    found = [name for name in part if name[0] == letter and name[1:].isdigit()]
    return sorted(found, key=lambda name: int(name[1:]))


def _outcome(time: Any, event: Any) -> Outcome:  # lists of JSON or columns of a table
    return Outcome(np.asarray(time, dtype=np.float64), np.asarray(event, dtype=np.float64) > 0.5)


def _refuse_other_patients(
    file: Path, name: tuple[str, str], first: pd.DataFrame, part: pd.DataFrame
) -> None:
    same = ["patient", "time_months", "event", "label"]
    if part["patient"].duplicated().any():
        raise TrainingError(
            f"{file}: found a patient twice for {name[0]} ({name[1]}), expected patients, not "
            "slides; average a patient's slides before scoring"
        )
    if len(part) != len(first) or not (part[same].to_numpy() == first[same].to_numpy()).all():
        raise TrainingError(
            f"{file}: found other patients or outcomes for {name[0]} ({name[1]}) than for the "
            "other roles, expected the same; fit it again"
        )


def _refuse_patient_in_two_folds(run: Run, units: tuple[Unit, ...]) -> None:
    seen: dict[str, int] = {}
    for unit in units:
        for patient in unit.patients:
            if seen.setdefault(patient, unit.fold) != unit.fold:
                raise TrainingError(
                    f"{run.path}: found a patient in outer folds {seen[patient]} and {unit.fold}, "
                    "expected one fold each; the folds leak, make them again"
                )


def _json(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    if not path.is_file():
        raise TrainingError(f"found no {path}, expected the folder of a run of dicom-train fit")
    said = read_json(path)
    if lacking := [key for key in keys if key not in said]:
        raise TrainingError(f"{path}: found no {lacking[0]}, expected it; fit the run again")
    return said
