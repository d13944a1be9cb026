"""The aggregator: gated attention over tiles and a discrete proportional-hazards head."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.first_student.encoder import FEATURES
from training.first_student.simulate import TIMES_MONTHS, Cohort

WIDTH = 64
_BATCH = 32


class Aggregator(nn.Module):  # type: ignore[misc]  # torch is not typed here
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

    def attention(self, embedded: Tensor, absent: Tensor | None = None) -> Tensor:
        """[..., N] weights that sum to 1; padded places, where `absent`, get 0."""
        gated = torch.tanh(self.content(embedded)) * torch.sigmoid(self.gate(embedded))
        scores = self.attend(gated).squeeze(-1)
        if absent is not None:
            scores = scores.masked_fill(absent, -1e9)
        return torch.softmax(scores, dim=-1)

    def risk(self, features: Tensor, absent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Risk [...] and attention [..., N] of features [..., N, D]."""
        embedded = torch.relu(self.embed(self.drop((features - self.mean) / self.scale)))
        attention = self.attention(embedded, absent)
        pooled = (attention.unsqueeze(-1) * embedded).sum(dim=-2)
        return self.score(pooled).squeeze(-1) - self.center, attention

    def survival(self, risk: Tensor) -> Tensor:
        """[..., 4] probability of living past each time."""
        return torch.exp(-torch.cumsum(torch.exp(self.base + risk.unsqueeze(-1)), dim=-1))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Risk [1], survival [4] and attention [N] of one slide's features [N, D]."""
        risk, attention = self.risk(features)
        return risk.reshape(1), self.survival(risk), attention


def negative_log_likelihood(
    survival: Tensor, interval: Tensor, event: Tensor, through: Tensor
) -> Tensor:
    """Mean discrete-time negative log likelihood of B slides.

    survival [B, 4]; interval [B] is the one in which death fell; `through` [B] counts intervals
    lived through entirely: a censored slide says nothing of the interval it left in.
    """
    alive = torch.cat([torch.ones_like(survival[:, :1]), survival], dim=1).clamp(min=1e-7)
    rows = torch.arange(len(survival))
    died = (alive[rows, interval] - alive[rows, interval + 1]).clamp(min=1e-7)
    lived = alive[rows, through]
    return -torch.where(event, torch.log(died), torch.log(lived)).mean()


def fitted(cohort: Cohort, epochs: int, seed: int) -> Aggregator:
    """An aggregator trained on simulated slides; risk is centered on their mean."""
    torch.manual_seed(seed)
    features = torch.from_numpy(cohort.features)
    tiles = torch.from_numpy(cohort.tiles)
    interval, event, through = _outcomes(cohort)
    present = torch.arange(features.shape[1]) < tiles.unsqueeze(1)
    pool = features[present]
    # One scale for all axes: the weak ones stay weak, or the model learns the training tiles.
    model = Aggregator(pool.mean(dim=0), pool.std(dim=0).square().mean().sqrt())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
    for _ in range(epochs):
        for rows in torch.randperm(len(features)).split(_BATCH):
            risk, _ = model.risk(features[rows], ~present[rows])
            loss = negative_log_likelihood(
                model.survival(risk), interval[rows], event[rows], through[rows]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    _centered(model, features, present)
    return model


def risks(model: Aggregator, cohort: Cohort) -> NDArray[np.float64]:
    """[B] risk of each simulated slide."""
    with torch.inference_mode():
        return np.array(
            [
                model(torch.from_numpy(bag[:count]))[0].item()
                for bag, count in zip(cohort.features, cohort.tiles, strict=True)
            ]
        )


def _centered(model: Aggregator, features: Tensor, present: Tensor) -> None:
    with torch.no_grad():
        mean = model.risk(features, ~present)[0].mean()
        model.center += mean
        model.base += mean


def _outcomes(cohort: Cohort) -> tuple[Tensor, Tensor, Tensor]:
    """Interval of death, death seen within the last time, intervals lived through."""
    through = np.searchsorted(TIMES_MONTHS, cohort.months, side="right")
    event = (cohort.event > 0.5) & (through < len(TIMES_MONTHS))
    interval = np.minimum(through, len(TIMES_MONTHS) - 1)
    return torch.from_numpy(interval), torch.from_numpy(event), torch.from_numpy(through)
