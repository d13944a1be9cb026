"""Baselines with both modalities: MCAT and late fusion. Neither runs on a slide alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.errors import TrainingError
from training.learning.attention import GatedAttention
from training.learning.bags import Batch, on_instances
from training.learning.fitted import Fitted, Score
from training.learning.heads import outputs
from training.learning.journal import Journal
from training.learning.loop import Schedule
from training.learning.split import Split
from training.methods.baselines import method as baselines
from training.methods.baselines.reference import reference


@dataclass(frozen=True)
class Settings:
    """Published settings of MCAT (Chen et al. 2021)."""

    epochs: int = 20
    lr: float = 2e-4
    weight_decay: float = 1e-5
    dropout: float = 0.25
    width: int = 256


class Mcat(nn.Module):
    """Genes query the slide; both sets of six tokens pass a transformer and are pooled."""

    def __init__(self, width: int, groups: list[list[int]], out: int, settings: Settings) -> None:
        super().__init__()
        wide, drop = settings.width, settings.dropout
        self.groups = groups
        self.embed = nn.Sequential(nn.Linear(width, wide), nn.ReLU(), nn.Dropout(drop))
        self.genes = nn.ModuleList(
            nn.Sequential(
                nn.Linear(len(group), wide), nn.ELU(), nn.AlphaDropout(drop),
                nn.Linear(wide, wide), nn.ELU(), nn.AlphaDropout(drop),
            )
            for group in groups
        )  # fmt: skip
        self.attend = nn.MultiheadAttention(wide, 1, batch_first=True)
        self.mixers = nn.ModuleList(
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(wide, 8, 512, drop, batch_first=True),
                num_layers=2,
                enable_nested_tensor=False,
            )
            for _ in range(2)
        )
        self.pools = nn.ModuleList(GatedAttention(wide, wide) for _ in range(2))
        self.fuse = nn.Sequential(
            nn.Linear(2 * wide, wide), nn.ReLU(), nn.Linear(wide, wide), nn.ReLU()
        )
        self.head = nn.Linear(wide, out)

    def forward(self, bags: Tensor, mask: Tensor, genes: Tensor) -> Tensor:
        """Logits [B, K] of bags [B, N, D] and genes [B, G]."""
        patches = on_instances(self.embed, bags, mask)
        tokens = torch.stack(
            [net(genes[:, group]) for net, group in zip(self.genes, self.groups, strict=True)],
            dim=1,
        )
        seen, _ = self.attend(tokens, patches, patches, key_padding_mask=~mask, need_weights=False)
        pooled = []
        for part, mixer, pool in zip((seen, tokens), self.mixers, self.pools, strict=True):
            mixed = mixer(part)
            everything = torch.ones_like(mixed[..., 0], dtype=torch.bool)
            weights = pool.without_padding(mixed, everything)
            pooled.append(torch.einsum("bn,bnd->bd", weights, mixed))
        logits: Tensor = self.head(self.fuse(torch.cat(pooled, dim=1)))
        return logits


def fit_mcat(split: Split, settings: Settings, seed: int, journal: Journal) -> Fitted:
    """Trains MCAT on slides and genes, of patients that have both."""
    groups = [list(columns) for _, columns in split.genes.groups]
    if not groups:
        raise TrainingError(
            f"cohort {split.cohort}: found no column of the functional gene groups, expected "
            "some for method mcat; give a cohort with genes"
        )
    split = split.profiled()
    torch.manual_seed(seed)
    network = Mcat(split.width, groups, outputs(split.task), settings)

    def answer(batch: Batch) -> Tensor:
        logits: Tensor = network(batch.bags, batch.mask, batch.genes)
        return logits

    schedule = Schedule(settings.epochs, settings.lr, settings.weight_decay)
    return reference("mcat", network, answer, split, schedule, seed=seed, journal=journal)


def fit_late_fusion(
    split: Split, settings: baselines.Settings, seed: int, journal: Journal
) -> Fitted:
    """ABMIL on the slide and SNN on the genes, trained apart; the mean of what they say."""
    slides = baselines.fit("abmil", split, settings, seed, journal).scores
    genes = baselines.fit("snn", split, settings, seed, journal).scores
    fused = {
        ("late_fusion", rule): fuse(slides["abmil", rule], genes["snn", rule])
        for rule in ("inner", "last")
    }
    return Fitted(fused | slides | genes)


def fuse(first: Score, second: Score) -> Score:
    """The mean of two models: of standardized risks, of survival curves, of probabilities.

    Risks are standardized as patients outside the fold have them, not as those who are asked do.
    """
    if first.probability is not None and second.probability is not None:
        return Score(probability=(first.probability + second.probability) / 2)
    if first.risk is None or second.risk is None:
        raise TrainingError("late fusion: expected two risks or two sets of class probabilities")
    if first.scale is None or second.scale is None:
        raise TrainingError("late fusion: expected risks with the scale of their training patients")
    risks = [
        (risk - mean) / std
        for risk, (mean, std) in ((first.risk, first.scale), (second.risk, second.scale))
    ]
    curves = None
    if first.survival is not None and second.survival is not None:
        curves = (first.survival + second.survival) / 2
    return Score(risk=(risks[0] + risks[1]) / 2, survival=curves)
