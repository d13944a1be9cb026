"""Whether hospitals have patients on both sides of the folds that a run was measured on.

Not by the name of the folds: those that somebody gave may keep hospitals apart as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from training.cohorts.cohort import Cohort
from training.cohorts.given.reading import stored
from training.learning.split import Folds
from training.scoring.runs import Unit

KEY = "sites"
"""In `run.json`."""


@dataclass(frozen=True)
class Sites:
    """Hospitals of the patients who are scored."""

    are_shared: bool
    """Whether one has patients who were scored and others who trained for that."""
    counted: str = ""
    """How many of how many, as "3 of 12"; empty where none is, or where nobody counted."""


def counted(cohort: Cohort, kind: Folds) -> dict[str, int]:
    """What `run.json` says: hospitals with patients in a fold, and those of them with others who
    train while these are scored."""
    folds = cohort.folds(kind).groupby(cohort.patients["site"]).nunique()
    shared = set(folds.index[folds > 1])
    if cohort.beside is not None and kind == "official":  # who share a site stay out of site folds
        shared |= set(folds.index) & set(cohort.beside.patients["site"])
    return {"count": len(folds), "shared": len(shared)}


def sites_of(run: Path, said: Mapping[str, Any], units: Sequence[Unit]) -> Sites:
    """Of a run whose `run.json` is `said`. A run of before did not count: it is told from who is
    who in it, and where that is not known from the name of its folds."""
    found = said.get(KEY)
    if found is None and (run / "patients.csv").is_file() and not said["settings"].get("extended"):
        found = _from_table(stored(run / "patients.csv", ("patient", "site")), units)
    if found is None:
        return Sites(said["kind"] == "official")
    if not found["shared"]:
        return Sites(False)
    return Sites(True, f"{found['shared']} of {found['count']}")


def _from_table(table: pd.DataFrame, units: Sequence[Unit]) -> dict[str, int]:
    site = table.set_index("patient")["site"]
    scored, shared = set(), set()
    for patients in {unit.fold: unit.patients for unit in units}.values():
        is_scored = site.index.isin(patients)
        here = set(site[is_scored])
        scored |= here
        shared |= here & set(site[~is_scored])
    return {"count": len(scored), "shared": len(shared)}
