"""The one training loop: epochs, sampling, schedule, inner validation, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.errors import TrainingError
from training.learning.bags import Batch, Patients, capped
from training.learning.journal import Journal

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    epochs: int
    lr: float
    weight_decay: float
    window: int = 32
    """Patients per optimizer step."""
    optimizer: Literal["adam", "adamw"] = "adam"
    warmup_epochs: int = 0
    cosine: bool = False
    """After the warm-up, fall to 0 along a cosine, per step."""
    sampling: Literal["cells", "shuffle"] = "cells"
    """cells: with replacement, every (time bin, event) cell or class equally likely."""
    drop_last: bool = False
    """Leave out an incomplete last window."""
    patience: int | None = None
    """Stop after this many epochs without a better inner validation."""
    min_epochs: int = 0
    max_instances: int = 0
    """Instances of a bag drawn anew for every step; 0 takes them all."""


@dataclass(frozen=True)
class States:
    """Weights at the epoch inner validation chose, and at the last."""

    best: dict[str, Tensor]
    last: dict[str, Tensor]
    best_epoch: int
    epochs: int


def train(
    phase: str,
    model: nn.Module,
    losses: Callable[[Batch], Losses],
    patients: Patients,
    schedule: Schedule,
    *,
    seed: int,
    journal: Journal,
    judge: Callable[[], float] | None = None,
    after_backward: Callable[[Batch], None] | None = None,
) -> States:
    """Trains `model` in place and returns its states.

    `losses(batch)` holds "total", which is backpropagated; the others are logged. `judge` scores
    the inner validation patients, higher is better; without one, best is last. Checkpoints hold
    the state of the random numbers: a run that was killed goes on to the same weights, bit for
    bit. Raises TrainingError where the loss is not finite.
    """
    run = _Run(phase, model, patients, schedule, seed, journal)
    run.resume()
    while not run.finished():
        model.train()
        sums: dict[str, float] = {}
        windows = run.windows()
        for step, rows in enumerate(windows):
            batch = run.batch(rows)
            found = losses(batch)
            _require_finite(found, phase, run.epoch)
            run.step(found["total"], step / len(windows), batch, after_backward)
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
        means = {name: value / len(windows) for name, value in sums.items()}
        run.close_epoch(means, judge() if judge else None)
    return run.states()


def cell_weights(patients: Patients) -> Tensor:
    """float64 [P]: P / size of each patient's class.

    Where all have one class, as in survival, it is the cell of (time bin, event).
    """
    outcomes = patients.bin * 2 + patients.event.long()
    cell = patients.label if len(patients.label.unique()) > 1 else outcomes
    _, inverse, counts = torch.unique(cell, return_inverse=True, return_counts=True)
    weights: Tensor = len(patients) / counts[inverse].double()
    return weights


def learning_rate_factor(done: float, warmup: float, total: float, cosine: bool) -> float:
    """Factor on the learning rate after `done` of `total` steps: linear warm-up, then cosine."""
    if done < warmup:
        return done / warmup
    if not cosine:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (total - warmup)))


class _Run:
    """The state of one call of `train`."""

    def __init__(
        self,
        phase: str,
        model: nn.Module,
        patients: Patients,
        schedule: Schedule,
        seed: int,
        journal: Journal,
    ) -> None:
        if len(patients) < schedule.window and schedule.drop_last:
            raise TrainingError(
                f"{phase}: found {len(patients)} training patients, expected at least one window "
                f"of {schedule.window}; use a smaller window"
            )
        make = torch.optim.AdamW if schedule.optimizer == "adamw" else torch.optim.Adam
        self.phase, self.model, self.patients = phase, model, patients
        self.schedule, self.journal = schedule, journal
        self.optimizer = make(
            [p for p in model.parameters() if p.requires_grad],
            lr=schedule.lr,
            weight_decay=schedule.weight_decay,
            fused=True,  # a quarter of the time on a CPU
        )
        self.draws = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # dropout
        self.epoch = 0
        self.best_epoch = 0
        self.best_score = -math.inf
        self.best = _copy(model)
        self.weights = cell_weights(patients) if schedule.sampling == "cells" else None

    def resume(self) -> None:
        """Takes up the checkpoint of this phase, where there is one."""
        found: Any = self.journal.saved(self.phase)
        self.journal.rewind(self.phase, 0 if found is None else found["epoch"])
        if found is None:
            return
        self.model.load_state_dict(found["model"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.best = found["best"]
        self.epoch, self.best_epoch = found["epoch"], found["best_epoch"]
        self.best_score = found["best_score"]
        self.draws.set_state(found["draws"])
        torch.set_rng_state(found["random"])

    def finished(self) -> bool:
        """All epochs done, or patience at its end."""
        s = self.schedule
        tired = s.patience is not None and self.epoch - self.best_epoch >= s.patience
        return self.epoch >= s.epochs or (tired and self.epoch >= s.min_epochs)

    def windows(self) -> list[Tensor]:
        """Rows of each optimizer step of this epoch."""
        count = len(self.patients)
        if self.weights is not None:
            rows = torch.multinomial(self.weights, count, replacement=True, generator=self.draws)
        else:
            rows = torch.randperm(count, generator=self.draws)
        windows = list(rows.split(self.schedule.window))
        if self.schedule.drop_last and len(windows[-1]) < self.schedule.window:
            windows.pop()
        return windows

    def batch(self, rows: Tensor) -> Batch:
        """The patients of one step, their bags cut to `max_instances`, at each magnification."""
        limit = self.schedule.max_instances
        if limit <= 0:
            return self.patients.batch(rows)
        drawn = self.patients.subset(rows)
        bags = tuple(capped(bag, limit, self.draws) for bag in drawn.bags)
        coarse = drawn.coarse and tuple(capped(bag, limit, self.draws) for bag in drawn.coarse)
        batch = replace(drawn, bags=bags, coarse=coarse).batch(torch.arange(len(rows)))
        return replace(batch, rows=rows)

    def step(
        self,
        total: Tensor,
        share: float,
        batch: Batch,
        after_backward: Callable[[Batch], None] | None,
    ) -> None:
        """One optimizer step; `share` of the epoch is done."""
        s = self.schedule
        factor = learning_rate_factor(self.epoch + share, s.warmup_epochs, s.epochs, s.cosine)
        for group in self.optimizer.param_groups:
            group["lr"] = s.lr * factor
        self.optimizer.zero_grad()
        total.backward()
        if after_backward:
            after_backward(batch)
        self.optimizer.step()

    def close_epoch(self, means: dict[str, float], score: float | None) -> None:
        """Logs, keeps the better weights, writes the checkpoint."""
        self.epoch += 1
        if score is not None and not math.isfinite(score):
            raise TrainingError(
                f"{self.phase}, epoch {self.epoch}: found inner validation {score}, expected a "
                "finite number; look for a model that says no numbers"
            )
        if score is None or score > self.best_score:
            self.best_score = self.best_score if score is None else score
            self.best_epoch, self.best = self.epoch, _copy(self.model)
        logged = means if score is None else {**means, "inner": score}
        self.journal.row(self.phase, self.epoch, logged)
        if not (self.finished() or self.journal.due()):
            return
        self.journal.save(
            self.phase,
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "best": self.best,
                "epoch": self.epoch,
                "best_epoch": self.best_epoch,
                "best_score": self.best_score,
                "draws": self.draws.get_state(),
                "random": torch.get_rng_state(),
            },
        )

    def states(self) -> States:
        """The weights after the last epoch and those of the chosen one."""
        return States(self.best, _copy(self.model), self.best_epoch, self.epoch)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _require_finite(losses: Losses, phase: str, epoch: int) -> None:
    for name, value in losses.items():
        if not bool(torch.isfinite(value)):
            raise TrainingError(
                f"{phase}, epoch {epoch + 1}: found loss {name} = {float(value.detach())}, "
                "expected a finite number; lower the learning rate or look for bad features"
            )
