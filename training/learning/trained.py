"""A network's scores of the outer fold under both rules, and the usual way to get them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from training.learning.bags import Batch
from training.learning.calibrate import calibrated_score
from training.learning.fitted import Score, predict
from training.learning.heads import inner_judge
from training.learning.journal import Journal
from training.learning.loop import Schedule, States, train
from training.learning.split import Split


def both_rules(
    role: str,
    network: nn.Module,
    states: States,
    answer: Callable[[Batch], Tensor],
    split: Split,
    inner_answer: Callable[[Batch], Tensor] | None = None,
) -> dict[tuple[str, str], Score]:
    """Scores of the outer fold by (role, rule): "last", and "inner", the epoch that was chosen.

    `answer` gives the logits [B, K] of a batch of the outer fold, `inner_answer` those of the inner
    validation patients where that is another function. Percentages are calibrated on the latter, as
    those of the exported student are. `network` ends as "inner" chose.
    """
    scores = {}
    for rule, state in (("last", states.last), ("inner", states.best)):
        network.load_state_dict(state)
        asked = predict(network, answer, split.test)
        inner = predict(network, inner_answer or answer, split.valid)
        scores[role, rule] = calibrated_score(split.task, asked, inner, split.valid)
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
