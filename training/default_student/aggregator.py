"""The aggregator, its teacher, and what the teacher teaches it.

Teacher: the same network, which also sees the pseudo-bulk expression of the bag. Student: pixels
only; two privileged heads (the teacher's out-of-fold risk; the expression itself) shape what it
pools and are not exported, as in G-HANet's reconstruction. Twin: the student without these heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.default_student.encoder import FEATURES
from training.default_student.expression import PROGRAMS
from training.default_student.simulate import TIMES_MONTHS, Cohort
from training.learning.losses import reconstruction
from training.learning.survival import nll

WIDTH = 64
TAUGHT, RECONSTRUCTED = 0.5, 0.3
"""Weights of the privileged heads beside the weight 1 of the likelihood."""
_BATCH = 32


class Aggregator(nn.Module):
    """Gated attention MIL (Ilse, Tomczak and Welling 2018); cost is linear in the tiles.

    Survival follows grouped proportional hazards: the hazard of interval j is
    1 - exp(-exp(base_j + risk)), so risk is the logarithm of a hazard ratio and orders every curve.
    """

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.register_buffer("center", torch.zeros(()))
        self.drop = nn.Dropout(0.2)
        self.embed = nn.Linear(FEATURES, WIDTH)
        self.gate = nn.Linear(WIDTH, WIDTH)
        self.content = nn.Linear(WIDTH, WIDTH)
        self.attend = nn.Linear(WIDTH, 1)
        self.score = nn.Linear(WIDTH, 1)
        self.base = nn.Parameter(torch.full((len(TIMES_MONTHS),), -1.5))
        self.informed = nn.Linear(len(PROGRAMS), 1)  # the teacher's
        self.taught = nn.Linear(WIDTH, 1)
        self.rebuilt = nn.Linear(WIDTH, len(PROGRAMS))

    def attention(self, embedded: Tensor, absent: Tensor | None = None) -> Tensor:
        """[..., N] weights that sum to 1; padded places, where `absent`, get 0."""
        gated = torch.tanh(self.content(embedded)) * torch.sigmoid(self.gate(embedded))
        scores = self.attend(gated).squeeze(-1)
        if absent is not None:
            scores = scores.masked_fill(absent, -1e9)
        return torch.softmax(scores, dim=-1)

    def pooled(self, features: Tensor, absent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pooled [..., 64] and attention [..., N] of features [..., N, D]."""
        embedded = torch.relu(self.embed(self.drop((features - self.mean) / self.scale)))
        attention = self.attention(embedded, absent)
        return (attention.unsqueeze(-1) * embedded).sum(dim=-2), attention

    def risk(self, pooled: Tensor) -> Tensor:
        """[...] risk of pooled slides."""
        return self.score(pooled).squeeze(-1) - self.center

    def logits(self, risk: Tensor) -> Tensor:
        """[..., 4] logits of the hazards, as training.learning.survival takes them."""
        cumulative = torch.exp(self.base + risk.unsqueeze(-1))
        return cumulative + torch.log(-torch.expm1(-cumulative))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Risk [1], survival [4] and attention [N] of one slide's features [N, D]."""
        pooled, attention = self.pooled(features)
        risk = self.risk(pooled)
        survival = torch.exp(-torch.cumsum(torch.exp(self.base + risk.unsqueeze(-1)), dim=-1))
        return risk.reshape(1), survival, attention


@dataclass(frozen=True)
class Lesson:
    """What the student learns beside the outcomes, of B slides; NaN where nothing is known."""

    risk: Tensor
    """[B] the teacher's risk out of fold, standardized."""
    bulk: Tensor
    """[B, 6] expression, standardized."""


def student(slides: Cohort, epochs: int, seed: int, lesson: Lesson | None) -> Aggregator:
    """The student taught by the lesson, or its undistilled twin without one; risk is centered."""
    model = _new(slides, seed)

    def loss(rows: Tensor, absent: Tensor) -> Tensor:
        pooled, _ = model.pooled(features[rows], absent)
        total = nll(model.logits(model.risk(pooled)), bins[rows], event[rows])
        return total if lesson is None else total + _privileged(model, pooled, lesson, rows)

    features, (bins, event) = torch.from_numpy(slides.features), outcomes(slides)
    _optimize(model, slides, epochs, loss)
    with torch.no_grad():
        mean = model.risk(model.pooled(features, _absent(slides))[0]).mean()
        model.center += mean
        model.base += mean
    return model


def lesson(slides: Cohort, epochs: int, seed: int) -> Lesson:
    """The teacher's answers, each by a teacher that saw no slide of the same section."""
    bulk = _standard(torch.from_numpy(slides.bulk))
    answers = torch.full((len(slides.tiles),), torch.nan)
    for unit in np.unique(slides.unit[slides.paired]):
        held = slides.unit == unit
        fitting = slides.paired & ~held
        model = _teacher(slides.rows(fitting), bulk[fitting], epochs, seed)
        answers[held] = _informed_risk(model, slides.rows(held), bulk[held])
    return Lesson(_standard(answers.unsqueeze(1)).squeeze(1), bulk)


def teacher_risk(slides: Cohort, held: Cohort, epochs: int, seed: int) -> NDArray[np.float64]:
    """[B] risk of the paired slides of `held` by the teacher of all paired slides of `slides`.

    The expression of the held-out slides is standardized by that of the training slides.
    """
    known, asked = slides.rows(slides.paired), held.rows(held.paired)
    reference = torch.from_numpy(known.bulk)
    model = _teacher(known, _standard(reference), epochs, seed)
    bulk = _standard(torch.from_numpy(asked.bulk), reference)
    risk: NDArray[np.float64] = _informed_risk(model, asked, bulk).double().numpy()
    return risk


def risks(model: Aggregator, slides: Cohort) -> NDArray[np.float64]:
    """[B] risk of each simulated slide by a student."""
    with torch.inference_mode():
        pooled, _ = model.pooled(torch.from_numpy(slides.features), _absent(slides))
        risk: NDArray[np.float64] = model.risk(pooled).double().numpy()
    return risk


def told_risk(model: Aggregator, slides: Cohort) -> NDArray[np.float64]:
    """[B] the teacher's risk as the student's privileged head guesses it from pixels."""
    with torch.inference_mode():
        pooled, _ = model.pooled(torch.from_numpy(slides.features), _absent(slides))
        guess: NDArray[np.float64] = model.taught(pooled).squeeze(-1).double().numpy()
    return guess


def outcomes(slides: Cohort) -> tuple[Tensor, Tensor]:
    """Bin [B] and event [B] as training.learning.survival.nll takes them.

    The censored count for the last interval they lived through entirely (their first visit is at
    12 months, so there is one); so do deaths after the last time.
    """
    through = np.searchsorted(TIMES_MONTHS, slides.months, side="right")
    event = (slides.event > 0.5) & (through < len(TIMES_MONTHS))
    bins = np.where(event, through, through - 1)
    return torch.from_numpy(bins.astype(np.int64)), torch.from_numpy(event.astype(np.float32))


def _privileged(model: Aggregator, pooled: Tensor, lesson: Lesson, rows: Tensor) -> Tensor:
    known = ~torch.isnan(lesson.risk[rows])
    if not known.any():
        return pooled.new_zeros(())
    told = model.taught(pooled[known]).squeeze(-1) - lesson.risk[rows][known]
    rebuilt = reconstruction(model.rebuilt(pooled[known]), lesson.bulk[rows][known])
    return TAUGHT * told.square().mean() + RECONSTRUCTED * rebuilt


def _teacher(slides: Cohort, bulk: Tensor, epochs: int, seed: int) -> Aggregator:
    model = _new(slides, seed)
    features, (bins, event) = torch.from_numpy(slides.features), outcomes(slides)

    def loss(rows: Tensor, absent: Tensor) -> Tensor:
        pooled, _ = model.pooled(features[rows], absent)
        risk = model.risk(pooled) + model.informed(bulk[rows]).squeeze(-1)
        return nll(model.logits(risk), bins[rows], event[rows])

    _optimize(model, slides, epochs, loss)
    return model


def _informed_risk(model: Aggregator, slides: Cohort, bulk: Tensor) -> Tensor:
    with torch.no_grad():
        pooled, _ = model.pooled(torch.from_numpy(slides.features), _absent(slides))
        return model.risk(pooled) + model.informed(bulk).squeeze(-1)


def _new(slides: Cohort, seed: int) -> Aggregator:
    torch.manual_seed(seed)
    pool = torch.from_numpy(slides.features)[~_absent(slides)]
    # One scale for all axes: the weak ones stay weak, or the model learns the training tiles.
    return Aggregator(pool.mean(dim=0), pool.std(dim=0).square().mean().sqrt())


def _optimize(
    model: Aggregator, slides: Cohort, epochs: int, loss: Callable[[Tensor, Tensor], Tensor]
) -> None:
    absent = _absent(slides)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
    for _ in range(epochs):
        for rows in torch.randperm(len(absent)).split(_BATCH):
            value = loss(rows, absent[rows])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    model.eval()


def _absent(slides: Cohort) -> Tensor:
    """[B, N] padded places."""
    return torch.arange(slides.features.shape[1]) >= torch.from_numpy(slides.tiles).unsqueeze(1)


def _standard(values: Tensor, reference: Tensor | None = None) -> Tensor:
    """[B, K] by the mean and deviation of the known rows of the reference."""
    rows = values if reference is None else reference
    known = rows[~torch.isnan(rows[:, 0])]
    std, mean = torch.std_mean(known, dim=0)
    return (values - mean) / std
