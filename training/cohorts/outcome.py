"""Outcome tables: time, event and age of a patient, from the columns that public sources use.

Known: our own (patient, time_months, event, age, site), the GDC portal's clinical.tsv
(case_submitter_id or cases.submitter_id, vital_status, days_to_death, days_to_last_follow_up,
age_at_diagnosis in days), TCGA-CDR (bcr_patient_barcode, OS, OS.time in days), cBioPortal
(PATIENT_ID, OS_MONTHS, OS_STATUS) and the MCAT and PORPOISE tables (case_id, survival_months,
censorship).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from training.cohorts.checks import refuse_conflicts, refuse_events, refuse_other_units
from training.cohorts.given.reading import read_words
from training.errors import TrainingError

DAYS_PER_MONTH = 30.4375  # 365.25 / 12; published months agree with it to 0.1 %
DAYS_PER_YEAR = 365.25
# The portal's case_id is a random id, its submitter id the barcode: that one goes first.
PATIENT = ("patient", "case_submitter_id", "submitter_id", "bcr_patient_barcode", "PATIENT_ID")
PATIENT_LAST = ("case_id",)
STATUS = {"dead": 1.0, "deceased": 1.0, "alive": 0.0, "living": 0.0}
UNKNOWN = ("", "unknown", "not reported", "not available", "unspecified")

_MONTHS = {"time_months": 1, "survival_months": 1, "OS_MONTHS": 1, "OS.time": 1 / DAYS_PER_MONTH}
_YEARS = {
    "age": 1,
    "AGE": 1,
    "age_at_initial_pathologic_diagnosis": 1,
    "age_at_diagnosis": 1 / DAYS_PER_YEAR,
}
OUTCOMES = frozenset(
    (*_MONTHS, "event", "censorship", "OS", "OS_STATUS", "vital_status", "days_to_death",
     "days_to_last_follow_up")
)  # fmt: skip
"""Columns that tell the outcome: nothing that a model is shown may be called so."""


def read_table(path: Path) -> pd.DataFrame:
    """A CSV or TSV (maybe compressed) indexed by patient id, every other column kept.

    Ids of patients and slides, sites and files are words (`cohorts/given/reading.py`).
    `cases.submitter_id` and the like lose their prefix. Raises TrainingError without a column of
    patient ids.
    """
    table = read_words(path, _WORDS)
    plain = {name: name.rsplit(".", 1)[-1] for name in table if name.startswith(_PREFIXES)}
    table = table.rename(columns=plain)
    table = table.loc[:, ~table.columns.duplicated()]
    for name in (*PATIENT, *PATIENT_LAST):
        if name in table:
            return table[table[name] != ""].set_index(name).rename_axis("patient")
    raise TrainingError(
        f"found columns {', '.join(map(str, table.columns[:5]))} ... in {path}, expected one of "
        f"{', '.join((*PATIENT, *PATIENT_LAST))}: name the column of patient ids so"
    )


_WORDS = frozenset((*PATIENT, *PATIENT_LAST, "slide", "file", "coarse", "site"))
_PREFIXES = ("cases.", "demographic.", "diagnoses.", "follow_ups.", "treatments.")


def read_outcome(path: Path) -> pd.DataFrame:
    """One row per patient, in the order of their id: time_months, event, age and all other columns.

    NaN where unknown. Several rows of one patient may each hold a part; TrainingError where two of
    them give different times, events or sites, where two columns do, or where the table has no
    outcome in known columns.
    """
    rows = read_table(path)
    months, event = _time_and_event(rows, path)
    rows = rows.assign(time_months=months, event=event, age=_age(rows))
    refuse_events(rows["event"])
    refuse_other_units(rows["time_months"])
    refuse_conflicts(rows, ["time_months", "event"])
    if "site" in rows:
        refuse_conflicts(rows, ["site"])
        _refuse_blank_sites(rows["site"], path)
    merged = rows.groupby(level=0, sort=True).first()
    merged["age"] = rows["age"].groupby(level=0).min()  # of several diagnoses, the first
    return merged


def refuse_outcomes(columns: Iterable[str], path: Path, more: Collection[str] = ()) -> None:
    """TrainingError where a table that a model is shown has a column of the outcome, or `more`."""
    told = [name for name in columns if name in OUTCOMES or name in more]
    if told:
        raise TrainingError(
            f"found column {told[0]} in {path}, expected nothing there that tells the outcome: a "
            "model that is shown it has nothing to predict; remove the column"
        )


def _refuse_blank_sites(site: pd.Series[str], path: Path) -> None:
    blank = site.index[site == ""]
    if len(blank):
        raise TrainingError(
            f"found no site for {len(blank)} rows of {path}, the first of {blank[0]}, expected one "
            "for each: fill the column in; patients of an unknown hospital are one site together, "
            "such as unknown"
        )


def _time_and_event(rows: pd.DataFrame, path: Path) -> tuple[pd.Series[float], pd.Series[float]]:
    times, events = _times(rows), _events(rows)
    if not times or not events:
        raise TrainingError(
            f"found no {'event' if times else 'time'} in {path}, expected time_months and "
            "event (1 = death observed), survival_months and censorship, OS.time and OS, OS_MONTHS "
            "and OS_STATUS, or vital_status and days_to_death: rename the columns"
        )
    _refuse_contradictions(times, path, 0.05)
    _refuse_contradictions(events, path, 0.0)
    return next(iter(times.values())), next(iter(events.values()))


def _refuse_contradictions(columns: Mapping[str, pd.Series[float]], path: Path, off: float) -> None:
    """TrainingError where another column says something else than the first, which is taken."""
    (first, taken), *others = columns.items()
    for name, other in others:
        differs = (other - taken).abs() > off * (1 + taken.abs())
        if differs.any():
            at = int(differs.to_numpy().argmax())
            raise TrainingError(
                f"found {first} {taken.iloc[at]:g} and {name} {other.iloc[at]:g} for "
                f"{taken.index[at]} in {path} (times in months), expected the same outcome in "
                f"both: remove the column that is not meant ({int(differs.sum())} rows differ)"
            )


def _times(rows: pd.DataFrame) -> dict[str, pd.Series[float]]:
    """Months by the column they come from, that which is taken first."""
    found = {}
    if "vital_status" in rows and {"days_to_death", "days_to_last_follow_up"} & set(rows):
        blank = pd.Series(np.nan, index=rows.index)
        death = _number(rows.get("days_to_death", blank))
        alive = _number(rows.get("days_to_last_follow_up", blank))
        dead = _status(rows["vital_status"]) == 1
        found["days_to_death"] = death.where(dead, alive) / DAYS_PER_MONTH
    return found | _all(rows, _MONTHS)


def _events(rows: pd.DataFrame) -> dict[str, pd.Series[float]]:
    """1 death observed, 0 censored, NaN unknown, by the column; that which is taken first."""
    if "censorship" in rows and "event" in rows:
        raise TrainingError(
            "found both event and censorship, expected one of them: remove the other"
        )
    found = {}
    if "vital_status" in rows and {"days_to_death", "days_to_last_follow_up"} & set(rows):
        found["vital_status"] = _status(rows["vital_status"])
    if "censorship" in rows:
        found["censorship"] = 1.0 - _number(rows["censorship"])
    if "OS_STATUS" in rows:  # "1:DECEASED" or "DECEASED"
        found["OS_STATUS"] = _status(rows["OS_STATUS"])
    return found | _all(rows, {"event": 1, "OS": 1})


def _status(column: pd.Series[str]) -> pd.Series[float]:
    """1 dead, 0 alive, NaN unknown; TrainingError for any other word."""
    words = ["" if pd.isna(value) else str(value).strip() for value in column]
    said = [word.rsplit(":", 1)[-1].lower() for word in words]
    for patient, word, plain in zip(column.index, words, said, strict=True):
        if plain not in STATUS and plain not in UNKNOWN:
            raise TrainingError(
                f"found {column.name} {word!r} for {patient}, expected one of {', '.join(STATUS)}, "
                "or a blank: correct the table"
            )
    return pd.Series([STATUS.get(word, np.nan) for word in said], index=column.index)


def _age(rows: pd.DataFrame) -> pd.Series[float]:
    """Years; NaN where unknown."""
    known = _all(rows, _YEARS)
    return next(iter(known.values())) if known else pd.Series(np.nan, index=rows.index)


def _all(rows: pd.DataFrame, factors: Mapping[str, float]) -> dict[str, pd.Series[float]]:
    """Those of the named columns that the table has, each times its factor."""
    return {name: _number(rows[name]) * by for name, by in factors.items() if name in rows}


def _number(column: pd.Series[float]) -> pd.Series[float]:
    """float64; TrainingError naming the patient where a value is neither number nor blank."""
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    wrong = column[numbers.isna() & column.notna()]
    if len(wrong):
        raise TrainingError(
            f"found {wrong.iloc[0]!r} in column {column.name} for {wrong.index[0]}, expected a "
            "number or a blank: correct the table"
        )
    return numbers
