"""Outcome tables: time, event and age of a patient, from the columns that public sources use.

Known: our own (patient, time_months, event, age, site), the GDC portal's clinical.tsv
(case_submitter_id or cases.submitter_id, vital_status, days_to_death, days_to_last_follow_up,
age_at_diagnosis in days), TCGA-CDR (bcr_patient_barcode, OS, OS.time in days), cBioPortal
(PATIENT_ID, OS_MONTHS, OS_STATUS) and the MCAT and PORPOISE tables (case_id, survival_months,
censorship).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from training.cohorts.checks import refuse_conflicts, refuse_events
from training.errors import TrainingError

DAYS_PER_MONTH = 30.4375  # 365.25 / 12; published months agree with it to 0.1 %
DAYS_PER_YEAR = 365.25
BLANKS = ["'--", "--", "[Not Available]", "[Unknown]", "[Not Applicable]", "not reported"]

# The portal's case_id is a random id, its submitter id the barcode: that one goes first.
PATIENT = ("patient", "case_submitter_id", "submitter_id", "bcr_patient_barcode", "PATIENT_ID")
PATIENT_LAST = ("case_id",)
STATUS = {"dead": 1.0, "deceased": 1.0, "alive": 0.0, "living": 0.0}


def read_table(path: Path) -> pd.DataFrame:
    """A CSV or TSV (maybe compressed) indexed by patient id, every other column kept.

    `cases.submitter_id` and the like lose their prefix. Raises TrainingError without a column of
    patient ids.
    """
    if not path.is_file():
        raise TrainingError(f"found no {path}, expected a table: name an existing file")
    tabs = any(suffix in (".tsv", ".txt") for suffix in path.suffixes)
    table = pd.read_csv(path, sep="\t" if tabs else ",", na_values=BLANKS, low_memory=False)
    plain = {name: name.rsplit(".", 1)[-1] for name in table if name.startswith(_PREFIXES)}
    table = table.rename(columns=plain)
    table = table.loc[:, ~table.columns.duplicated()]
    for name in (*PATIENT, *PATIENT_LAST):
        if name in table:
            table = table.dropna(subset=[name])
            table[name] = table[name].astype(str)
            return table.set_index(name).rename_axis("patient")
    raise TrainingError(
        f"found columns {', '.join(map(str, table.columns[:5]))} ... in {path}, expected one of "
        f"{', '.join((*PATIENT, *PATIENT_LAST))}: name the column of patient ids so"
    )


_PREFIXES = ("cases.", "demographic.", "diagnoses.", "follow_ups.", "treatments.")


def read_outcome(path: Path) -> pd.DataFrame:
    """One row per patient, in the order of their id: time_months, event, age and all other columns.

    NaN where unknown. Several rows of one patient may each hold a part; TrainingError where two of
    them give different times or events, or where the table has no outcome in known columns.
    """
    rows = read_table(path)
    months, event = _time_and_event(rows, path)
    rows = rows.assign(time_months=months, event=event, age=_age(rows))
    refuse_events(rows["event"])
    refuse_conflicts(rows, ["time_months", "event"])
    merged = rows.groupby(level=0, sort=True).first()
    merged["age"] = rows["age"].groupby(level=0).min()  # of several diagnoses, the first
    return merged


def _time_and_event(rows: pd.DataFrame, path: Path) -> tuple[pd.Series[float], pd.Series[float]]:
    if "vital_status" in rows and {"days_to_death", "days_to_last_follow_up"} & set(rows):
        event = rows["vital_status"].str.lower().map(STATUS)
        blank = pd.Series(np.nan, index=rows.index)
        death = _number(rows.get("days_to_death", blank))
        alive = _number(rows.get("days_to_last_follow_up", blank))
        return death.where(event == 1, alive) / DAYS_PER_MONTH, event
    time = _first(
        rows,
        {"time_months": 1, "survival_months": 1, "OS_MONTHS": 1, "OS.time": 1 / DAYS_PER_MONTH},
    )
    event = _event(rows)
    if time is None or event is None:
        raise TrainingError(
            f"found no {'time' if time is None else 'event'} in {path}, expected time_months and "
            "event (1 = death observed), survival_months and censorship, OS.time and OS, OS_MONTHS "
            "and OS_STATUS, or vital_status and days_to_death: rename the columns"
        )
    return time, event


def _event(rows: pd.DataFrame) -> pd.Series[float] | None:
    """1 death observed, 0 censored, NaN unknown; None without such a column."""
    if "censorship" in rows and "event" in rows:
        raise TrainingError(
            "found both event and censorship, expected one of them: remove the other"
        )
    if "censorship" in rows:
        return 1.0 - _number(rows["censorship"])
    if "OS_STATUS" in rows:  # "1:DECEASED" or "DECEASED"
        return rows["OS_STATUS"].str.split(":").str[-1].str.lower().map(STATUS)
    return _first(rows, {"event": 1, "OS": 1})


def _age(rows: pd.DataFrame) -> pd.Series[float]:
    """Years; NaN where unknown."""
    known = _first(
        rows,
        {
            "age": 1,
            "AGE": 1,
            "age_at_initial_pathologic_diagnosis": 1,
            "age_at_diagnosis": 1 / DAYS_PER_YEAR,
        },
    )
    return pd.Series(np.nan, index=rows.index) if known is None else known


def _first(rows: pd.DataFrame, factors: dict[str, float]) -> pd.Series[float] | None:
    """The first of the named columns that the table has, times its factor."""
    for name, factor in factors.items():
        if name in rows:
            return _number(rows[name]) * factor
    return None


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
