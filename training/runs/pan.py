"""`dicom-train pan`: one student per cohort with heads that all cohorts have taught.

A fold is fitted in all cohorts at once: the pan-cancer heads learn from the training parts of that
fold in every cohort. Whoever is scored in this fold anywhere is in none of them, and neither is a
patient of another cohort who shares a tissue source site with somebody who is scored. Each cohort
has a run of its own on disk, as `dicom-train fit` leaves it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
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
from training.runs.pool import each
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

    def each(self, cohorts: Mapping[str, Cohort], kind: Folds) -> list[Plan]:
        """The plans of all cohorts' runs."""
        return [self.of(name, cohort, kind) for name, cohort in cohorts.items()]


@dataclass(frozen=True)
class Together:
    """One fold with one seed in all cohorts: what is fitted at once."""

    kind: Folds
    fold: int
    seed: int


def fit_pan(
    plan: PanPlan, folds: Iterable[int] | None = None, *, seeds: int = 1, jobs: int = 1
) -> list[Path]:
    """Fits what is missing; the runs, one per cohort and kind of folds.

    A fold in all cohorts is one piece of work with one thread, in a process of its own where
    `jobs` is above 1, each of which holds all cohorts (1.1 GB on eleven): the numbers do not depend
    on it. Raises TrainingError for fewer than two cohorts, two of one name, or features of unlike
    width.
    """
    cohorts = _loaded(plan.cohorts, plan.data, plan.extended)
    chosen = range(FOLDS) if folds is None else sorted(set(folds))
    together = ", ".join(f"{one.name} {one.digest[:12]}" for one in cohorts.values())
    pieces = []
    for kind in plan.kinds:
        plans = plan.each(cohorts, kind)
        for one, cohort in zip(plans, cohorts.values(), strict=True):
            write_run(one, cohort, seeds, {"pan": together})
        asked = [Together(kind, fold, seed) for seed in range(seeds) for fold in chosen]
        pieces += [piece for piece in asked if not all(u.done for u in _units(plans, piece))]
    if jobs == 1:
        for piece in pieces:
            _fit(plan, cohorts, piece)
    else:
        for _ in each(partial(_fit_apart, plan), pieces, jobs, _failed):
            pass  # what a piece has to say it has logged
    return [one.run for kind in plan.kinds for one in plan.each(cohorts, kind)]


def _failed(piece: Together, error: BaseException) -> None:
    log.error("fit.failed", folds=piece.kind, fold=piece.fold, seed=piece.seed, error=str(error))


def _units(plans: Sequence[Plan], piece: Together) -> list[Unit]:
    return [Unit(plan.run, piece.fold, piece.seed) for plan in plans]


def _fit_apart(plan: PanPlan, piece: Together) -> None:
    """A piece in a process of the pool, which loads the cohorts once."""
    _fit(plan, _loaded(plan.cohorts, plan.data, plan.extended), piece)


def _fit(plan: PanPlan, cohorts: Mapping[str, Cohort], piece: Together) -> None:
    with one_thread():
        _fit_fold(plan.each(cohorts, piece.kind), list(cohorts.values()), piece, plan.graphs)


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


@lru_cache(maxsize=1)
def _loaded(wanted: tuple[str, ...], data: Path, extended: bool) -> Mapping[str, Cohort]:
    cohorts = {
        name: load(name, data, "os", extended=extended and name in CHOSEN_ON) for name in wanted
    }
    names = [cohort.name for cohort in cohorts.values()]
    if len(wanted) < 2 or len(set(names)) < len(wanted):
        raise TrainingError(
            f"found cohorts {', '.join(wanted)}, expected two or more of unlike names, such "
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
    piece: Together,
    graphs: bool,
) -> None:
    """Fits one fold with one seed in every cohort that lacks it."""
    kind, fold, seed = piece.kind, piece.fold, piece.seed
    units = _units(plans, piece)
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
