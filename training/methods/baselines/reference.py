"""How every network that others are measured against is fitted."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from training.learning.bags import Batch
from training.learning.fitted import Fitted
from training.learning.heads import task_loss
from training.learning.journal import Journal
from training.learning.loop import Losses, Schedule
from training.learning.split import Split
from training.learning.trained import trained


def reference(
    name: str,
    network: nn.Module,
    answer: Callable[[Batch], Tensor],
    split: Split,
    schedule: Schedule,
    *,
    seed: int,
    journal: Journal,
    losses: Callable[[Batch], Losses] | None = None,
) -> Fitted:
    """`network` trained for the task alone, its role called `name`; without a student.

    `answer` gives the logits [B, K] of a batch; `losses` says more than the loss of the task.
    """

    def task(batch: Batch) -> Losses:
        return {"total": task_loss(split.task, answer(batch), batch)}

    return Fitted(
        trained(name, network, losses or task, answer, split, schedule, seed=seed, journal=journal),
        facts={"parameters": float(sum(p.numel() for p in network.parameters()))},
    )
