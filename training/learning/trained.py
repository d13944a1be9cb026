"""One network, trained on the inner part and scored on the outer fold by both rules."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from training.learning.bags import Batch
from training.learning.fitted import Score, predict
from training.learning.heads import inner_judge, task_score
from training.learning.journal import Journal
from training.learning.loop import Schedule, train
from training.learning.split import Split


def trained(
    name: str,
    network: nn.Module,
    losses: Callable[[Batch], dict[str, Tensor]],
    answer: Callable[[Batch], Tensor],
    split: Split,
    schedule: Schedule,
    *,
    seed: int,
    journal: Journal,
) -> dict[str, Score]:
    """Scores of the outer fold by rule, "last" and "inner"; the network ends as "inner" chose.

    `answer` gives the logits [B, K] of a batch, `losses` what is minimized ("total") and logged.
    """
    states = train(
        name,
        network,
        losses,
        split.train,
        schedule,
        seed=seed,
        journal=journal,
        judge=inner_judge(split.task, network, answer, split.valid),
    )
    scores = {}
    for rule, state in (("last", states.last), ("inner", states.best)):
        network.load_state_dict(state)
        scores[rule] = task_score(split.task, predict(network, answer, split.test))
    return scores
