"""The student of `moments` and `pooled`: one linear map of the mean and deviation of a bag."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from training.learning.bags import Patients
from training.learning.fitted import Floats
from training.learning.heads import ClassOutputs


def moments(patients: Patients) -> Floats:
    """[P, 2 D]: mean and standard deviation over the instances of each patient."""
    rows = []
    for bag in patients.bags:
        values = bag.double()
        rows.append(np.concatenate([values.mean(0).numpy(), values.std(0, correction=0).numpy()]))
    return np.stack(rows)


class MomentsStudent(nn.Module):
    """Features [N, D] of one slide to `ClassOutputs`; N is dynamic, attention is even."""

    def __init__(
        self, mean: Floats, std: Floats, weights: Floats, bias: Floats, cap: float | None
    ) -> None:
        """`mean` and `std` [2 D] of the training patients' moments, `weights` [2 D, K] of the
        standardized ones, cut at `cap` deviations, and `bias` [K], to log odds."""
        super().__init__()
        self.cap = cap
        for name, values in (("mean", mean), ("std", std), ("weights", weights), ("bias", bias)):
            self.register_buffer(name, torch.from_numpy(np.asarray(values)).float())

    def logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Log odds [K] of features [N, D], and the standardized moments [2 D]."""
        mean = features.mean(dim=0)
        std = (features - mean).square().mean(dim=0).sqrt()
        pooled = (torch.cat([mean, std]) - self.mean) / self.std
        if self.cap is not None:
            pooled = pooled.clamp(-self.cap, self.cap)
        return pooled @ self.weights + self.bias, pooled

    def forward(self, features: Tensor) -> ClassOutputs:
        """Features [N, D] of one slide."""
        logits, pooled = self.logits(features)
        everything = torch.ones_like(features[:, 0])
        return ClassOutputs(torch.softmax(logits, dim=0), everything / everything.sum(), pooled)

    def each(self, bags: Sequence[Tensor]) -> Floats:
        """Log odds [P, K] of P bags."""
        with torch.inference_mode():
            found: Floats = torch.stack([self.logits(bag)[0] for bag in bags]).double().numpy()
        return found
