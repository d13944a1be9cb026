"""Discrete-time survival: time bins, hazards, likelihood, and the Cox partial likelihood.

EVENT is 1 where death was observed and 0 where the patient was censored, everywhere. A head gives
K = 4 logits; each is the logit of the hazard of its bin (Zadeh and Schmid 2020).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from training.errors import TrainingError

BINS = 4
_EPSILON = 1e-7  # probabilities are clamped here before their logarithm
_MARGIN = 1e-6  # the outer edges lie this far beyond the shortest and the longest time


def bin_edges(time: ArrayLike, event: ArrayLike) -> NDArray[np.float64]:
    """The 5 edges of 4 bins, in the unit of `time` [P]: quartiles of the observed deaths.

    Fit on training patients only. Raises TrainingError where the deaths do not give three
    different quartiles, or a time or event is no number.
    """
    times = np.asarray(time, dtype=np.float64)
    events = np.asarray(event, dtype=np.float64)
    if not np.isfinite(times).all() or not np.isin(events, (0, 1)).all():
        raise TrainingError(
            "found times or events that are missing or not 0/1, expected one finite time and one"
            " event per patient, drop these patients and count them"
        )
    deaths = times[events == 1]
    inner = np.quantile(deaths, np.arange(1, BINS) / BINS) if len(deaths) else np.zeros(BINS - 1)
    edges = np.concatenate([[times.min() - _MARGIN], inner, [times.max() + _MARGIN]])
    if (np.diff(edges) <= 0).any():
        raise TrainingError(
            f"found {len(deaths)} deaths with quartiles {inner.tolist()}, expected three that"
            " differ, use a cohort with more deaths"
        )
    return edges


def to_bins(time: ArrayLike, edges: ArrayLike) -> NDArray[np.int64]:
    """Bin 0..3 of every time [P] by the 5 edges; a time on an inner edge is in the upper bin.

    Times beyond the outer edges, of patients who were not in training, fall in the outer bins.
    """
    cuts = np.asarray(edges, dtype=np.float64)
    if cuts.shape != (BINS + 1,):
        raise TrainingError(
            f"found {cuts.size} bin edges, expected {BINS + 1}, put one below and one above the"
            f" {BINS - 1} inner edges"
        )
    times = np.asarray(time, dtype=np.float64)
    return np.searchsorted(cuts[1:-1], times, side="right").astype(np.int64)


def hazards(logits: Tensor) -> Tensor:
    """[..., K] probability of dying in each bin, given alive at its start."""
    return torch.sigmoid(logits)


def survival_curve(logits: Tensor) -> Tensor:
    """[..., K] probability S of living past the end of each bin, of logits [..., K].

    S = prod (1 - hazard) = exp(-cumsum softplus(logit)): no cancellation, and it exports to ONNX.
    """
    return torch.exp(-torch.cumsum(functional.softplus(logits), dim=-1))


def risk(logits: Tensor) -> Tensor:
    """[...] minus the expected number of bins survived, from -K to 0; higher is worse."""
    return -survival_curve(logits).sum(dim=-1)


def nll(
    logits: Tensor,
    bin: Tensor,
    event: Tensor,
    alpha: float = 0.0,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> Tensor:
    """Negative log likelihood of logits [B, K], time bins int64 [B] and events [B].

    A death in bin y costs -ln S(y-1) - ln hazard(y), a censoring -ln S(y): the censored are
    taken to have lived through their bin (as in MCAT). `alpha` weighs the censored down.
    """
    curve = functional.pad(survival_curve(logits), (1, 0), value=1.0)  # S(-1) = 1
    y = bin.unsqueeze(-1)
    lived_before = curve.gather(-1, y).squeeze(-1).clamp(min=_EPSILON).log()
    lived_through = curve.gather(-1, y + 1).squeeze(-1).clamp(min=_EPSILON).log()
    died = hazards(logits).gather(-1, y).squeeze(-1).clamp(min=_EPSILON).log()
    of_deaths = -event * (lived_before + died)
    of_censored = -(1 - event) * lived_through
    return _reduced(of_deaths + (1 - alpha) * of_censored, reduction)


def cox(risk: Tensor, time: Tensor, event: Tensor) -> Tensor:
    """Negative log partial likelihood per death, Breslow's form for ties; risk, time, event [B].

    The risk set of a death is everyone in the batch whose time is not shorter. Without a death
    the likelihood is 1: the loss is 0, with a gradient of 0.
    """
    at_risk = time.unsqueeze(0) >= time.unsqueeze(1)
    floor = torch.finfo(risk.dtype).min
    pooled = torch.where(at_risk, risk.unsqueeze(0), floor).logsumexp(dim=1)
    return (event * (pooled - risk)).sum() / event.sum().clamp(min=1)


def _reduced(values: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return values.mean()
    return values.sum() if reduction == "sum" else values
