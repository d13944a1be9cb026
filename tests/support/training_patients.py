"""Small drawn patients whose outcome is written in their instances and their genes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from training.cohorts.genes import fit_genes
from training.cohorts.material import Task
from training.learning import survival
from training.learning.bags import Patients
from training.learning.split import Split

OS = Task("os", "survival")
CLASSES = Task("kind", "classification", ("few", "many"))
WIDTH = 8


def drawn(count: int, seed: int = 0, *, effect: float = 2.0) -> Patients:
    """Risk is the mean of the first feature, which the first gene and the clinic repeat."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=count)
    bags = tuple(
        torch.from_numpy(
            (rng.normal(size=(n, WIDTH)) + risk[i] * np.eye(WIDTH)[0]).astype(np.float32)
        )
        for i, n in enumerate(rng.integers(1, 12, count))
    )
    genes = np.concatenate(
        [risk[:, None] + rng.normal(0, 0.3, (count, 1)), rng.normal(size=(count, 11))], axis=1
    )
    death = rng.exponential(30 * np.exp(-effect * risk))
    visit = rng.uniform(5, 120, count)
    clinic = np.stack([risk + rng.normal(0, 0.3, count), rng.normal(size=count)], axis=1)
    clinic[::7, 1] = np.nan
    return Patients(
        ids=tuple(f"P{seed}-{i:03d}" for i in range(count)),
        bags=bags,
        genes=torch.from_numpy(genes.astype(np.float32)),
        time=torch.from_numpy((np.minimum(death, visit) + 0.1).astype(np.float32)),
        event=torch.from_numpy((death <= visit).astype(np.float32)),
        bin=torch.zeros(count, dtype=torch.int64),
        label=torch.zeros(count, dtype=torch.int64),
        age=torch.from_numpy(rng.normal(60, 10, count).astype(np.float32)),
        privileged={"clinical": torch.from_numpy(clinic.astype(np.float32))},
    )


def split(task: Task = OS, *, train: int = 90, valid: int = 30, test: int = 60) -> Split:
    """Three parts of independent patients, bins by the training part."""
    parts = [drawn(train, 1), drawn(valid, 2), drawn(test, 3)]
    edges = survival.bin_edges(parts[0].time.numpy(), parts[0].event.numpy())
    finished = []
    for part in parts:
        label = torch.tensor([int(bag[:, 0].mean() > 0) for bag in part.bags])
        finished.append(
            Patients(
                part.ids,
                part.bags,
                part.genes,
                part.time,
                part.event,
                torch.from_numpy(survival.to_bins(part.time.numpy(), edges)),
                label if task.kind == "classification" else part.label,
                part.age,
                part.privileged,
            )
        )
    columns = [f"G{i:02d}_rnaseq" for i in range(parts[0].genes.shape[1])]
    frame = pd.DataFrame(parts[0].genes.numpy(), columns=columns)
    groups = {"Oncogenes": tuple(f"G{i:02d}" for i in range(6)), "Protein Kinases": ("G07", "G08")}
    genes = fit_genes(frame, groups)
    return Split("drawn", "official", 0, task, *finished, tuple(edges.tolist()), genes)
