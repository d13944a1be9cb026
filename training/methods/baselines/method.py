"""Baselines with one modality: mean pooling, ABMIL, CLAM-SB on slides; SNN on genes.

They take hazard logits or class logits from the same heads as the three methods, so that only the
network differs. Bags are padded: [B, N, D] with a mask [B, N].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from training.cohorts.cohort import Task
from training.errors import TrainingError
from training.learning.attention import GatedAttention
from training.learning.bags import Batch, on_instances
from training.learning.fitted import Fitted
from training.learning.heads import (
    ClassOutputs,
    SurvivalOutputs,
    outputs,
    student_outputs,
    task_loss,
)
from training.learning.journal import Journal
from training.learning.loop import Losses, Schedule
from training.learning.split import Split
from training.methods.baselines.reference import reference

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
        attention = self.attend.without_padding(embedded, mask)
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
        attention = self.attend.without_padding(embedded, mask)
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
    """Trains the baseline `name`; its role is its name.

    Raises TrainingError for the genomic network where the cohort has no genes.
    """
    if name == "snn":
        return _snn(split, settings, seed, journal)
    task = split.task
    torch.manual_seed(seed)
    network = NETWORKS[name](split.width, outputs(task), settings)
    found = reference(
        name,
        network,
        partial(_logits, network),
        split,
        Schedule(settings.epochs, settings.lr, settings.weight_decay),
        seed=seed,
        journal=journal,
        losses=(
            partial(_clam_losses, network, task, settings) if isinstance(network, ClamSb) else None
        ),
    )
    return replace(found, student=Student(network, task).eval(), student_role=name)


def _clam_losses(network: ClamSb, task: Task, settings: Settings, batch: Batch) -> Losses:
    logits, attention, _, embedded = network.parts(batch.bags, batch.mask)
    loss = task_loss(task, logits, batch)
    classes = batch.bin if task.kind == "survival" else batch.label
    instance = network.instance_loss(attention, embedded, batch.mask, classes, settings.instances)
    share = settings.instance_weight
    return {"total": (1 - share) * loss + share * instance, "instance": instance}


def _snn(split: Split, settings: Settings, seed: int, journal: Journal) -> Fitted:
    if split.train.genes.shape[1] == 0:
        raise TrainingError(
            f"cohort {split.cohort}: found no gene columns, expected some for method snn; "
            "build the cohort with an expression, copy-number or mutation table"
        )
    split = split.profiled()
    torch.manual_seed(seed)
    network = Snn(split.train.genes.shape[1], outputs(split.task), settings)

    def answer(batch: Batch) -> Tensor:
        logits: Tensor = network(batch.genes)
        return logits

    def losses(batch: Batch) -> Losses:
        loss = task_loss(split.task, answer(batch), batch)
        return {"total": loss + settings.l1 * network.l1(), "task": loss}

    schedule = Schedule(settings.epochs, settings.lr, settings.weight_decay)
    return reference(
        "snn", network, answer, split, schedule, seed=seed, journal=journal, losses=losses
    )


def _logits(network: nn.Module, batch: Batch) -> Tensor:
    logits: Tensor = network(batch.bags, batch.mask)[0]
    return logits
