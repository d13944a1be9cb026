"""Baselines with one modality: mean pooling, ABMIL, CLAM-SB on slides; SNN on genes.

They take hazard logits or class logits from the same heads as the three methods, so that only the
network differs. Bags are padded: [B, N, D] with a mask [B, N].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from training.cohorts.cohort import Task
from training.errors import TrainingError
from training.learning.bags import Batch, on_instances
from training.learning.fitted import Fitted, Score
from training.learning.heads import (
    ClassOutputs,
    SurvivalOutputs,
    masked_softmax,
    outputs,
    student_outputs,
    task_loss,
)
from training.learning.journal import Journal
from training.learning.loop import Schedule
from training.learning.split import Split
from training.learning.trained import trained

Name = Literal["meanpool", "abmil", "clam", "snn"]


@dataclass(frozen=True)
class Settings:
    """Published settings of the MCAT code base: Adam, 20 epochs, windows of 32."""

    epochs: int = 20
    lr: float = 2e-4
    weight_decay: float = 1e-5
    dropout: float = 0.25
    hidden: int = 256
    l1: float = 1e-4
    """On the weights of the SNN."""
    instance_weight: float = 0.3
    """Share of CLAM's instance loss."""
    instances: int = 8
    """Instances CLAM takes from each end of the attention."""


class GatedAttention(nn.Module):
    """One attention score per instance (Ilse, Tomczak and Welling 2018)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.content = nn.Linear(width, hidden)
        self.gate = nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, instances: Tensor, mask: Tensor) -> Tensor:
        """[B, N] scores of instances [B, N, W], before the softmax."""
        return on_instances(self.scores, instances, mask).squeeze(-1)

    def scores(self, instances: Tensor) -> Tensor:
        """[M, 1] scores of instances [M, W]."""
        gated = torch.tanh(self.content(instances)) * torch.sigmoid(self.gate(instances))
        scores: Tensor = self.score(gated)
        return scores


class MeanPool(nn.Module):
    """The mean of the instances and a linear layer: the floor of every pooling."""

    def __init__(self, width: int, out: int, settings: Settings) -> None:
        super().__init__()
        self.head = nn.Linear(width, out)

    def forward(self, bags: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B, K], attention [B, N], embedding [B, D]."""
        attention = mask.float() / mask.sum(dim=1, keepdim=True)
        pooled = torch.einsum("bn,bnd->bd", attention, bags)
        return self.head(pooled), attention, pooled


class Abmil(nn.Module):
    """Attention-based multiple instance learning in its survival form."""

    def __init__(self, width: int, out: int, settings: Settings) -> None:
        super().__init__()
        hidden, drop = settings.hidden, nn.Dropout(settings.dropout)
        self.embed = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), drop)
        self.attend = GatedAttention(hidden, hidden)
        self.mix = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), drop)
        self.head = nn.Linear(hidden, out)

    def forward(self, bags: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B, K], attention [B, N], embedding [B, hidden]."""
        embedded = on_instances(self.embed, bags, mask)
        attention = masked_softmax(self.attend(embedded, mask), mask)
        pooled = self.mix(torch.einsum("bn,bnd->bd", attention, embedded))
        return self.head(pooled), attention, pooled


class ClamSb(nn.Module):
    """CLAM with a single attention branch (Lu et al. 2021)."""

    def __init__(self, width: int, out: int, settings: Settings) -> None:
        super().__init__()
        wide = 2 * settings.hidden
        self.embed = nn.Sequential(nn.Linear(width, wide), nn.ReLU(), nn.Dropout(settings.dropout))
        self.attend = GatedAttention(wide, settings.hidden)
        self.head = nn.Linear(wide, out)
        self.instance_heads = nn.ModuleList(nn.Linear(wide, 2) for _ in range(out))

    def forward(self, bags: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B, K], attention [B, N], embedding [B, 2 * hidden]."""
        logits, attention, pooled, _ = self.parts(bags, mask)
        return logits, attention, pooled

    def parts(self, bags: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The outputs of `forward` and the embedded instances [B, N, 2 * hidden]."""
        embedded = on_instances(self.embed, bags, mask)
        attention = masked_softmax(self.attend(embedded, mask), mask)
        pooled = torch.einsum("bn,bnd->bd", attention, embedded)
        return self.head(pooled), attention, pooled, embedded

    def instance_loss(
        self, attention: Tensor, embedded: Tensor, mask: Tensor, classes: Tensor, count: int
    ) -> Tensor:
        """The most attended instances should speak for the bag's class, the least against it.

        `classes` [B] are class labels, or time bins where the task is survival. A bag with fewer
        than two instances says nothing.
        """
        losses = []
        for at, bag in enumerate(mask):
            taken = min(count, int(bag.sum()) // 2)
            if taken == 0:
                continue
            order = attention[at, bag].argsort(descending=True)
            ends = torch.cat([order[:taken], order[-taken:]])
            sides = torch.tensor([1] * taken + [0] * taken)
            logits = self.instance_heads[int(classes[at])](embedded[at, bag][ends])
            losses.append(cross_entropy(logits, sides))
        return torch.stack(losses).mean() if losses else attention.sum() * 0.0


class Snn(nn.Module):
    """Self-normalizing network on all genes (Klambauer et al. 2017)."""

    def __init__(self, genes: int, out: int, settings: Settings) -> None:
        super().__init__()
        widths = [genes] + [settings.hidden] * 4
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(a, b), nn.ELU(), nn.AlphaDropout(settings.dropout))
                for a, b in pairwise(widths)
            )
        )
        self.head = nn.Linear(settings.hidden, out)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
                nn.init.zeros_(layer.bias)

    def forward(self, genes: Tensor) -> Tensor:
        """Logits [B, K] of genes [B, G]."""
        logits: Tensor = self.head(self.layers(genes))
        return logits

    def l1(self) -> Tensor:
        """Sum of the absolute weights."""
        return torch.stack([p.abs().sum() for p in self.parameters()]).sum()


class Student(nn.Module):
    """One slide through a slide network: features [N, D] to named outputs."""

    def __init__(self, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.network = network
        self.task = task

    def forward(self, features: Tensor) -> SurvivalOutputs | ClassOutputs:
        """Features [N, D] of all tiles of a slide."""
        everything = torch.ones_like(features[:, 0], dtype=torch.bool).unsqueeze(0)
        logits, attention, embedding = self.network(features.unsqueeze(0), everything)
        return student_outputs(self.task, logits[0], attention[0], embedding[0])


NETWORKS: dict[str, type[MeanPool] | type[Abmil] | type[ClamSb]] = {
    "meanpool": MeanPool,
    "abmil": Abmil,
    "clam": ClamSb,
}


def fit(name: Name, split: Split, settings: Settings, seed: int, journal: Journal) -> Fitted:
    """Trains the baseline `name`; its role is its name."""
    torch.manual_seed(seed)
    if name == "snn":
        scores, _ = snn(split, settings, seed, journal)
        return Fitted({(name, rule): score for rule, score in scores.items()})
    scores, network = slide_network(name, split, settings, seed, journal)
    return Fitted(
        {(name, rule): score for rule, score in scores.items()},
        student=Student(network, split.task).eval(),
        facts={"parameters": float(sum(p.numel() for p in network.parameters()))},
    )


def slide_network(
    name: Name, split: Split, settings: Settings, seed: int, journal: Journal
) -> tuple[dict[str, Score], nn.Module]:
    """Scores of the outer fold under both rules, and the network at the inner epoch."""
    task = split.task
    torch.manual_seed(seed)
    network = NETWORKS[name](split.width, outputs(task), settings)

    def losses(batch: Batch) -> dict[str, Tensor]:
        if not isinstance(network, ClamSb):
            return {"total": task_loss(task, _logits(network, batch), batch)}
        logits, attention, _, embedded = network.parts(batch.bags, batch.mask)
        loss = task_loss(task, logits, batch)
        classes = batch.bin if task.kind == "survival" else batch.label
        instance = network.instance_loss(
            attention, embedded, batch.mask, classes, settings.instances
        )
        share = settings.instance_weight
        return {"total": (1 - share) * loss + share * instance, "instance": instance}

    scores = trained(
        name,
        network,
        losses,
        partial(_logits, network),
        split,
        Schedule(settings.epochs, settings.lr, settings.weight_decay),
        seed=seed,
        journal=journal,
    )
    return scores, network


def snn(
    split: Split, settings: Settings, seed: int, journal: Journal
) -> tuple[dict[str, Score], nn.Module]:
    """The genomic network; raises TrainingError where the cohort has no genes."""
    if split.train.genes.shape[1] == 0:
        raise TrainingError(
            f"cohort {split.cohort}: found no gene columns, expected some for method snn; "
            "build the cohort with an expression, copy-number or mutation table"
        )
    torch.manual_seed(seed)
    network = Snn(split.train.genes.shape[1], outputs(split.task), settings)

    def losses(batch: Batch) -> dict[str, Tensor]:
        loss = task_loss(split.task, network(batch.genes), batch)
        return {"total": loss + settings.l1 * network.l1(), "task": loss}

    def answer(batch: Batch) -> Tensor:
        logits: Tensor = network(batch.genes)
        return logits

    schedule = Schedule(settings.epochs, settings.lr, settings.weight_decay)
    scores = trained("snn", network, losses, answer, split, schedule, seed=seed, journal=journal)
    return scores, network


def _logits(network: nn.Module, batch: Batch) -> Tensor:
    logits: Tensor = network(batch.bags, batch.mask)[0]
    return logits
