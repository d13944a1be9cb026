"""Pan-cancer heads of `crossfit`: what the slide says in one cohort, learned from all of them.

Per cohort a Cox head and one per teacher, weights = common + the cohort's own (shared.py). Both are
linear in the standardized mean instance, as the cohort's own heads are, and in log hazards. Four
penalties are chosen by cross-validation among the training patients that are given; who chooses
may be fewer cohorts than who trains. The twin of equal capacity is taught by the pan-cancer Cox
risk itself, out of fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from training.errors import TrainingError
from training.learning.bags import Patients
from training.learning.fitted import Floats
from training.methods.crossfit import shared
from training.methods.crossfit.shared import Aimed, Followed, Penalty, Weights
from training.methods.crossfit.student import standardized_means

FOLDS = 3
"""Parts of the inner cross-validation."""
COX_GRID = tuple(
    Penalty(*pair)
    for pair in product((30.0, 10.0, 3.0, 1.0, 0.3, 0.1), (100.0, 30.0, 10.0, 3.0, 1.0))
)
RIDGE_GRID = tuple(
    Penalty(*pair)
    for pair in product((30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03), (30.0, 10.0, 3.0, 1.0, 0.3, 0.1))
)
"""The first grid ended at 1 for what is common, and nearly every fold chose that."""
SELF = "self"


@dataclass(frozen=True)
class Member:
    """Training patients of one cohort."""

    name: str
    z: Floats
    """[P, D] standardized mean instances."""
    time: Floats
    event: NDArray[np.bool_]
    targets: Mapping[str, Floats]
    """Role -> [P] teacher's risks, out of fold."""


class Penalties(NamedTuple):
    """Of the Cox head and of the heads that a teacher teaches."""

    cox: Penalty
    teacher: Penalty


Columns = Mapping[str, Floats]
"""Role -> weights [D, H] of one cohort: the own risk and, but for the twin, the teacher's."""


class Heads(NamedTuple):
    """What was fitted."""

    columns: tuple[Columns, ...]
    """One per cohort."""
    penalties: Penalties


def member(name: str, patients: Patients, targets: Mapping[str, Floats | None]) -> Member:
    """The training patients of a cohort as the pan-cancer heads see them."""
    z, _, _ = standardized_means(patients)
    known = {role: risk for role, risk in targets.items() if risk is not None and role != SELF}
    return Member(name, z, patients.time.numpy().astype(float), patients.event.numpy() > 0, known)


def chosen_heads(members: Sequence[Member], judges: Sequence[str], seed: int) -> Heads:
    """Heads with the penalties that cross-validation among these patients likes best.

    `judges` are the cohorts whose held-out patients are asked; all of them train. Cox heads are
    judged by the partial likelihood, not by the order alone: heads are summed in log hazards, so
    their scale counts. Teachers' heads are judged by the squared error of the student's target.
    """
    if not set(judges) <= {one.name for one in members} or not judges:
        raise TrainingError(
            f"found {', '.join(judges) or 'no cohort'} to choose the penalties on, expected some of"
            f" {', '.join(one.name for one in members)}"
        )
    folds = [_folds(one, seed) for one in members]
    cox, risks = _best_cox(members, folds, judges)
    teacher = _best_ridge(members, folds, judges)
    taught = [
        Member(one.name, one.z, one.time, one.event, {**one.targets, SELF: risk})
        for one, risk in zip(members, risks, strict=True)
    ]
    return Heads(heads(taught, Penalties(cox, teacher)), Penalties(cox, teacher))


def heads(members: Sequence[Member], penalties: Penalties) -> tuple[Columns, ...]:
    """Columns of every cohort, for the roles that all of them have targets of, and the twin."""
    own = shared.shared_cox([_followed(one) for one in members], penalties.cox)
    roles = set.intersection(*(set(one.targets) for one in members))
    taught = {
        role: shared.shared_ridge([_aimed(one, role) for one in members], penalties.teacher)
        for role in sorted(roles)
    }
    return tuple(
        {"twin": own.of(at)[:, None]}
        | {role: np.stack([own.of(at), found.of(at)], axis=1) for role, found in taught.items()}
        for at in range(len(members))
    )


def _best_cox(
    members: Sequence[Member], folds: Sequence[NDArray[np.int64]], judges: Sequence[str]
) -> tuple[Penalty, list[Floats]]:
    """The penalty, and the out-of-fold log hazards [P] of every cohort under it."""
    starts: list[Weights | None] = [None] * FOLDS
    found: list[tuple[float, Penalty, list[Floats]]] = []
    for penalty in COX_GRID:
        risks = [np.zeros(len(one.time)) for one in members]
        loss = 0.0
        for part in range(FOLDS):
            rest = [_followed(one, at != part) for one, at in zip(members, folds, strict=True)]
            weights = starts[part] = shared.shared_cox(rest, penalty, starts[part])
            for c, (one, at) in enumerate(zip(members, folds, strict=True)):
                held = at == part
                risks[c][held] = one.z[held] @ weights.of(c)
                if one.name in judges:
                    loss += shared.partial_likelihood(
                        risks[c][held], one.time[held], one.event[held]
                    )
        found.append((loss, penalty, risks))
    _, penalty, risks = min(found, key=lambda one: one[0])
    return penalty, risks


def _best_ridge(
    members: Sequence[Member], folds: Sequence[NDArray[np.int64]], judges: Sequence[str]
) -> Penalty:
    """By the error in shares of each cohort's spread: cohorts count alike."""
    losses = []
    for penalty in RIDGE_GRID:
        loss = 0.0
        for part in range(FOLDS):
            rest = [_aimed(one, "student", at != part)
                    for one, at in zip(members, folds, strict=True)]  # fmt: skip
            weights = shared.shared_ridge(rest, penalty)
            for c, (one, at) in enumerate(zip(members, folds, strict=True)):
                if one.name in judges:
                    held = at == part
                    seen = (one.z[held] - rest[c].z.mean(axis=0)) @ weights.of(c)
                    miss = one.targets["student"][held] - rest[c].target.mean() - seen
                    loss += float(miss @ miss / (held.sum() * (rest[c].target.var() + 1e-12)))
        losses.append(loss)
    return RIDGE_GRID[int(np.argmin(losses))]


def _folds(one: Member, seed: int) -> NDArray[np.int64]:
    """[P] part of each patient, deaths spread evenly."""
    found = np.zeros(len(one.time), dtype=np.int64)
    if one.event.sum() < FOLDS:
        raise TrainingError(
            f"cohort {one.name}: found {int(one.event.sum())} deaths outside the fold, expected "
            f"{FOLDS} at least to train pan-cancer heads; leave the cohort out"
        )
    cut = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for part, (_, held) in enumerate(cut.split(one.z, one.event)):
        found[held] = part
    return found


def _followed(one: Member, rows: NDArray[np.bool_] | None = None) -> Followed:
    if rows is None:
        return Followed(one.z, one.time, one.event)
    return Followed(one.z[rows], one.time[rows], one.event[rows])


def _aimed(one: Member, role: str, rows: NDArray[np.bool_] | None = None) -> Aimed:
    if rows is None:
        return Aimed(one.z, one.targets[role])
    return Aimed(one.z[rows], one.targets[role][rows])
