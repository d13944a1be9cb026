"""Fits the student, its twin without teachers and its null, all on the same views."""

from __future__ import annotations

import copy
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.default_student.encoder import Encoder
from training.default_student.tissue import agreement
from training.default_student.tissue.batches import Batch, Shelf
from training.default_student.tissue.densenet import CLASSES, DenseNet
from training.default_student.tissue.student import TissueEncoder
from training.default_student.tissue.tiles import SOURCES, Tiles

ROLES = ("student", "twin", "null")
RATE, DECAY, CLIP = 2e-3, 0.05, 5.0
TISSUE, CELLS, TAUGHT, FEATURES, OF_CLASSES = 0.3, 0.3, 0.5, 1.0, 1.0
"""Weights of the terms beside the weight 1 of the weak labels of tumor."""
_MEASURED = 8  # batches that standardize the teacher's features
_EXTREME = 5.0  # standard deviations at which they are cut


@dataclass(frozen=True)
class Asked:
    """How long to train on what."""

    steps: int | None
    minutes: float | None
    """Instead of `steps`: as many as the device does in it."""
    batch: int
    seed: int
    device: str


@dataclass(frozen=True)
class Answers:
    """What the teachers say of B views."""

    features: Tensor
    """[B, 1024] standardized."""
    classes: Tensor
    """[B, 9] shares; NaN where nobody knows."""
    taught: Tensor
    """[B] tumor 0..1 by the counts of the spot; NaN elsewhere."""

    def exchanged(self, batch: Batch) -> Answers:
        """The null's: another row's of the same source; what was drawn stays known."""
        at = batch.exchanged
        drawn = (batch.source == SOURCES.index("drawn")).unsqueeze(1)
        classes = torch.where(drawn, self.classes, self.classes[at])
        return Answers(self.features[at], classes, self.taught[at])


class Fit:
    """One training of all roles; they start alike and see the same views."""

    def __init__(self, tiles: Tiles, teacher: DenseNet, asked: Asked) -> None:
        torch.manual_seed(asked.seed)
        torch.backends.cudnn.benchmark = True  # shapes do not change
        self.asked, self.device = asked, torch.device(asked.device)
        self.rng = torch.Generator().manual_seed(asked.seed)
        self.shelf = Shelf(tiles, self.device)
        self.teacher = teacher.to(self.device).to(memory_format=torch.channels_last)
        first = TissueEncoder().to(self.device).to(memory_format=torch.channels_last).train()
        self.models = {role: copy.deepcopy(first) for role in ROLES}
        self.frequency = torch.full((len(CLASSES),), 1 / len(CLASSES), device=self.device)
        self.mean, self.std = self._measured()
        self.held_answers = agreement.taught(self)
        self.log: dict[str, object] = {
            "machine": platform.processor() or platform.machine(),
            "device": asked.device if asked.device == "cpu" else torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "batch": asked.batch,
            "seed": asked.seed,
        }

    def run(self) -> dict[str, TissueEncoder]:
        """The fitted models by role, on the CPU."""
        steps = self.asked.steps or self._affordable()
        advance = self._stepper(self.models, steps)
        since, curve, found = time.monotonic(), [], []
        for step in range(steps):
            losses = advance()
            if step % 50 == 49 or step == steps - 1:
                spent = time.monotonic() - since
                curve.append({"step": step + 1, "seconds": round(spent, 1), **_read(losses)})
                print(curve[-1], flush=True)
            if step == steps - 1 or (step + 1) % max(1, steps // 4) == 0:
                found.append({"step": step + 1} | agreement.all_roles(self))
                print(found[-1], flush=True)
        spent = time.monotonic() - since
        self.log |= {
            "steps": steps,
            "seconds": round(spent, 1),
            "views_per_second": round(steps * self.asked.batch / spent),
            "losses": curve,
            "agreement": found,
            "class_frequency": dict(zip(CLASSES, self.frequency.tolist(), strict=True)),
        }
        return {role: model.cpu().eval() for role, model in self.models.items()}

    def _affordable(self) -> int:
        """Steps that fit into the asked minutes, by ten steps on copies."""
        copies = {role: copy.deepcopy(model) for role, model in self.models.items()}
        advance = self._stepper(copies, 100)
        for at in range(10):
            if at == 4:
                since = self._now()
            advance()
        pace = (self._now() - since) / 6
        self.rng.manual_seed(self.asked.seed)
        self.frequency.fill_(1 / len(CLASSES))
        self.log["seconds_per_step"] = round(pace, 4)
        return max(20, int(60 * (self.asked.minutes or 1) / pace))

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.monotonic()

    def _stepper(
        self, models: dict[str, TissueEncoder], steps: int
    ) -> Callable[[], dict[str, Tensor]]:
        """A function that takes one step of all models and returns their losses."""
        weights = [w for model in models.values() for w in model.parameters()]
        optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=RATE, total_steps=steps + 1, pct_start=0.15
        )

        def advance() -> dict[str, Tensor]:
            batch = self.shelf.drawn(self.asked.batch, self.rng)
            answers = self.answers(batch)
            losses = {}
            for role, model in models.items():
                told = answers.exchanged(batch) if role == "null" else answers
                losses[role] = self._loss(model, batch, told, role)
            optimizer.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            for model in models.values():
                torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            return {role: loss.detach() for role, loss in losses.items()}

        return advance

    def ask(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The second teacher's features [B, 1024] and class probabilities [B, 9]."""
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16):
            features, _ = self.teacher(pixels.contiguous(memory_format=torch.channels_last))
        features = features.float()
        return features, torch.softmax(self.teacher.head(features), dim=1)

    def answers(self, batch: Batch) -> Answers:
        """Of spots and drawn tiles the classes are known otherwise than by the second teacher."""
        features, classes = self.ask(batch.pixels)
        own = (batch.source == SOURCES.index("spots")) | (batch.source == SOURCES.index("drawn"))
        classes = torch.where(own.unsqueeze(1), batch.classes, classes)
        seen = classes[~torch.isnan(classes[:, 0])].mean(dim=0)
        self.frequency.lerp_(seen, 0.01)
        standard = ((features - self.mean) / self.std).clamp(-_EXTREME, _EXTREME)
        return Answers(standard, classes, batch.taught)

    def _measured(self) -> tuple[Tensor, Tensor]:
        rng = torch.Generator().manual_seed(self.asked.seed + 1)
        asked = [
            self.ask(self.shelf.drawn(self.asked.batch, rng).pixels)[0] for _ in range(_MEASURED)
        ]
        std, mean = torch.std_mean(torch.cat(asked), dim=0)
        return mean, std.clamp(min=1e-3)

    def _loss(self, model: TissueEncoder, batch: Batch, told: Answers, role: str) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16):
            pixels = batch.pixels.contiguous(memory_format=torch.channels_last)
            learned = model.learned(model.scaled(pixels))
        learned = learned.float()
        loss = _labels(model, learned, batch)
        classes = told.classes
        if role == "twin":  # of classes it knows what was drawn, and nothing else
            drawn = (batch.source == SOURCES.index("drawn")).unsqueeze(1)
            classes = torch.where(drawn, batch.classes, torch.nan)
        loss = loss + OF_CLASSES * self._of_classes(model.classes(learned), classes)
        if role == "twin":
            return loss
        loss = loss + FEATURES * functional.mse_loss(model.expression(learned), told.features)
        return loss + TAUGHT * _known_tumor(model, learned, told.taught)

    def _of_classes(self, logits: Tensor, shares: Tensor) -> Tensor:
        """Cross-entropy in which rare classes weigh more: at most four times."""
        known = (~torch.isnan(shares[:, 0])).float()
        shares = torch.nan_to_num(shares)
        weight = (1 / (len(CLASSES) * self.frequency)).clamp(0.25, 4)
        rows = known * (shares * weight).sum(dim=1)
        each = -(shares * functional.log_softmax(logits, dim=1)).sum(dim=1)
        return (rows * each).sum() / rows.sum().clamp(min=1)


def _labels(model: Encoder, learned: Tensor, batch: Batch) -> Tensor:
    """Weak labels, which all roles have: tumor, class of lung tile, cells of the spot."""
    loss = _known_tumor(model, learned, batch.tumor)
    tissue = functional.cross_entropy(
        model.tissue(learned), batch.tissue, ignore_index=-1, label_smoothing=0.05, reduction="sum"
    ) / (batch.tissue >= 0).sum().clamp(min=1)
    spots = (~torch.isnan(batch.cells[:, 0])).float()
    shares = torch.nan_to_num(batch.cells)
    each = -(shares * functional.log_softmax(model.cells(learned), dim=1)).sum(dim=1)
    cells = (spots * each).sum() / spots.sum().clamp(min=1)
    return loss + TISSUE * tissue + CELLS * cells


def _known_tumor(model: Encoder, learned: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of tumor where it is known; weak labels are never quite certain."""
    known = (~torch.isnan(target)).float()
    each = functional.binary_cross_entropy_with_logits(
        model.tumor(learned)[:, 0], torch.nan_to_num(target).clamp(0.03, 0.97), reduction="none"
    )
    return (known * each).sum() / known.sum().clamp(min=1)


def _read(losses: dict[str, Tensor]) -> dict[str, float]:
    return {role: round(float(loss), 4) for role, loss in losses.items()}
