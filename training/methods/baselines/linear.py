"""Linear floors without a network: age, the clinic, elastic-net Cox on genes, pooled features.

They are fitted on everybody outside the fold, as the students that they stand beside: a strength
that the inner validation patients have chosen is fitted once more with them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sksurv.linear_model import CoxnetSurvivalAnalysis, CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv

from training.errors import TrainingError
from training.learning.bags import Patients
from training.learning.fitted import Fitted, Floats, Score
from training.learning.journal import Journal
from training.learning.split import Split
from training.methods.moments.learners import exported, linear_map, require_classes
from training.methods.moments.network import moments

_LITTLE, _MUCH = 1e-3, 1.0
"""Ridge penalties of a Cox model of one column, and of many that say the same."""


@dataclass(frozen=True)
class Settings:
    """Penalties are few and fixed; inner validation picks the strength."""

    epochs: int = 0
    """Not used: a linear model has no epochs."""
    l1_ratio: float = 0.5
    columns: int = 500
    """Columns of the elastic net, by univariate Cox score on the training patients."""
    logistic_c: float = 0.01


def fit_age(split: Split, settings: Settings, seed: int, journal: Journal) -> Fitted:
    """Age alone: Cox regression, or logistic regression for classes; unknown ages at the mean."""
    score = age_score(split)
    if score is None:
        raise TrainingError(f"cohort {split.cohort}: found no age of any patient, expected some")
    return _without_epochs("age", score)


def fit_clinical(split: Split, settings: Settings, seed: int, journal: Journal) -> Fitted:
    """Cox regression on what the clinic knows, age with it; logistic regression for classes."""
    score = clinical_score(split)
    if score is None:
        raise TrainingError(
            f"cohort {split.cohort}: found no clinical columns, expected some; build the cohort "
            "with a clinical table"
        )
    return _without_epochs("clinical", score)


def fit_genes(split: Split, settings: Settings, seed: int, journal: Journal) -> Fitted:
    """Elastic-net Cox on the genes that matter most one by one; logistic regression for classes."""
    if split.train.genes.shape[1] == 0:
        raise TrainingError(f"cohort {split.cohort}: found no gene columns, expected some")
    known = split.profiled()
    tables = [part.genes.numpy().astype(float) for part in (known.train, known.valid, known.test)]
    return _without_epochs("coxnet", _linear(known, settings, *tables))


def fit_pooled(split: Split, settings: Settings, seed: int, journal: Journal) -> Fitted:
    """Mean and deviation of a patient's instances, then the same linear models.

    For classes it is a student as well: it needs the slide alone and exports as one linear map.
    """
    if split.task.kind != "survival":
        require_classes(split, "pooled")
        make = partial(linear_map, labels_c=settings.logistic_c)
        student, change, score = exported(split, make)
        facts = {"inner_loss": change.before, "inner_loss_calibrated": change.after}
        return replace(
            _without_epochs("pooled", score),
            student=student,
            facts=facts,
            is_calibrated=True,
            student_role="pooled",
        )
    tables = [moments(part) for part in (split.train, split.valid, split.test)]
    scaler = StandardScaler().fit(np.concatenate(tables[:2]))
    return _without_epochs(
        "pooled", _linear(split, settings, *(scaler.transform(t) for t in tables))
    )


def age_score(split: Split) -> Score | None:
    """What age says of the outer fold; None where no age is known in training."""
    parts = (split.everyone, split.test)
    known, asked = (part.age.numpy().astype(float)[:, None] for part in parts)
    if np.isnan(known).all():
        return None
    return _cox_or_classes(split, known / 10, asked / 10, _LITTLE)


def clinical_score(split: Split) -> Score | None:
    """What the clinical columns and age say of the outer fold; None where there are no columns."""
    if any("clinical" not in part.privileged for part in (split.train, split.valid, split.test)):
        return None
    parts = (split.everyone, split.test)
    known, asked = (
        np.column_stack([part.privileged["clinical"].numpy(), part.age.numpy()]).astype(float)
        for part in parts
    )
    # A column that nobody has, or all alike, says nothing.
    told = np.array([len(np.unique(column[~np.isnan(column)])) > 1 for column in known.T])
    if not told.any():
        return None
    scaler = StandardScaler().fit(known[:, told])
    return _cox_or_classes(
        split, scaler.transform(known[:, told]), scaler.transform(asked[:, told]), _MUCH
    )


def _cox_or_classes(split: Split, known: Floats, asked: Floats, penalty: float) -> Score:
    """A linear model of the task on [P, K]; what is unknown stands at the mean of training."""
    mean = np.nanmean(known, axis=0)
    train, test = (np.where(np.isnan(table), mean, table) for table in (known, asked))
    if split.task.kind == "survival":
        model = CoxPHSurvivalAnalysis(alpha=penalty).fit(train, _outcome(split.everyone))
        return Score(risk=model.predict(test))
    return Score(probability=_classes(split, train, test, 1.0))


def univariate_scores(table: Floats, time: Floats, event: Floats) -> Floats:
    """[G] chi-square of the Cox score test of each column of `table` [P, G] (Breslow ties)."""
    order = np.argsort(-time, kind="stable")
    x, died, ordered = table[order], event[order] > 0, time[order]
    # Everybody at risk at a time of death, patients with the same time included.
    last = np.searchsorted(-ordered, -ordered, side="right") - 1
    at_risk = np.arange(1, len(x) + 1)[last][:, None]
    mean = np.cumsum(x, axis=0)[last] / at_risk
    square = np.cumsum(x**2, axis=0)[last] / at_risk
    score = (x - mean)[died].sum(axis=0)
    information = (square - mean**2)[died].sum(axis=0)
    found: Floats = score**2 / np.maximum(information, 1e-12)
    return found


def _linear(split: Split, settings: Settings, train: Floats, valid: Floats, test: Floats) -> Score:
    everyone = np.concatenate([train, valid])
    if split.task.kind != "survival":
        return Score(probability=_classes(split, everyone, test, settings.logistic_c))
    ranking = univariate_scores(train, split.train.time.numpy(), split.train.event.numpy())
    kept = np.sort(np.argsort(-ranking, kind="stable")[: settings.columns])
    model = CoxnetSurvivalAnalysis(l1_ratio=settings.l1_ratio, n_alphas=30, alpha_min_ratio=0.05)
    _fit(model, train[:, kept], split.train)
    event, time = split.valid.event.numpy() > 0, split.valid.time.numpy()
    inner = [
        concordance_index_censored(event, time, model.predict(valid[:, kept], alpha=alpha))[0]
        for alpha in model.alphas_
    ]
    alpha = model.alphas_[int(np.argmax(inner))]
    whole = split.everyone
    ranking = univariate_scores(everyone, whole.time.numpy(), whole.event.numpy())
    kept = np.sort(np.argsort(-ranking, kind="stable")[: settings.columns])
    last = CoxnetSurvivalAnalysis(l1_ratio=settings.l1_ratio, alphas=[alpha])
    _fit(last, everyone[:, kept], whole)
    return Score(risk=last.predict(test[:, kept]))


def _fit(model: CoxnetSurvivalAnalysis, table: Floats, patients: Patients) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(table, _outcome(patients))


def _classes(split: Split, train: Floats, test: Floats, c: float) -> Floats:
    model = LogisticRegression(C=c, max_iter=2000, class_weight="balanced")
    found: Floats = model.fit(train, split.everyone.label.numpy()).predict_proba(test)
    return found


def _outcome(patients: Patients) -> NDArray[np.void]:
    outcome: NDArray[np.void] = Surv.from_arrays(
        patients.event.numpy() > 0, patients.time.numpy().astype(float)
    )
    return outcome


def _without_epochs(role: str, score: Score) -> Fitted:
    return Fitted({(role, "inner"): score, (role, "last"): score})
