"""Five outer folds: the shipped ones, and folds that share no tissue source site."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from training.cohorts.given.reading import read_words
from training.cohorts.material import NO_FOLD
from training.errors import TrainingError

FOLDS = 5


def patient_of(barcode: str) -> str:
    """The patient of a TCGA barcode of a sample or slide: TCGA-05-4244 of TCGA-05-4244-01Z-...."""
    return "-".join(barcode.split("-")[:3])


def site_of(patient: str) -> str:
    """The tissue source site of a TCGA barcode: `05` of TCGA-05-4244."""
    parts = patient.split("-")
    if len(parts) < 3 or parts[0] != "TCGA" or len(parts[1]) != 2:
        raise TrainingError(
            f"found patient {patient!r}, expected a TCGA barcode such as TCGA-05-4244 to read "
            "the site from: give a site column"
        )
    return parts[1]


def read_splits(folder: Path) -> pd.Series[int]:
    """Fold 0-4 by patient, from splits_0.csv ... splits_4.csv (columns train, val).

    A patient's fold is the one whose `val` column lists it. Raises TrainingError where a patient is
    on both sides of a split, in `val` of two folds, or in `val` of none.
    """
    fold: dict[str, int] = {}
    seen: set[str] = set()
    for number in range(FOLDS):
        path = folder / f"splits_{number}.csv"
        if not path.is_file():
            raise TrainingError(f"found no {path}, expected the {FOLDS} split files: add it")
        table = read_words(path, ("train", "val"))
        if absent := [name for name in ("train", "val") if name not in table]:
            raise TrainingError(
                f"found no column {absent[0]} in {path}, expected train and val with patients: "
                "name the columns so"
            )
        train, val = set(table["train"]) - {""}, set(table["val"]) - {""}
        refuse_overlap(train, val, f"fold {number} of {folder.name}")
        twice = val & fold.keys()
        if twice:
            raise TrainingError(
                f"found {min(twice)} in val of two folds of {folder.name}, expected one: "
                "correct the split files"
            )
        fold |= dict.fromkeys(val, number)
        seen |= train | val
    unheld = seen - fold.keys()
    if unheld:
        raise TrainingError(
            f"found {min(unheld)} in val of no fold of {folder.name}, expected one: "
            "correct the split files"
        )
    return pd.Series(fold, dtype="int64").sort_index()


def refuse_overlap(train: Iterable[str], test: Iterable[str], where: str) -> None:
    """TrainingError naming a patient (or a site) found on both sides of a split."""
    both = set(train) & set(test)
    if both:
        raise TrainingError(
            f"found {min(both)} on both sides of {where} ({len(both)} in all), expected one side: "
            "split by patient, all slides of a patient together"
        )


def complete(known: pd.Series[float], strata: pd.Series[int]) -> pd.Series[int]:
    """`known` with every missing fold filled: same index, deterministic.

    Patients without a fold are taken stratum by stratum, in the order of their id, each put where
    its stratum has fewest (then where the fold has fewest, then the lowest number). With nothing
    known these are five stratified folds.
    """
    folds = known.fillna(NO_FOLD).astype("int64").sort_index()
    strata = strata.reindex(folds.index)
    total = np.bincount(folds[folds >= 0], minlength=FOLDS)
    for stratum in sorted(strata.unique()):
        members = folds[strata == stratum]
        count = np.bincount(members[members >= 0], minlength=FOLDS)
        for patient in members.index[members < 0]:
            number = int(np.lexsort((np.arange(FOLDS), total, count))[0])
            folds[patient] = number
            count[number] += 1
            total[number] += 1
    return folds


def site_folds(site: pd.Series[str], strata: pd.Series[int]) -> pd.Series[int]:
    """Folds 0-4 without a shared site, strata as even as that allows; -1 with fewer than 5 sites.

    Deterministic: StratifiedGroupKFold without shuffling, over patients in the order of their id.
    """
    site, strata = site.sort_index(), strata.sort_index()
    folds = pd.Series(NO_FOLD, index=site.index, dtype="int64")
    if site.nunique() < FOLDS:
        return folds
    if strata.value_counts().max() < FOLDS:
        raise TrainingError(
            f"found {len(site)} patients, fewer than {FOLDS} of each outcome, expected enough for "
            f"{FOLDS} folds: give more patients"
        )
    splitter = StratifiedGroupKFold(FOLDS)
    for number, (train, test) in enumerate(splitter.split(site, strata, site)):
        refuse_overlap(site.iloc[train], site.iloc[test], f"site fold {number}")
        folds.iloc[test] = number
    return folds


def empty_folds(folds: pd.Series[int]) -> list[int]:
    """Those of the five that hold nobody: `fit` refuses them, the others can be scored."""
    return sorted(set(range(FOLDS)) - set(folds))


def refuse_shared_sites(site: pd.Series[str], folds: pd.Series[int]) -> None:
    """TrainingError where a site has patients in two folds."""
    spread = folds.groupby(site).nunique()
    shared = spread[spread > 1]
    if len(shared):
        raise TrainingError(
            f"found site {shared.index[0]} in {shared.iloc[0]} site folds, expected one: "
            "make the folds again"
        )
