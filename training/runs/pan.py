"""`dicom-train pan`: one student per cohort with heads that all cohorts have taught.

A fold is fitted in all cohorts at once: the pan-cancer heads learn from the training parts of that
fold in every cohort. Whoever is scored in this fold anywhere is in none of them, and neither is a
patient of another cohort who shares a tissue source site with somebody who is scored. Each cohort
has a run of its own on disk, as `dicom-train fit` leaves it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import structlog

from training.cohorts.cohort import Cohort, load
from training.cohorts.tables import CHOSEN_ON, COHORTS
from training.errors import TrainingError
from training.learning.journal import Journal
from training.learning.split import FOLDS, Folds, Split, prepare
from training.methods.crossfit import method as crossfit
from training.methods.crossfit import pan
from training.methods.crossfit.settings import Settings
from training.runs.fit import Plan, finish, one_thread, write_run
from training.runs.units import Unit

log = structlog.get_logger()

METHOD = "crossfit-pan"


@dataclass(frozen=True)
class PanPlan:
    """What is fitted: cohorts together, kinds of folds one after the other."""

    cohorts: tuple[str, ...]
    data: Path
    out: Path
    kinds: tuple[Folds, ...]
    settings: dict[str, str]
    extended: bool = False
    """Patients beside those published cohorts on which recipes were chosen join their training."""
    graphs: bool = True
    """Write what `export` takes: most of the time of a linear student goes there."""

    def of(self, name: str, cohort: Cohort, kind: Folds) -> Plan:
        """The plan of one cohort's run."""
        return Plan(
            method=METHOD,
            cohort=name,
            task="os",
            kind=kind,
            data=self.data,
            run=self.out / f"{cohort.name}-{kind}",
            settings=self.settings,
            extended=self.extended and name in CHOSEN_ON,
        )


def fit_pan(plan: PanPlan, folds: Iterable[int] | None = None, *, seeds: int = 1) -> list[Path]:
    """Fits what is missing, in one process; the runs, one per cohort and kind of folds.

    Raises TrainingError for fewer than two cohorts, two of one name, or features of unlike width.
    """
    cohorts = _load(plan)
    chosen = range(FOLDS) if folds is None else sorted(set(folds))
    together = ", ".join(f"{one.name} {one.digest[:12]}" for one in cohorts.values())
    runs = []
    for kind in plan.kinds:
        plans = [plan.of(name, cohort, kind) for name, cohort in cohorts.items()]
        for one, cohort in zip(plans, cohorts.values(), strict=True):
            write_run(one, cohort, seeds, {"pan": together})
        for seed in range(seeds):
            for fold in chosen:
                with one_thread():
                    _fit_fold(plans, list(cohorts.values()), kind, fold, seed, graphs=plan.graphs)
        runs += [one.run for one in plans]
    return runs


def splits_of(cohorts: Sequence[Cohort], kind: Folds, fold: int, seed: int) -> list[Split]:
    """One fold of every cohort; nobody trains who is scored elsewhere, or shares a site with one.

    Within a cohort the kind of folds says whether sites are shared.
    """
    scored = [cohort.patients[cohort.folds(kind) == fold] for cohort in cohorts]
    found = []
    for at, cohort in enumerate(cohorts):
        others = [table for other, table in enumerate(scored) if other != at]
        without = _left_out(cohort, others)
        if without:
            log.info("pan.left_out", cohort=cohort.name, fold=fold, patients=len(without))
        found.append(prepare(cohort, kind, fold, seed=seed, without=without))
    return found


def _left_out(cohort: Cohort, scored: Sequence[pd.DataFrame]) -> frozenset[str]:
    """Patients of `cohort` who are in, or share a site with, the scored tables of others."""
    ids = {str(patient) for table in scored for patient in table.index}
    sites = {site for table in scored for site in table["site"]}
    found: set[str] = set()
    for part in (cohort, cohort.beside):
        if part is not None:
            table = part.patients
            found |= set(table.index[table["site"].isin(sites) | table.index.isin(ids)])
    return frozenset(found)


def _load(plan: PanPlan) -> dict[str, Cohort]:
    cohorts = {
        name: load(name, plan.data, "os", extended=plan.extended and name in CHOSEN_ON)
        for name in plan.cohorts
    }
    names = [cohort.name for cohort in cohorts.values()]
    if len(plan.cohorts) < 2 or len(set(names)) < len(plan.cohorts):
        raise TrainingError(
            f"found cohorts {', '.join(plan.cohorts)}, expected two or more of unlike names, such "
            f"as {', '.join(COHORTS)}"
        )
    widths = {cohort.name: cohort.width for cohort in cohorts.values()}
    if len(set(widths.values())) > 1:
        said = ", ".join(f"{width} in {name}" for name, width in widths.items())
        raise TrainingError(
            f"found features of unlike width ({said}), expected one encoder for all cohorts; "
            "extract the features again or leave a cohort out"
        )
    return cohorts


def _fit_fold(
    plans: Sequence[Plan],
    cohorts: Sequence[Cohort],
    kind: Folds,
    fold: int,
    seed: int,
    *,
    graphs: bool,
) -> None:
    """Fits one fold with one seed in every cohort that lacks it."""
    units = [Unit(plan.run, fold, seed) for plan in plans]
    if all(unit.done for unit in units):
        return
    settings: Settings = plans[0].resolved()
    started = time.perf_counter()
    splits = splits_of(cohorts, kind, fold, seed)
    teachers = [crossfit.taught(split, settings, seed) for split in splits]
    log.info("pan.teachers", folds=kind, fold=fold, seconds=round(time.perf_counter() - started))
    heads, added = joined(splits, teachers, seed)
    shared_s = (time.perf_counter() - started) / len(units)
    facts = {
        "pan_penalty_cox_shared": heads.penalties.cox.shared,
        "pan_penalty_cox_own": heads.penalties.cox.own,
        "pan_penalty_teacher_shared": heads.penalties.teacher.shared,
        "pan_penalty_teacher_own": heads.penalties.teacher.own,
    }
    log.info("pan.heads", folds=kind, fold=fold, seed=seed, **facts)
    for unit, split, teacher, more in zip(units, splits, teachers, added, strict=True):
        if unit.done:
            continue
        began = time.perf_counter() - shared_s
        with Journal(unit.directory) as journal:
            fitted = crossfit.fit_taught(split, teacher, settings, seed, journal, more)
            fitted.facts.update(facts)
            seconds = finish(unit, split, fitted, journal, began, graph=graphs)
        log.info("fit.unit", cohort=split.cohort, fold=fold, seed=seed, seconds=round(seconds, 1))


def joined(
    splits: Sequence[Split], teachers: Sequence[crossfit.Taught], seed: int
) -> tuple[pan.Heads, list[crossfit.Added]]:
    """Pan-cancer heads of one fold: of everybody, and again without the inner validation patients.

    The penalties are chosen on the cohorts on which recipes were chosen before, and where none of
    them is there on all: on training patients in either case.
    """
    members = [
        pan.member(split.cohort, given.everyone, given.targets)
        for split, given in zip(splits, teachers, strict=True)
    ]
    names = [split.cohort for split in splits]
    judges = [name for name in names if name in CHOSEN_ON] or names
    found = pan.chosen_heads(members, judges, seed)
    inside = pan.heads(
        [
            pan.member(split.cohort, split.train, {"student": given.inner.targets})
            for split, given in zip(splits, teachers, strict=True)
        ],
        found.penalties,
    )
    return found, [
        crossfit.Added(everyone, inner["student"])
        for everyone, inner in zip(found.columns, inside, strict=True)
    ]
