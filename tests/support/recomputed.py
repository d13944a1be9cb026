"""Figures of a report once more, from predictions.csv alone, by scikit-survival and -learn.

Nothing of `training.scoring` is asked. `check` goes through all rows, means and differences of a
report: python tests/support/recomputed.py REPORT.json RUN...
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    recall_score,
    roc_auc_score,
)
from sksurv.metrics import (
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

Table = pd.DataFrame
Found = dict[tuple[int, int], tuple[Table, Any, Any]]
"""(fold, seed) -> rows by patient, training outcome, bin edges."""
REPEATS = 1000


def units(path: Path, role: str, rule: str) -> Found:
    found = {}
    for place in sorted(path.glob("fold*")):
        said = json.loads((place / "unit.json").read_text())
        table = _predictions(place / "predictions.csv").sort_values("patient")
        part = table[(table["role"] == role) & (table["rule"] == rule)]
        train = Surv.from_arrays(np.array(said["train"]["event"]) > 0, said["train"]["time"])
        found[said["fold"], said["seed"]] = (part, train, said["edges_months"])
    return found


def mean_over_folds(values: dict[tuple[int, int], float]) -> tuple[float, float]:
    folds: dict[int, list[float]] = {}
    for (fold, _), value in values.items():
        folds.setdefault(fold, []).append(value)
    means = [np.mean(each) for each in folds.values()]
    return float(np.mean(means)), float(np.std(means))


def horizon(train: Any) -> float:
    """The last time at which a tenth of the training patients would still be watched."""
    times, watched = kaplan_meier_estimator(~train["event"], train["time"])
    return float(times[watched >= 0.1].max())


def survival_figures(part: Table, train: Any, edges: list[float]) -> dict[str, float]:
    event, time = part["event"].to_numpy() > 0, part["time_months"].to_numpy()
    risk, end = part["risk"].to_numpy(), horizon(train)
    test = Surv.from_arrays(event, time)
    cut = Surv.from_arrays(event & (time < end), np.minimum(time, end))
    inside = [t for t in edges[1:-1] if t < cut["time"].max() and (cut["time"] > t).any()
              and (cut["event"] & (cut["time"] <= t)).any()]  # fmt: skip
    figures = {
        "c_index": concordance_index_censored(event, time, risk)[0],
        "uno": concordance_index_ipcw(train, test, risk, tau=end)[0],
        "auc_t": cumulative_dynamic_auc(train, cut, risk, inside)[1],
    }
    curves = part.reindex(columns=["s1", "s2", "s3", "s4"]).to_numpy()
    if np.isfinite(curves).all():
        grid = np.linspace(cut["time"].min(), cut["time"].max(), 50, endpoint=False)
        ends = [0.0, *edges[1:]]
        shown = [np.interp(grid, ends, [1.0, *curve]) for curve in curves]
        figures["brier"] = integrated_brier_score(train, cut, np.array(shown), grid)
    return figures


def class_figures(part: Table, classes: int) -> dict[str, float]:
    label = part["label"].to_numpy()
    chance = part[[f"p{at}" for at in range(classes)]].to_numpy()
    guess = chance.argmax(axis=1)
    if classes == 2:
        one: Callable[..., Any] = lambda f, x, **more: f(label, x, **more)  # noqa: E731
        return {
            "auc": one(roc_auc_score, chance[:, 1]),
            "ap": one(average_precision_score, chance[:, 1]),
            "accuracy": one(accuracy_score, guess),
            "balanced_accuracy": one(balanced_accuracy_score, guess),
            "kappa": one(cohen_kappa_score, guess),
            "f1": one(f1_score, guess),
            "sensitivity": one(recall_score, guess),
            "specificity": one(recall_score, guess, pos_label=0),
        }
    there = sorted(set(label))  # a fold may lack a class: means are over those it holds
    spared = [np.mean(guess[label != at] != at) for at in range(classes)]
    return {
        "auc": float(np.mean([roc_auc_score(label == at, chance[:, at]) for at in there])),
        "ap": float(np.mean([average_precision_score(label == at, chance[:, at]) for at in there])),
        "accuracy": accuracy_score(label, guess),
        "balanced_accuracy": recall_score(label, guess, labels=there, average="macro"),
        "kappa": cohen_kappa_score(label, guess),
        "f1": f1_score(label, guess, labels=there, average="macro"),
        "sensitivity": recall_score(label, guess, labels=there, average="macro"),
        "specificity": float(np.mean(spared)),
    }


def redrawn(found: Found) -> np.ndarray:
    """[1000] C-index, mean over folds of the mean over seeds, patients redrawn in their fold."""
    folds = []
    for fold in sorted({fold for fold, _ in found}):
        parts = [columns(part) for (at, _), (part, _, _) in found.items() if at == fold]
        size = len(parts[0][0])
        rng = np.random.default_rng([0, fold, size])
        counts = rng.multinomial(size, np.full(size, 1 / size), size=1000)
        rows = [np.repeat(np.arange(size), count) for count in counts]
        folds.append([
            np.mean([ranked(*(values[drawn] for values in part)) for part in parts])
            for drawn in rows
        ])  # fmt: skip
    return np.asarray(np.mean(folds, axis=0))


def redrawn_naming(found: Found, classes: int) -> dict[str, np.ndarray]:
    """[1000] balanced accuracy and kappa, mean over folds of the mean over seeds, by scikit-learn
    on the rows of the patients that were drawn."""
    folds: dict[str, list[np.ndarray]] = {"balanced_accuracy": [], "kappa": []}
    for fold in sorted({fold for fold, _ in found}):
        parts = [part for (at, _), (part, _, _) in found.items() if at == fold]
        size = len(parts[0])
        rng = np.random.default_rng([0, fold, size])
        counts = rng.multinomial(size, np.full(size, 1 / size), size=REPEATS)
        label = parts[0]["label"].to_numpy()
        names = [f"p{at}" for at in range(classes)]
        guesses = [part[names].to_numpy().argmax(axis=1) for part in parts]
        rows = [np.repeat(np.arange(size), count) for count in counts]
        for name, score in (
            ("balanced_accuracy", balanced_accuracy_score), ("kappa", cohen_kappa_score)
        ):  # fmt: skip
            each = [[score(label[at], guess[at]) for at in rows] for guess in guesses]
            folds[name].append(np.mean(each, axis=0))
    return {name: np.asarray(np.mean(each, axis=0)) for name, each in folds.items()}


def columns(part: Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return part["event"].to_numpy() > 0, part["time_months"].to_numpy(), part["risk"].to_numpy()


def ranked(event: np.ndarray, time: np.ndarray, risk: np.ndarray) -> float:
    """Harrell's C over explicit pairs; ties in risk count half, the censored outlive their time."""
    outlived = (time[:, None] < time) | ((time[:, None] == time) & ~event)
    pairs = outlived & event[:, None]
    above = risk[:, None] - risk
    return float(((above > 1e-8) + 0.5 * (np.abs(above) <= 1e-8))[pairs].mean())


def pooled_c_index(part: Table) -> float:
    return ranked(*columns(part))


@lru_cache(maxsize=512)
def _predictions(path: Path) -> Table:
    return pd.read_csv(path, keep_default_na=False, na_values="")


def redrawn_fast(found: Found, classes: int) -> np.ndarray:
    """[1000] C-index or AUC as `redrawn`, a draw as weights of pairs instead of rows."""
    folds = []
    for fold in sorted({fold for fold, _ in found}):
        parts = [part for (at, _), (part, *_) in found.items() if at == fold]
        size = len(parts[0])
        counts = np.random.default_rng([0, fold, size]).multinomial(
            size, np.full(size, 1 / size), size=REPEATS
        )
        asked = [None] if not classes else [1] if classes == 2 else range(classes)
        figures = [np.mean([_weighted(part, at, counts) for part in parts], axis=0) for at in asked]
        known = np.isfinite(figures).sum(axis=0)  # of the classes that a draw has both kinds of
        folds.append(np.where(known > 0, np.nansum(figures, axis=0) / np.maximum(known, 1), np.nan))
    return np.asarray(np.mean(folds, axis=0))


def _weighted(part: Table, at: int | None, counts: np.ndarray) -> np.ndarray:
    """Share of pairs in the right order in each draw, by time and death or by class `at`."""
    if at is None:
        event, time, score = columns(part)
        outlived = (time[:, None] < time) | ((time[:, None] == time) & ~event)
        pairs, tied = outlived & event[:, None], 1e-8
    else:
        truth, score = part["label"].to_numpy() == at, part[f"p{at}"].to_numpy()
        pairs, tied = truth[:, None] & ~truth, 0.0
    above = score[:, None] - score
    right = ((above > tied) + 0.5 * (np.abs(above) <= tied)) * pairs
    all_pairs, won = (((counts @ one) * counts).sum(axis=1) for one in (pairs.astype(float), right))
    return np.asarray(np.where(all_pairs > 0, won / np.maximum(all_pairs, 1), np.nan))


class Checker:
    """The runs of a report, and how many of its numbers were found again."""

    def __init__(self, runs: Sequence[Path], *, intervals: bool = True) -> None:
        self.said = {path: json.loads((path / "run.json").read_text()) for path in runs}
        self.intervals = intervals
        self.counted: Counter[str] = Counter()
        self.drawn: dict[Any, np.ndarray] = {}

    def equal(self, what: str, stated: float | None, mine: float, tolerance: float = 3e-6) -> None:
        """Counts a number; AssertionError where it is another."""
        if stated is None or np.isnan(stated):
            assert np.isnan(mine), f"{what}: found nothing, expected {mine}"
        else:
            assert abs(stated - mine) <= tolerance, f"{what}: found {stated}, expected {mine}"
        self.counted[what.split(":")[0]] += 1

    def series(self, task: dict[str, Any], name: dict[str, str], at: dict[str, str], rule: str
               ) -> Iterator[Found]:  # fmt: skip
        """The units of a role; a floor that methods share may be in several runs."""
        method = name["method"].split(" (")[0]
        for path, said in self.said.items():
            same = [said["task"], said["kind"], said["cohort"]]
            if same == [task["task"], at["kind"], at["cohort"]] and method in ("", said["method"]):
                found = units(path, name["role"], rule)
                if found and all(len(part) for part, *_ in found.values()):
                    yield found

    def cell(self, task: dict[str, Any], name: dict[str, str], at: dict[str, str], rule: str,
             cell: dict[str, Any]) -> None:  # fmt: skip
        """Every number of a cell."""
        errors = []
        for found in self.series(task, name, at, rule):
            before = self.counted.copy()
            try:
                self._cell(found, len(task["classes"]), cell)
            except AssertionError as error:
                errors.append(error)
                self.counted = before
            else:
                self._draw(task, name, at, rule, found, cell)
                return
        assert not errors, f"{name} {at} {rule}: {errors[0]}"
        raise AssertionError(f"{name} {at} {rule}: found no predictions, expected some")

    def _cell(self, found: Found, classes: int, cell: dict[str, Any]) -> None:
        figures = {
            at: class_figures(given[0], classes) if classes else survival_figures(*given)
            for at, given in found.items()
        }
        main = "auc" if classes else "c_index"
        for name in next(iter(figures.values())):
            mean, sd = mean_over_folds({at: one[name] for at, one in figures.items()})
            self.equal(f"figure: {name}", cell["figures"][name][0], mean)
            self.equal(f"deviation: {name}", cell["figures"][name][1], sd)
        for unit in cell["units"]:
            for name, value in figures[unit["fold"], unit["seed"]].items():
                self.equal(f"unit: {name}", unit["figures"][name], value)
        self.equal("main", cell["value"], cell["figures"][main][0])
        for fold, stated in cell["folds"].items():
            mine = [one[main] for (at, _), one in figures.items() if at == int(fold)]
            self.equal("fold", stated, float(np.mean(mine)))
        first = [part for (_, seed), (part, *_) in found.items() if seed == 0]
        assert cell["patients"] == sum(len(part) for part in first)
        assert cell["events"] == (0 if classes else sum(part["event"].sum() for part in first))
        self.counted["count"] += 2

    def _draw(self, task: dict[str, Any], name: dict[str, str], at: dict[str, str], rule: str,
              found: Found, cell: dict[str, Any]) -> None:  # fmt: skip
        if not self.intervals:
            return
        classes = len(task["classes"])
        drawn = redrawn_fast(found, classes)
        self.drawn[_key(task, name, at, rule)] = drawn
        self.ends("interval", cell["low"], cell["high"], drawn)

    def ends(self, what: str, low: float, high: float, drawn: np.ndarray) -> None:
        """Both ends of an interval; draws are sums in single precision."""
        known = drawn[np.isfinite(drawn)]
        assert len(known) >= 0.95 * len(drawn)
        for stated, mine in zip((low, high), np.quantile(known, [0.025, 0.975]), strict=True):
            self.equal(what, stated, float(mine), 2e-5)

    def task(self, task: dict[str, Any]) -> None:
        """Rows, means over cohorts and differences."""
        values = {}
        for row in task["rows"]:
            for found in row["cells"]:
                rule, at = found["at"]
                self.cell(task, row["name"], at, rule, found["is"])
                values[_key(task, row["name"], at, rule)] = found["is"]["value"]
            for found in row["means"]:
                rule, kind = found["at"]
                keys = [_key(task, row["name"], at, rule) for at in task["columns"]
                        if at["kind"] == kind]  # fmt: skip
                stated = found["is"]["interval"]
                self.equal("mean", stated["value"], float(np.mean([values[key] for key in keys])))
                if self.intervals:
                    drawn = np.mean([self.drawn[key] for key in keys], axis=0)
                    self.ends("mean interval", stated["low"], stated["high"], drawn)
        for found in task["differences"]:
            self._difference(task, found, values)
        keys = [(fact["method"], fact["name"], *fact["column"].values()) for fact in task["facts"]]
        assert len(keys) == len(set(keys)), "found two facts of one name in one place"
        for fact in task["facts"]:
            self._fact(task, fact)

    def _fact(self, task: dict[str, Any], fact: dict[str, Any]) -> None:
        """Mean and deviation over folds of what the units of one of the runs say."""
        name, at = fact["name"], fact["column"]
        place = [task["task"], at["kind"], at["cohort"], fact["method"].split(" (")[0]]
        stated, mine = (fact["mean"], fact["sd"]), []
        for path, said in self.said.items():
            if [said[key] for key in ("task", "kind", "cohort", "method")] == place:
                files = [json.loads(file.read_text()) for file in path.glob("fold*/unit.json")]
                found = {(one["fold"], one["seed"]): one["facts"][name]
                         for one in files if name in one["facts"]}  # fmt: skip
                mine += [mean_over_folds(found)] if found else []
        nearest = min(mine, key=lambda one: abs(one[0] - stated[0]))
        for value, again in zip(stated, nearest, strict=True):
            self.equal(f"fact: {name}", value, again, max(3e-6, 1e-5 * abs(again)))

    def _difference(
        self, task: dict[str, Any], found: dict[str, Any], values: dict[Any, float]
    ) -> None:
        kind, rule, stated = found["kind"], found["rule"], found["interval"]
        columns = [at for at in task["columns"] if at["kind"] == kind]
        asked = columns if found["column"] is None else [found["column"]]
        pairs = [[_key(task, found[which], at, rule) for at in asked]
                 for which in ("first", "second")]  # fmt: skip
        gain = np.mean([values[one] - values[other] for one, other in zip(*pairs, strict=True)])
        self.equal("difference", stated["value"], float(gain))
        if self.intervals:
            one, other = ([self.drawn[key] for key in keys] for keys in pairs)
            drawn = np.mean(np.array(one) - np.array(other), axis=0)
            self.ends("difference interval", stated["low"], stated["high"], drawn)


def _key(task: dict[str, Any], name: dict[str, str], at: dict[str, str], rule: str) -> Any:
    return task["task"], name["method"], name["role"], at["kind"], at["cohort"], rule


def check(report: dict[str, Any], runs: Sequence[Path], *, intervals: bool = True) -> Counter[str]:
    """Recomputes every row, mean and difference of a report; how many numbers were compared.

    Raises AssertionError naming the first that is another.
    """
    checker = Checker(runs, intervals=intervals)
    for task in report["tasks"]:
        checker.task(task)
    return checker.counted


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    counts = check(given, [Path(word) for word in sys.argv[2:]])
    print(f"{sum(counts.values())} numbers are as stated: {dict(counts)}")
