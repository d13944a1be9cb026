"""Losses and gradient rules shared by the three methods; none of them knows a network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor

from training.errors import TrainingError

_NORM_FLOOR = 1e-12  # a norm below this is taken as this


def scaled_cosine_error(prediction: Tensor, target: Tensor) -> Tensor:
    """(1 - cosine)^3 of each sample [B], over the last axis of [B, G] (arXiv 2403.10040)."""
    cosine = (_unit(prediction) * _unit(target)).sum(dim=-1)
    return (1 - cosine) ** 3


def reconstruction(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over B samples of scaled cosine error plus mean squared error; both [B, G]."""
    squared = (prediction - target).square().mean(dim=-1)
    return (scaled_cosine_error(prediction, target) + squared).mean()


def distill_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) at temperature T, mean over B; logits [B, C].

    The teacher is detached (Hinton, Vinyals and Dean 2015).
    """
    teacher = functional.log_softmax(teacher_logits.detach() / temperature, dim=-1)
    student = functional.log_softmax(student_logits / temperature, dim=-1)
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def similarity_preserving(first: Tensor, second: Tensor) -> Tensor:
    """Squared difference of the row-normalized Gram matrices of [B, D] and [B, D'], over B^2.

    Tung and Mori 2019. Both sides get a gradient. B = 1 gives 0 always: no signal.
    """
    return (_gram(first) - _gram(second)).square().sum() / len(first) ** 2


def coral(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of the means plus that of the unbiased covariances; both [B, D].

    Sun and Saenko 2016, with the means added. Raises TrainingError for fewer than two samples.
    """
    _at_least_two(len(first), "CORAL")
    means = (first.mean(dim=0) - second.mean(dim=0)).square().mean()
    return means + (_covariance(first) - _covariance(second)).square().mean()


def orthogonality(features: Sequence[Tensor], *, per_sample: bool = False) -> Tensor:
    """One sixth of the summed |inner product| over all pairs of features [B, D]; arXiv 2508.17213.

    The released rule takes the absolute value of the batch mean, in which opposite signs cancel;
    `per_sample` takes it before the mean.
    """
    total = features[0].new_zeros(())
    for first, second in combinations(features, 2):
        products = (first * second).sum(dim=-1)
        total = total + (products.abs().mean() if per_sample else products.mean().abs())
    return total / 6


def inter_magnification(coarse: Tensor, fine: Tensor) -> Tensor:
    """1e4 x unbiased variance of the normalized agreement of two maps [B, ...] of one subspace.

    Each row of the B x B products is divided by its norm; the diagonal is the agreement of each
    sample with itself (arXiv 2508.16479). Raises TrainingError for fewer than two samples.
    """
    _at_least_two(len(coarse), "inter-magnification consistency")
    products = coarse.flatten(1) @ fine.flatten(1).T
    return 1e4 * _unit(products).diagonal().var(unbiased=True)


def head_consistency(coarse: Tensor, fine: Tensor) -> Tensor:
    """Squared difference, over B, of the head-averaged Gram matrices of maps [H, B, ...].

    arXiv 2508.16479; identical maps give 0.
    """
    difference = _gram(coarse.flatten(2)).mean(dim=0) - _gram(fine.flatten(2)).mean(dim=0)
    return difference.square().sum() / coarse.shape[1]


def subspace_confidence(features: Tensor, weight: Tensor, bias: Tensor, label: Tensor) -> Tensor:
    """Summed probability of the true class from one of two subspaces alone; arXiv 2508.16479.

    features [B, D], weight [C, D] of that subspace, the whole bias [C] (each takes half), label
    int64 [B]. The ratio of the two subspaces' values is the rho of `project_conflict`.
    """
    logits = features @ weight.T + bias / 2
    return torch.softmax(logits, dim=-1).gather(-1, label.unsqueeze(-1)).sum()


def project_conflict(
    first: Tensor,
    second: Tensor,
    rho: float,
    mode: Literal["projection", "release"] = "projection",
) -> tuple[Tensor, Tensor]:
    """The two gradients [..., D], the less confident one changed in rows where they conflict.

    A row conflicts where its inner product is negative. rho is the confidence of the first over
    that of the second: below 1 the first is changed, above 1 the second, at 1 neither.
    "projection" (Yu et al. 2020) removes the conflicting part; "release" is what the published
    code does: it reflects, and keeps the length of the projected vector.
    """
    if rho < 1:
        return _without_conflict(first, second, mode), second
    if rho > 1:
        return first, _without_conflict(second, first, mode)
    return first, second


def _without_conflict(gradient: Tensor, other: Tensor, mode: str) -> Tensor:
    product = (gradient * other).sum(dim=-1, keepdim=True)
    along = other * product / other.square().sum(dim=-1, keepdim=True).clamp(min=_NORM_FLOOR**2)
    changed = gradient - along
    if mode == "release":
        changed = _unit(gradient - 2 * along) * changed.norm(dim=-1, keepdim=True)
    return torch.where(product < 0, changed, gradient)


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors, dim=-1, eps=_NORM_FLOOR)


def _gram(features: Tensor) -> Tensor:
    return _unit(features @ features.transpose(-1, -2))


def _covariance(features: Tensor) -> Tensor:
    centered = features - features.mean(dim=0)
    return centered.T @ centered / (len(features) - 1)


def _at_least_two(samples: int, what: str) -> None:
    if samples < 2:
        raise TrainingError(
            f"found a batch of {samples}, expected at least 2 for {what}, use a larger window"
        )
