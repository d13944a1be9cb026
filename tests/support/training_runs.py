"""Run folders as `dicom-train fit` writes them, made of the published models' real predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

ROLES = {
    "student": "PatchGCN",
    "twin": "AMILsm_nll_surv_a0.0_5foldcv_gc32_sig",
    "teacher": "MCAT",
    "genomic": "SNN",
    "late_fusion": "AMILsm_nll_surv_a0.0_5foldcv_gc32_sig_concat",
}
"""Role -> the beginning of the name of the published model that plays it."""
EDGES = (0.25, 0.5, 0.75)


def published_predictions(shared: Path) -> pd.DataFrame:
    """experiment, cohort, fold, case_id, risk, survival_months, censorship."""
    return pd.read_csv(shared / "data" / "mcat" / "published_val_predictions.csv.gz")


def write_published_run(
    folder: Path,
    predictions: pd.DataFrame,
    cohort: str,
    *,
    method: str = "ghanet",
    roles: dict[str, str] | None = None,
    kind: str = "official",
    seeds: int = 1,
    settings: dict[str, object] | None = None,
    ages: pd.Series | None = None,
) -> Path:
    """One run of `cohort` with the given roles; seeds differ by a little noise on the risks."""
    chosen = ROLES if roles is None else roles
    tables = {role: _wide(predictions, cohort, start) for role, start in chosen.items()}
    shared_rows = sorted(set.intersection(*(set(table.index) for table in tables.values())))
    tables = {role: table.loc[shared_rows] for role, table in tables.items()}
    outcome = next(iter(tables.values()))[["survival_months", "event", "fold"]]
    path = folder / f"{method}-{cohort}-{kind}"
    write_run_json(
        path, method=method, cohort=cohort, kind=kind, seeds=seeds, settings=settings or {},
        patients=len(outcome), dropped={"no features": 2},
    )  # fmt: skip
    for fold in range(5):
        for seed in range(seeds):
            rng = np.random.default_rng([fold, seed])
            inside = outcome[outcome.fold == fold]
            parts = []
            for role, table in tables.items():
                risk = table.risk[table.fold == fold].to_numpy(float)
                risk = risk + rng.normal(size=len(risk)) * 0.02 * seed
                survival = None if role == "genomic" else survival_of(risk)
                parts.append(role_frame(inside, role, risk, survival))
            if ages is not None:
                parts.append(role_frame(inside, "age", ages.reindex(inside.index).fillna(60) / 10))
            outside = outcome[outcome.fold != fold]
            facts = {"genomic_correlation": 0.2 + 0.02 * fold + 0.01 * seed, "parameters": 1e6}
            write_unit(path, fold, seed, pd.concat(parts), outside, facts)
    return path


def write_run_json(path: Path, **said: object) -> None:
    path.mkdir(parents=True, exist_ok=True)
    content = {
        "cohort_digest": "3f5a" * 16,
        "task": "os",
        "classes": [],
        "epochs": 20,
        "versions": {"python": "3.11.2", "torch": "2.13.0", "scikit-survival": "0.28.0"},
    } | said
    content["seeds"] = list(range(int(str(said.get("seeds", 1)))))
    (path / "run.json").write_text(json.dumps(content))


def write_unit(
    path: Path,
    fold: int,
    seed: int,
    predictions: pd.DataFrame,
    outside: pd.DataFrame,
    facts: dict[str, float],
) -> None:
    place = path / f"fold{fold}-seed{seed}"
    place.mkdir(parents=True, exist_ok=True)
    predictions.to_csv(place / "predictions.csv", index=False)
    time, event = outside.survival_months.to_numpy(), outside.event.to_numpy()
    ends = (time.min() - 1e-6, *np.quantile(time[event], EDGES), time.max() + 1e-6)
    said = {
        "fold": fold,
        "seed": seed,
        "edges_months": [float(end) for end in ends],
        "seconds": 61.5,
        "peak_rss_mb": 812,
        "facts": facts,
        "train": {"time": time.tolist(), "event": event.astype(int).tolist()},
    }
    (place / "unit.json").write_text(json.dumps(said))


def role_frame(
    inside: pd.DataFrame, role: str, risk: object, survival: np.ndarray | None = None
) -> pd.DataFrame:
    """Rows of both rules; the last epoch is a little worse."""
    values = np.asarray(risk, dtype=float)
    frames = []
    for rule, blur in (("inner", 0.0), ("last", 0.05)):
        noise = np.random.default_rng(len(values)).normal(size=len(values)) * blur
        frame = pd.DataFrame({"patient": inside.index, "role": role, "rule": rule})
        frame["risk"] = values + noise
        for column in range(0 if survival is None else 4):
            frame[f"s{column + 1}"] = survival[:, column]
        frame["time_months"] = inside.survival_months.to_numpy()
        frame["event"] = inside.event.to_numpy().astype(int)
        frame["label"] = 0
        frames.append(frame)
    return pd.concat(frames)


def survival_of(risk: np.ndarray) -> np.ndarray:
    """Survival [P, 4] of a constant hazard whose sum is -risk (r = -sum S)."""
    keeps = np.linspace(0.001, 0.999, 999)
    sums = sum(keeps**power for power in range(1, 5))
    keep = np.interp(-risk, sums, keeps)
    return np.stack([keep**power for power in range(1, 5)], axis=1)


def ages(shared: Path, cohort: str) -> pd.Series:
    """Age in years by patient."""
    file = shared / "data" / "porpoise" / "datasets_csv_mutsig" / f"tcga_{cohort}_all_clean.csv.zip"
    table = pd.read_csv(file, usecols=["case_id", "age"])
    return table.drop_duplicates("case_id").set_index("case_id").age


def _wide(predictions: pd.DataFrame, cohort: str, start: str) -> pd.DataFrame:
    names = [name for name in predictions.experiment.unique() if name.startswith(start)]
    name = min(names, key=len)
    table = predictions[predictions.experiment.eq(name) & predictions.cohort.eq(cohort)]
    return table.assign(event=table.censorship.eq(0)).set_index("case_id").sort_index()
