"""Which genes the genomic networks of MKD see: the top by univariate Cox p-value, in rank order."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2
from torch import Tensor

from training.errors import TrainingError
from training.learning.bags import Patients, has_genes

SUFFIXES = {"rna": "_rnaseq", "cnv": "_cnv"}

Floats = NDArray[np.float64]


def cox_p_values(genes: Floats, time: Floats, event: Floats) -> Floats:
    """p [G] of the score test of a Cox model with one gene at a time; genes [P, G].

    The score test needs no fit: with Breslow's ties it is (sum over deaths of gene minus mean of
    the risk set)^2 over the summed variances of the risk sets. It ranks as the Wald test does,
    for all genes at once. A constant gene gets p = 1.
    """
    order = np.argsort(-time, kind="stable")
    genes, time, event = genes[order], time[order], event[order]
    at_risk = np.searchsorted(-time, -time, side="right")  # everyone who lived at least as long
    first = np.cumsum(genes, axis=0)[at_risk - 1] / at_risk[:, None]
    second = np.cumsum(genes**2, axis=0)[at_risk - 1] / at_risk[:, None]
    died = event == 1
    score = (genes - first)[died].sum(axis=0)
    variance = (second - first**2)[died].sum(axis=0)
    varies = variance > 1e-9 * max(1, len(genes))
    statistic = np.where(varies, score**2 / np.where(varies, variance, 1.0), 0.0)
    p: Floats = chi2.sf(statistic, df=1)
    return p


def ranked_columns(
    patients: Patients, columns: tuple[str, ...], omic: str, *, token: int, limit: int
) -> Tensor:
    """int64 [K]: positions of the best genes of `omic`, best first; K a multiple of `token`.

    Ranked by Cox p-value against overall survival on `patients`, which must be inner-training
    patients, those with genes and a follow-up. K is at most `limit` and what the cohort has;
    Python's sort keeps the column order among equal p-values.
    """
    here = [i for i, name in enumerate(columns) if name.endswith(SUFFIXES[omic])]
    count = min(limit, len(here)) // token * token
    if count == 0:
        raise TrainingError(
            f"found {len(here)} {omic} genes (columns ending in {SUFFIXES[omic]}, at most {limit} "
            f"wanted), expected one token of {token}; set a smaller token"
        )
    known = has_genes(patients.genes) & torch.isfinite(patients.time) & (patients.time >= 0)
    if float(patients.event[known].sum()) < 2:
        raise TrainingError(
            f"found {int(patients.event[known].sum())} deaths among {int(known.sum())} training "
            "patients with genes and follow-up, expected at least 2 to rank genes by survival; "
            "add outcome columns to the cohort"
        )
    p = cox_p_values(
        patients.genes[known][:, here].double().numpy(),
        patients.time[known].double().numpy(),
        patients.event[known].double().numpy(),
    )
    ranked = sorted(range(len(here)), key=lambda i: p[i])[:count]
    return torch.tensor([here[i] for i in ranked])
