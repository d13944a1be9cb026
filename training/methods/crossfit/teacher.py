"""The privileged teacher of `crossfit`: clinic, genes and alterations, each a Cox ridge, stacked.

Its risks of training patients are out of fold: a risk fitted on the patient it is asked about
carries that patient's outcome, and a student that copies it learns by heart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import KernelPCA
from sklearn.model_selection import StratifiedKFold
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv
from torch import Tensor

from training.learning.bags import Patients, has_genes
from training.learning.fitted import Floats

CAP = 5.0
"""Standard deviations at which a column is cut."""
KNOWN = 0.3
"""Share of known values below which a column is left out."""
CLINICAL = "clinical"
CLINICAL_PENALTY = 0.1
GENE_PENALTY = 30.0
STACK_PENALTY = 0.05
COMPONENTS = 100
FOLDS = 5

Model = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Teacher:
    """What the teacher says."""

    targets: Floats
    """[P] out-of-fold risks of the training patients."""
    risk: Floats
    """[Q] risks of the asked patients, who were in no part of it."""


@dataclass(frozen=True)
class BlockRisks:
    """Standardized risks of each block: out of fold [P] inside, of the asked [Q] outside."""

    inside: dict[str, Floats]
    outside: dict[str, Floats]


def block_risks(train: Patients, asked: Patients, seed: int) -> BlockRisks:
    """One Cox ridge per block, cross-fitted on `train`."""
    blocks, others = _blocks(train), _blocks(asked)
    inside, outside = {}, {}
    for name, values in blocks.items():
        if not _known(values).any():
            continue
        known, asked_known = _known(values), _known(others[name])

        def learn(
            rows: NDArray[np.int64],
            name: str = name,
            values: Floats = values,
            known: NDArray[np.bool_] = known,
        ) -> Model:
            rows = rows[known[rows]]
            return _block_model(name, values[rows], train.subset(rows.tolist()))

        own = out_of_fold(learn, values, train, seed)
        other = learn(np.arange(len(train)))(others[name])
        mean, std = own[known].mean(), own[known].std() + 1e-9
        # Who is unknown to a block gets its mean risk: the others decide.
        inside[name] = np.where(known, (own - mean) / std, 0.0)
        outside[name] = np.where(asked_known, (other - mean) / std, 0.0)
    return BlockRisks(inside, outside)


def stacked(risks: BlockRisks, train: Patients, *, clinical: bool = True) -> Teacher | None:
    """The teacher: a last Cox ridge weighs the blocks; without `clinical`, genes alone.

    None where no block is left.
    """
    names = [name for name in risks.inside if clinical or name != CLINICAL]
    if not names:
        return None
    inside = np.stack([risks.inside[name] for name in names], axis=1)
    outside = np.stack([risks.outside[name] for name in names], axis=1)
    weigh = cox_ridge(inside, train, STACK_PENALTY)
    return Teacher(weigh(inside), weigh(outside))


def cox_ridge(values: Floats, patients: Patients, penalty: float) -> Model:
    """Cox regression with a ridge of `penalty` per death (Breslow ties): values [P, C] to risk."""
    event = patients.event.numpy() > 0
    outcome = Surv.from_arrays(event, patients.time.numpy().astype(float))
    model = CoxPHSurvivalAnalysis(alpha=penalty * event.sum(), ties="breslow")
    model.fit(values, outcome)

    def risk(asked: Floats) -> Floats:
        found: Floats = model.predict(asked)
        return found

    return risk


def out_of_fold(
    learn: Callable[[NDArray[np.int64]], Model], values: Floats, patients: Patients, seed: int
) -> Floats:
    """[P] risk of each patient by a model that did not see them; folds even in deaths."""
    # Deaths alone: finer strata of a rare event would be smaller than the number of folds.
    strata = patients.event.numpy().astype(int)
    found = np.zeros(len(patients))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for rest, held in folds.split(values, strata):
        found[held] = learn(rest)(values[held])
    return found


def scaler(values: Floats) -> Model:
    """Standardizes columns by those of `values` [P, C], NaN allowed; 0 stands for unknown."""
    known = np.isfinite(values)
    kept = known.mean(axis=0) > KNOWN
    some = np.where(known, values, 0.0)[:, kept]
    count = known[:, kept].sum(axis=0)
    mean = some.sum(axis=0) / count
    std = np.sqrt((np.where(known[:, kept], some - mean, 0.0) ** 2).sum(axis=0) / count)
    varying = std > 1e-5

    def scaled(asked: Floats) -> Floats:
        z = (asked[:, kept][:, varying] - mean[varying]) / std[varying]
        clean: Floats = np.nan_to_num(np.clip(z, -CAP, CAP))
        return clean

    return scaled


def _blocks(patients: Patients) -> dict[str, Floats]:
    """What a teacher may see of the patients, by name; age stands in for a clinical block."""
    blocks = {name: _double(block) for name, block in patients.privileged.items()}
    if CLINICAL not in blocks:
        blocks[CLINICAL] = _double(patients.age.unsqueeze(1))
    if patients.genes.shape[1]:
        genes = _double(patients.genes)
        genes[~has_genes(patients.genes).numpy()] = np.nan
        blocks["genes"] = genes
    return dict(sorted(blocks.items()))


def _known(values: Floats) -> NDArray[np.bool_]:
    """[P] whether the block knows anything of the patient."""
    return np.asarray(np.isfinite(values).any(axis=1))


def _block_model(name: str, values: Floats, patients: Patients) -> Model:
    scale = scaler(values)
    table = scale(values)
    if table.shape[1] == 0:
        return lambda asked: np.zeros(len(asked))
    if name == CLINICAL:
        risk = cox_ridge(table, patients, CLINICAL_PENALTY)
        return lambda asked: risk(scale(asked))
    components = min(COMPONENTS, len(table) - 1, table.shape[1])
    # The principal components by the matrix of patients, which is smaller than that of columns.
    axes = KernelPCA(components, kernel="linear", eigen_solver="dense").fit(table)
    risk = cox_ridge(axes.transform(table), patients, GENE_PENALTY)
    return lambda asked: risk(axes.transform(scale(asked)))


def _double(values: Tensor) -> Floats:
    table: Floats = values.numpy().astype(np.float64)
    return table
