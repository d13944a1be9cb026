"""The genes of G-HANet: which it reconstructs, how its null permutes them, how well it did."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from training.cohorts.genes import select
from training.learning.bags import Batch, Patients, has_genes
from training.learning.fitted import predict
from training.learning.split import Split
from training.methods.ghanet.network import GHANet


class Group(NamedTuple):
    """The selected columns of one functional group."""

    name: str
    positions: tuple[int, ...]
    columns: tuple[str, ...]


def selected_groups(split: Split, *, p_value: float, at_least: int) -> tuple[Group, ...]:
    """The columns each head reconstructs, chosen on inner training patients, each counted once.

    The published code tests on its resampled loader, in which repeats inflate significance.
    """
    known, names = profiled(split.train), split.genes.columns
    found = []
    for name, positions in split.genes.groups:
        kept = select(
            known.genes.numpy(),
            known.event.numpy(),
            known.bin.numpy(),
            positions,
            p=p_value,
            at_least=at_least,
        ).tolist()
        found.append(Group(name, tuple(kept), tuple(names[at] for at in kept)))
    return tuple(found)


def profiled(patients: Patients) -> Patients:
    """Those whose genes were measured."""
    return patients.subset(has_genes(patients.genes).nonzero().squeeze(1))


def permuted_genes(patients: Patients, seed: int) -> Patients:
    """The patients, each with the genes of another; which columns were selected stays."""
    order = torch.randperm(len(patients), generator=torch.Generator().manual_seed(seed))
    return replace(patients, genes=patients.genes[order])


def gene_correlations(
    network: GHANet, groups: tuple[Group, ...], patients: Patients
) -> dict[str, float]:
    """Mean over columns of Pearson's r of predicted and true z-score, overall and by group.

    Columns that do not vary among the profiled patients have no r and are left out of the mean;
    with fewer than three such patients there is nothing to say.
    """
    known = profiled(patients)
    if len(known) < 3:
        return {}

    def answer(batch: Batch) -> Tensor:
        return torch.cat(network.genes(network(batch.bags, batch.mask).groups), dim=1)

    at = [position for group in groups for position in group.positions]
    truth = pd.DataFrame(known.genes[:, at].double().numpy())
    each = pd.DataFrame(predict(network, answer, known)).corrwith(truth)
    names = np.repeat([group.name for group in groups], [len(group.columns) for group in groups])
    by_group = each.groupby(names).mean()
    named = {f"genomic_correlation/{name}": float(r) for name, r in by_group.items()}
    return {"genomic_correlation": float(each.mean()), **named}
