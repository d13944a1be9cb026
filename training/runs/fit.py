"""`dicom-train fit`: every fold and seed of a method on a cohort, resumable, in processes."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import structlog
import torch
from threadpoolctl import threadpool_limits

from inference.durable import whole
from training.cohorts.cohort import Cohort, load
from training.cohorts.genes import digest_of_signatures
from training.cohorts.second_grid import COLUMN
from training.errors import TrainingError
from training.json_files import read_json
from training.learning.fitted import Fitted, Score, risk_correlation
from training.learning.journal import Journal
from training.learning.split import FOLDS, Folds, Split, prepare
from training.methods.registry import method, with_settings
from training.runs import sites
from training.runs.magnifications import features_of, second_of
from training.runs.pool import each
from training.runs.references import references
from training.runs.units import Unit, write_json, write_unit

log = structlog.get_logger()

_FIXED = ("method", "cohort", "cohort_digest", "signatures", "task", "kind", "settings")
"""What must be equal for a run to go on."""
_AND = " and "


@dataclass(frozen=True)
class Plan:
    """One run: what `run.json` says."""

    method: str
    cohort: str
    task: str
    kind: Folds
    data: Path
    run: Path
    settings: dict[str, str]
    """`key=value` words that differ from the defaults."""
    published: bool = False
    """Start from the published settings instead of those adapted to the data at hand."""

    extended: bool = False
    """Let the patients beside a published cohort join the training parts."""

    def resolved(self) -> Any:
        """The settings of the method, all of them."""
        chosen = method(self.method)
        defaults = chosen.settings
        if self.published:
            if chosen.published is None:
                raise TrainingError(
                    f"method {self.method}: found --published, but its defaults are all the "
                    "settings it has; leave --published out"
                )
            defaults = chosen.published(self.task)
        return with_settings(defaults, self.settings)


def fit(
    plan: Plan,
    folds: Iterable[int] | None = None,
    *,
    seeds: int = 1,
    jobs: int = 1,
) -> list[Unit]:
    """Fits what is missing of the run; the units it holds then.

    A unit is one fold and one seed in one process with one thread: the numbers do not depend on
    `jobs`. A unit that fails ends the run: its error is raised, and what runs beside it is stopped.
    Raises TrainingError where the run holds another plan.
    """
    cohort = load(plan.cohort, plan.data, plan.task, extended=plan.extended)
    write_run(plan, cohort, seeds)
    chosen = range(FOLDS) if folds is None else sorted(set(folds))
    units = [Unit(plan.run, fold, seed) for seed in range(seeds) for fold in chosen]
    missing = [unit for unit in units if not unit.done]
    log.info("fit.start", units=len(units), missing=len(missing), **_facts(plan))

    def failed(unit: Unit, error: BaseException) -> None:
        log.error("fit.failed", fold=unit.fold, seed=unit.seed, error=str(error))

    for unit, seconds in each(partial(fit_unit, plan), missing, jobs, failed):
        log.info("fit.unit", fold=unit.fold, seed=unit.seed, seconds=round(seconds, 1))
    return units


def fit_unit(plan: Plan, unit: Unit) -> float:
    """Fits one fold with one seed and writes it; the seconds it took."""
    with one_thread():
        return _fit_unit(plan, unit)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread and deterministic sums inside: the numbers depend on nothing but the plan."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)  # sums in another order would change the weights
    torch.use_deterministic_algorithms(True)
    try:
        with threadpool_limits(limits=1):  # the same for BLAS; and its threads wait by spinning
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def _fit_unit(plan: Plan, unit: Unit) -> float:
    started = time.perf_counter()
    chosen = method(plan.method)
    settings = plan.resolved()
    cohort = _cohort(plan.cohort, plan.data, plan.task, plan.extended)
    split = prepare(cohort, plan.kind, unit.fold, seed=unit.seed, second=chosen.reads_second)
    with Journal(unit.directory) as journal:
        fitted = chosen.fit(split, settings, unit.seed, journal)
        return finish(unit, split, fitted, journal, started)


def finish(
    unit: Unit,
    split: Split,
    fitted: Fitted,
    journal: Journal,
    started: float,
    *,
    graph: bool = True,
) -> float:
    """Fits what stands beside a fitted method and writes the unit; the seconds since `started`.

    A unit that goes on where another process ended keeps no seconds: they would be those of a part.
    """
    beside = references(split, fitted, unit.seed, journal)
    facts = _correlations(fitted.scores | beside)
    seconds = time.perf_counter() - started
    fitted.facts.update({k: v for k, v in facts.items() if k not in fitted.facts})
    whole_s = None if journal.is_resumed else seconds
    write_unit(unit, split, beside | fitted.scores, fitted, whole_s, graph=graph)
    journal.clear_checkpoints()
    return seconds


@lru_cache(maxsize=1)
def _cohort(name: str, data: Path, task: str, extended: bool) -> Cohort:
    return load(name, data, task, extended=extended)


def _correlations(scores: dict[tuple[str, str], Score]) -> dict[str, float]:
    """Correlation of the student's risk with that of the genes, on the outer fold."""
    facts = {}
    for role in ("student", "twin", "null"):
        pair = scores.get((role, "inner")), scores.get(("genomic", "inner"))
        if pair[0] is not None and pair[1] is not None:
            found = risk_correlation(pair[0], pair[1])
            if found is not None:
                facts[f"risk_correlation_{role}_genomic"] = found
    return facts


def write_run(
    plan: Plan, cohort: Cohort, seeds: int, more: Mapping[str, object] | None = None
) -> None:
    """Writes `run.json`, `more` among its settings; raises TrainingError over another plan's."""
    settings = plan.resolved()
    content = {
        "method": plan.method,
        "cohort": cohort.name,
        "cohort_digest": cohort.digest,
        "task": plan.task,
        "classes": list(cohort.task.classes),
        "kind": plan.kind,
        "settings": asdict(settings)
        | ({"extended": True} if plan.extended else {})
        | dict(more or {}),
        "epochs": settings.epochs,
        "patients": len(cohort.patients),
        "patients_beside": len(cohort.beside.patients) if cohort.beside else 0,
        "dropped": _counted(cohort),
        "features": features_of(cohort.slides),
        "second_features": features_of(cohort.slides, COLUMN),
        "second_magnification": second_of(plan.method, cohort),
        sites.KEY: sites.counted(cohort, plan.kind),
        "signatures": digest_of_signatures(cohort.signatures),
        "versions": _versions({}),
    }
    path = plan.run / "run.json"
    if path.exists():
        before = read_json(path)
        seeds = max(seeds, len(before["seeds"]))
        content["versions"] = _versions(before["versions"])
        for key in _FIXED:
            if before.get(key, content[key]) != content[key]:  # older ones know no signatures
                raise TrainingError(
                    f"{plan.run}: found a run with {key} = {before[key]}, asked for "
                    f"{content[key]}; give another --out or remove the old run"
                )
    plan.run.mkdir(parents=True, exist_ok=True)
    write_json(path, content | {"seeds": list(range(seeds))})
    with whole(plan.run / "patients.csv") as file:
        file.write(_who(cohort).to_csv(index_label="patient").encode())


def _versions(before: Mapping[str, str]) -> dict[str, str]:
    """What computes; of a run that goes on under other versions those `before` it, too."""
    now = {name: version(name) for name in ("torch", "numpy", "scikit-survival")}
    now["python"] = platform.python_version()
    seen = {name: before.get(name, "").split(_AND) for name in now}
    return {
        name: _AND.join(dict.fromkeys(filter(None, [*seen[name], number])))
        for name, number in now.items()
    }


def _who(cohort: Cohort) -> pd.DataFrame:
    """Site and age of every patient, sex and stage where the cohort knows them: the parts of which
    a card gives figures."""
    table = cohort.patients[["site", "age"]].copy()
    clinical = cohort.privileged.get("clinical")
    for name in ("male", "stage"):
        if clinical is not None and name in clinical:
            table[name] = clinical[name]
    return table


def _counted(cohort: Cohort) -> dict[str, int]:
    reasons = [drop.reason for drop in cohort.dropped]
    return {reason: reasons.count(reason) for reason in sorted(set(reasons))}


def _facts(plan: Plan) -> dict[str, str]:
    return {"method": plan.method, "cohort": plan.cohort, "task": plan.task, "folds": plan.kind}
