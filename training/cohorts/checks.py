"""What makes a cohort wrong: each check is silent or raises TrainingError with a sentence."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sksurv.metrics import concordance_index_censored

from training.cohorts.material import Bag
from training.errors import TrainingError

LONGEST_MONTHS = 1200
FEW = 10  # fewer events or censored than this say nothing about the flag


def inversion_signs(
    time: NDArray[np.float64], event: NDArray[np.bool_], age: NDArray[np.float64]
) -> tuple[str, ...]:
    """The signs, of three, that the event flag is inverted (1 meant "censored"); arrays [P].

    Events outlive the censored (medians); the longest time observed is an event (deaths end before
    follow-up does); the young die before the old (age's C-index is higher with the flag turned).
    No single one decides: breast cancer's deaths come later than its censoring (46 against 26
    months), and glioblastoma is followed to the last death. Two of the three caught 24 of 25
    inverted TCGA overall-survival cohorts and suspected one right one (glioblastoma, 83 % dead).
    """
    signs = []
    events, censored = time[event], time[~event]
    if np.median(events) > np.median(censored):
        signs.append(
            f"the median time of events, {np.median(events):.1f} months, is above that of the "
            f"censored, {np.median(censored):.1f}"
        )
    if events.max() > censored.max():
        signs.append(f"the longest time, {events.max():.1f} months, is an event")
    known = np.isfinite(age)
    if min(event[known].sum(), (~event)[known].sum()) >= FEW:
        told = concordance_index_censored(event[known], time[known], age[known])[0]
        turned = concordance_index_censored(~event[known], time[known], age[known])[0]
        if turned > told:
            signs.append(
                f"age's C-index is {told:.2f} as the flag is and {turned:.2f} with it turned"
            )
    return tuple(signs)


def refuse_inverted_flag(patients: pd.DataFrame) -> None:
    """TrainingError where two signs say that 1 means censored instead of death observed."""
    known = patients[["time_months", "event"]].notna().all(axis=1)
    rows = patients[known]
    event = rows["event"].to_numpy(bool)
    if min(event.sum(), (~event).sum()) < FEW:
        return
    time, age = rows["time_months"].to_numpy(float), rows["age"].to_numpy(float)
    signs = inversion_signs(time, event, age)
    if len(signs) >= 2:
        raise TrainingError(
            f"found events that outlive the censored ({'; '.join(signs)}), expected event 1 = "
            "death observed and 0 = censored: turn the flag (event = 1 - censorship), or where "
            "a person has checked that the cohort is really so, give --flag-confirmed"
        )


def refuse_events(event: pd.Series[float]) -> None:
    """TrainingError where a known event is neither 0 nor 1."""
    wrong = event.dropna()[~event.dropna().isin([0, 1])]
    if len(wrong):
        raise TrainingError(
            f"found event {wrong.iloc[0]:g} for {wrong.index[0]}, expected 1 (death observed) or 0 "
            "(censored): correct the outcome table"
        )


def refuse_other_units(months: pd.Series[float]) -> None:
    """TrainingError where somebody was followed for longer than people live."""
    long = months[np.isfinite(months) & (months > LONGEST_MONTHS)]
    if len(long):
        raise TrainingError(
            f"found a time of {long.iloc[0]:g} months for {long.index[0]} ({long.iloc[0] / 12:.0f} "
            "years), expected months: divide days by 30.4375"
        )


def refuse_conflicts(rows: pd.DataFrame, columns: list[str]) -> None:
    """TrainingError where rows of one patient (the index) disagree in one of `columns`."""
    values = rows[columns].groupby(level=0).nunique(dropna=False)
    bad = values[(values > 1).any(axis=1)]
    if len(bad):
        column = bad.columns[(bad.iloc[0] > 1).to_numpy()][0]
        found = sorted(map(str, rows.loc[[bad.index[0]], column].unique()))
        raise TrainingError(
            f"found {column} {' and '.join(found)} for patient {bad.index[0]}, expected one value "
            "per patient: correct the table"
        )


def refuse_shared_slides(slides: pd.DataFrame) -> None:
    """TrainingError where one slide is listed for two patients, or twice for one."""
    twice = slides[slides["slide"].duplicated(keep=False)]
    if len(twice):
        slide = twice["slide"].iloc[0]
        owners = " and ".join(sorted(set(twice["patient"][twice["slide"] == slide])))
        raise TrainingError(
            f"found slide {slide} more than once (of {owners}), expected one row per slide: "
            "correct the slide manifest"
        )


def refuse_widths(bags: dict[str, Bag]) -> None:
    """TrainingError naming a slide whose features have another width than those before it."""
    width = 0
    for slide, bag in bags.items():
        width = width or bag.shape[1]
        if bag.shape[1] != width:
            raise TrainingError(
                f"found features of width {bag.shape[1]} for slide {slide}, expected {width} as "
                "the slides before it: use one encoder for all slides"
            )
