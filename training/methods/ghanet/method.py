"""G-HANet (arXiv 2403.10040): survival from a slide, taught by the patient's genes.

There is no separate teacher: one network predicts hazards and reconstructs the selected genes of
six functional groups from the slide; at inference nothing genomic is needed. The twin is the same
network, seed and order of patients without the reconstruction; the null is the same network with
the genes of the training patients permuted. Equations: arXiv 2403.10040 and its code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from training.errors import TrainingError
from training.learning import survival
from training.learning.bags import Batch, has_genes
from training.learning.fitted import Fitted, Score
from training.learning.heads import inner_judge
from training.learning.journal import Journal
from training.learning.loop import Schedule, States, train
from training.learning.losses import reconstruction
from training.learning.split import Split
from training.learning.trained import both_rules
from training.methods.ghanet.genes import (
    Group,
    gene_correlations,
    permuted_genes,
    selected_groups,
)
from training.methods.ghanet.network import GHANet, Hyperedges, Widths


@dataclass(frozen=True)
class Settings:
    """Hyperparameters; the defaults are the published ones."""

    epochs: int = 20
    lr: float = 2e-4
    weight_decay: float = 1e-5
    window: int = 32
    """Patients per step; the mean over them is what the published code accumulates."""
    recon_weight: float = 0.3
    ratio: float = 0.2
    """Share of the instances in a genomic hyperedge."""
    hyperedges: str = "both"
    """"both", or "e1" (morphology) or "e2" (genomic) alone."""
    hidden: int = 512
    heads: int = 4
    dropout: float = 0.25
    max_patches_train: int = 0
    """Instances of a bag drawn anew for every step of training; 0 takes all."""
    p_value: float = 0.05
    at_least: int = 8
    """Columns kept of a group in which fewer pass the p-value."""
    twin: bool = True
    """Also train without reconstruction."""
    null: bool = False
    """Also train with the genes permuted among the training patients."""


class SlideOutputs(NamedTuple):
    """What the student says of one slide with T gene groups; fields of SurvivalOutputs first."""

    risk: Tensor
    """[1], in [-4, 0], higher is worse."""
    survival: Tensor
    """[4] probability of living past the end of each time bin."""
    attention: Tensor
    """[N]: e1, morphology, sums to 1."""
    embedding: Tensor
    """[T * 256]: what the hazards are computed from."""
    group_attention: Tensor
    """[T, N]: A, the mean of e1 and the group's genomic hyperedge; rows sum to 1."""
    expression: Tensor
    """[T] mean predicted z-score of each group's selected columns."""


class SlideStudent(nn.Module):
    """The trained network for one slide: features [N, D] in, `SlideOutputs` out."""

    def __init__(self, network: GHANet, groups: tuple[Group, ...]) -> None:
        super().__init__()
        self.network = network
        self.groups = groups
        """Which columns the heads predict, in order: the mask of the gene selection."""

    def forward(self, features: Tensor) -> SlideOutputs:
        """No branch depends on the data; N is dynamic."""
        mask = torch.ones_like(features[:, 0], dtype=torch.bool).unsqueeze(0)
        answer = self.network.slides(self.network.instances(features.unsqueeze(0)), mask)
        expression = [genes.mean(dim=1) for genes in self.network.genes(answer.groups)]
        return SlideOutputs(
            survival.risk(answer.logits),
            survival.survival_curve(answer.logits)[0],
            answer.attention[0],
            answer.embedding[0],
            answer.group_attention[0],
            torch.cat(expression),
        )


def fit(split: Split, settings: Settings, seed: int, journal: Journal) -> Fitted:
    """Trains student, twin and null, and scores the outer fold with each.

    The student holds the weights of the epoch inner validation chose, by likelihood
    (`heads.inner_judge` says why). Raises TrainingError for a task that is not survival, for a
    cohort without gene columns and for settings out of range.
    """
    _require_possible(split, settings)
    groups = selected_groups(split, p_value=settings.p_value, at_least=settings.at_least)
    scores: dict[tuple[str, str], Score] = {}
    facts: dict[str, float] = {f"columns/{group.name}": len(group.columns) for group in groups}
    wanted = {"null": settings.null, "twin": settings.twin, "student": True}
    for role in (role for role, on in wanted.items() if on):
        network, states = _trained(role, split, groups, settings, seed, journal)
        facts[f"best_epoch/{role}"] = states.best_epoch
        scores |= both_rules(role, network, states, hazard_logits(network), split)
    facts |= gene_correlations(network, groups, split.test)  # of the student, trained last
    facts["parameters"] = sum(weight.numel() for weight in network.parameters())
    return Fitted(scores, SlideStudent(network, groups).eval(), facts)


def build(width: int, groups: tuple[Group, ...], settings: Settings) -> GHANet:
    """An untrained network for features of `width`; inner widths scale with `hidden`."""
    widths = Widths(
        features=width,
        hidden=settings.hidden,
        heads=settings.heads,
        feed_forward=4 * settings.hidden,
        gate=settings.hidden // 2,
        squeezed=settings.hidden // 2,
        dropout=settings.dropout,
        kept=Fraction(str(settings.ratio)),  # 0.2 is one fifth, not the float above it
        hyperedges=cast("Hyperedges", settings.hyperedges),  # checked by _require_possible
    )
    return GHANet(widths, tuple(len(group.columns) for group in groups))


def losses_of(
    network: GHANet, groups: tuple[Group, ...], recon_weight: float
) -> Callable[[Batch], dict[str, Tensor]]:
    """L = NLL + weight * sum over groups of reconstruction (arXiv 2403.10040); means over B.

    Patients who were not profiled add nothing to the reconstruction.
    """
    positions = [torch.tensor(group.positions) for group in groups]

    def losses(batch: Batch) -> dict[str, Tensor]:
        answer = network(batch.bags, batch.mask)
        nll = survival.nll(answer.logits, batch.bin, batch.event)
        known = has_genes(batch.genes)
        if recon_weight == 0 or not known.any():
            return {"total": nll, "nll": nll}
        predicted, truth = network.genes(answer.groups[known]), batch.genes[known]
        each = [
            reconstruction(genes, truth[:, at])
            for genes, at in zip(predicted, positions, strict=True)
        ]
        recon = torch.stack(each).sum() * known.float().mean()
        return {"total": nll + recon_weight * recon, "nll": nll, "reconstruction": recon}

    return losses


def hazard_logits(network: GHANet) -> Callable[[Batch], Tensor]:
    """The network's answer: logits [B, 4]."""
    return lambda batch: network(batch.bags, batch.mask).logits


def _trained(
    role: str,
    split: Split,
    groups: tuple[Group, ...],
    settings: Settings,
    seed: int,
    journal: Journal,
) -> tuple[GHANet, States]:
    """A network trained as student, twin or null; all three start from the same weights."""
    torch.manual_seed(seed)
    network = build(split.width, groups, settings)
    patients = permuted_genes(split.train, seed) if role == "null" else split.train
    schedule = Schedule(
        epochs=settings.epochs,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        window=settings.window,
        max_instances=settings.max_patches_train,
    )
    states = train(
        role,
        network,
        losses_of(network, groups, 0 if role == "twin" else settings.recon_weight),
        patients,
        schedule,
        seed=seed,
        journal=journal,
        judge=inner_judge(split.task, network, hazard_logits(network), split.valid),
    )
    return network, states


def _require_possible(split: Split, settings: Settings) -> None:
    if split.task.kind != "survival":
        raise TrainingError(
            f"found task {split.task.name}, expected survival: G-HANet predicts hazards; use"
            " disentangled or mkd for classes"
        )
    if not split.genes.groups:
        raise TrainingError(
            f"found no gene columns of a functional group in cohort {split.cohort}, expected some"
            " to reconstruct: add genes, or use a baseline such as abmil"
        )
    if settings.hyperedges not in ("both", "e1", "e2"):
        raise TrainingError(
            f'found hyperedges "{settings.hyperedges}", expected "both", "e1" or "e2"'
        )
    if not 0 < settings.ratio <= 1 or settings.hidden % settings.heads:
        raise TrainingError(
            f"found ratio {settings.ratio}, hidden {settings.hidden} and {settings.heads} heads,"
            " expected a ratio in (0, 1] and a hidden width that the heads divide"
        )
