"""A network's scores of the outer fold under both rules, and the usual way to get them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from training.learning.bags import Batch
from training.learning.fitted import Score, predict
from training.learning.heads import inner_judge, task_score
from training.learning.journal import Journal
from training.learning.loop import Schedule, States, train
from training.learning.split import Split


def both_rules(
    role: str,
    network: nn.Module,
    states: States,
    answer: Callable[[Batch], Tensor],
    split: Split,
) -> dict[tuple[str, str], Score]:
    """Scores of the outer fold by (role, rule): "last", and "inner", the epoch that was chosen.

    `answer` gives the logits [B, K] of a batch. `network` ends as "inner" chose.
    """
    scores = {}
    for rule, state in (("last", states.last), ("inner", states.best)):
        network.load_state_dict(state)
        scores[role, rule] = task_score(split.task, predict(network, answer, split.test))
    return scores


def trained(
    role: str,
    network: nn.Module,
    losses: Callable[[Batch], dict[str, Tensor]],
    answer: Callable[[Batch], Tensor],
    split: Split,
    schedule: Schedule,
    *,
    seed: int,
    journal: Journal,
) -> dict[tuple[str, str], Score]:
    """Trains on the inner part, in a phase called `role`; what `both_rules` says of it.

    `answer` gives the logits [B, K] of a batch, `losses` what is minimized ("total") and logged.
    """
    states = train(
        role,
        network,
        losses,
        split.train,
        schedule,
        seed=seed,
        journal=journal,
        judge=inner_judge(split.task, network, answer, split.valid),
    )
    return both_rules(role, network, states, answer, split)
