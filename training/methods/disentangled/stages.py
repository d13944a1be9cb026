"""The trainings behind one fold of the disentangled method, in the order in which they happen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from training.cohorts.cohort import Task
from training.errors import TrainingError
from training.learning.bags import Batch, has_genes
from training.learning.fitted import predict
from training.learning.heads import inner_judge, outputs
from training.learning.journal import Journal
from training.learning.loop import Losses, Schedule, States, train
from training.learning.losses import head_consistency, inter_magnification
from training.methods.disentangled.losses import (
    Targets,
    aligned,
    class_weights,
    distillation,
    task_loss,
)
from training.methods.disentangled.settings import Settings
from training.methods.disentangled.student import Shape, Student, merged
from training.methods.disentangled.teacher import Mode, Reading, Teacher
from training.methods.disentangled.tokens import Slides

Answer = Callable[[Batch], Tensor]


CGC_MODES = ("projection", "release", "off")


@dataclass(frozen=True)
class Fold:
    """One fold while it is fitted."""

    task: Task
    settings: Settings
    seed: int
    journal: Journal
    train: Slides
    valid: Slides
    genes: tuple[tuple[int, ...], tuple[int, ...]]

    def measured(self) -> Tensor:
        """int64: the training patients with genes."""
        rows = has_genes(self.train.patients.genes).nonzero().squeeze(1)
        if len(rows) < 2 * self.settings.window:
            raise TrainingError(
                f"found {len(rows)} training patients with genes, expected at least "
                f"{2 * self.settings.window}, use a cohort with expression or a smaller window"
            )
        return rows

    def stage_one(self) -> tuple[Student, States]:
        """The student alone."""
        student, weights = self._student(), self._weights()
        weight = self.settings.student_consistency

        def losses(batch: Batch) -> Losses:
            coarse, fine = student(*self.train.tokens(batch))
            task = sum(task_loss(self.task, r.logits, batch, weights) for r in (coarse, fine))
            if not weight:
                return {"total": task}
            maps = coarse.map.transpose(0, 1), fine.map.transpose(0, 1)
            same = head_consistency(*maps)
            return {"total": task + weight * same, "task": task, "consistency": same}

        found = self._run(
            "alone", student, losses, self.settings.twin_epochs, self.settings.twin_lr
        )
        return student, found

    def stage_two(
        self, phase: str, start: States, targets: Targets | None
    ) -> tuple[Student, States]:
        """A student that goes on from `start` under the targets of teachers, or without any."""
        student, weights, s = self._student(), self._weights(), self.settings
        student.load_state_dict(start.last)
        times = self.task.kind == "survival" and s.time_targets

        def losses(batch: Batch) -> Losses:
            if targets is None:
                alone = student(*self.train.tokens(batch))
                return {"total": sum(task_loss(self.task, r.logits, batch, weights) for r in alone)}
            given = targets.of(batch.rows)
            readings = student(*self.train.tokens(batch), given.halves)
            task = sum(task_loss(self.task, r.logits, batch, weights) for r in readings)
            logits, features = distillation(
                [r.logits for r in readings],
                [r.regions for r in readings],
                given,
                temperature=s.temperature,
                times=times,
            )
            order = student.order_loss(readings, given.known)
            total = task + s.logit_weight * logits + s.feature_weight * features + order
            named = {"task": task, "logits": logits, "features": features, "order": order}
            return {"total": total, **named}

        return student, self._run(phase, student, losses, s.epochs, s.distill_lr)

    def teach(self, phase: str, slides: Slides) -> tuple[Teacher, States]:
        """A teacher of these patients, all with genes."""
        s, task = self.settings, self.task
        if s.cgc_mode not in CGC_MODES:
            raise TrainingError(
                f"found cgc_mode={s.cgc_mode!r}, expected one of {CGC_MODES}, choose one of them"
            )
        torch.manual_seed(self.seed)
        width = slides.patients.width
        teacher = Teacher(width, outputs(task), self.genes, s.gene_dropout)
        weights = self._weights()
        last: list[Reading] = []  # what the step after the backward pass needs of it

        def losses(batch: Batch) -> Losses:
            shown = torch.rand(len(batch), 1) >= s.gene_absence
            readings = teacher(*slides.tokens(batch), batch.genes * shown)
            last[:] = readings
            wrong = sum(task_loss(task, r.logits, batch, weights) for r in readings)
            first, second = readings
            same = inter_magnification(first.tumor_map, second.tumor_map) + inter_magnification(
                first.microenvironment_map, second.microenvironment_map
            )
            return {"total": wrong + s.consistency * same, "task": wrong, "consistency": same}

        def coordinate(batch: Batch) -> None:
            mode: Mode = "release" if s.cgc_mode == "release" else "projection"
            classes = batch.bin if task.kind == "survival" else batch.label
            branches = teacher.coarse, teacher.fine
            for branch, reading in zip(branches, last, strict=True):
                branch.coordinate(reading.halves.detach(), classes, mode)

        judged = self.valid.subset(has_genes(self.valid.patients.genes).nonzero().squeeze(1))
        states = train(
            phase,
            teacher,
            losses,
            slides.patients,
            self._schedule(s.teacher_epochs, s.teacher_lr, s.teacher_weight_decay),
            seed=self.seed,
            journal=self.journal,
            judge=inner_judge(task, teacher, knows(teacher, judged, s.merge), judged.patients),
            after_backward=None if s.cgc_mode == "off" else coordinate,
        )
        return teacher, states

    def targets(self, teacher: Teacher, states: States) -> Targets:
        """What the teachers say of the training patients that have genes.

        With `cross_fit` folds, each patient's target comes from a teacher trained on the others,
        turned to the basis of `teacher`.
        """
        rows = self.measured()
        teacher.load_state_dict(states.last)
        slides = self.train.subset(rows)
        logits, reference = _said(teacher, slides)
        halves = reference.clone()
        for fold, (seen, held) in enumerate(self._folds(slides)):
            other, trained = self.teach(f"teacher/{fold}", slides.subset(seen))
            other.load_state_dict(trained.last)
            own_logits, own_halves = _said(other, slides)
            logits[held] = own_logits[held]
            halves[held] = aligned(own_halves, own_halves[seen], reference[seen])[held]
        count = len(self.train.patients)
        known = torch.zeros(count, dtype=torch.bool)
        known[rows] = True
        full_logits = logits.new_zeros(count, *logits.shape[1:])
        full_halves = halves.new_zeros(count, *halves.shape[1:])
        full_logits[rows], full_halves[rows] = logits, halves
        return Targets(full_logits, full_halves, known)

    def order_agreement(self, student: Student, targets: Targets) -> float:
        """Share of tokens that the probe orders as the teacher's halves do, over patients."""
        slides = self.train.subset(targets.known.nonzero().squeeze(1))
        known = targets.halves[targets.known]

        def agrees(batch: Batch) -> Tensor:
            tokens = slides.tokens(batch)
            pairs = zip(student(*tokens), student(*tokens, known[batch.rows]), strict=True)
            return torch.stack([(a.region == b.region).all(1).float() for a, b in pairs], dim=1)

        return float(predict(student, agrees, slides.patients).mean())

    def _folds(self, slides: Slides) -> list[tuple[Tensor, Tensor]]:
        folds = self.settings.cross_fit
        if folds < 2:
            return []
        patients = slides.patients
        survives = self.task.kind == "survival"
        strata = patients.bin * 2 + patients.event.long() if survives else patients.label
        cut = StratifiedKFold(folds, shuffle=True, random_state=self.seed)
        pairs = cut.split(strata.numpy(), strata.numpy())
        return [(torch.from_numpy(seen), torch.from_numpy(held)) for seen, held in pairs]

    def _student(self) -> Student:
        s = self.settings
        torch.manual_seed(self.seed)
        return Student(
            Shape(
                self.train.patients.width,
                outputs(self.task),
                side=s.side,
                ratio=s.cluster_ratio,
                order=s.token_order,
                merge=s.merge,
                dropout=s.dropout,
                unused=s.unused,
            )
        )

    def _weights(self) -> Tensor | None:
        if self.task.kind == "survival" or not self.settings.weighted:
            return None
        return class_weights(self.train.patients.label, len(self.task.classes))

    def _schedule(self, epochs: int, lr: float, decay: float, instances: int = 0) -> Schedule:
        """One warm-up epoch, then a cosine to 0 per step; full windows only (arXiv 2508.16479)."""
        return Schedule(
            epochs=epochs,
            lr=lr,
            weight_decay=decay,
            window=self.settings.window,
            optimizer="adamw",
            warmup_epochs=1,
            cosine=True,
            sampling="shuffle",
            drop_last=True,
            max_instances=instances,
        )

    def _run(
        self,
        phase: str,
        student: Student,
        losses: Callable[[Batch], Losses],
        epochs: int,
        lr: float,
    ) -> States:
        return train(
            phase,
            student,
            losses,
            self.train.patients,
            self._schedule(epochs, lr, self.settings.weight_decay, self.settings.max_instances),
            seed=self.seed,
            journal=self.journal,
            judge=inner_judge(self.task, student, sees(student, self.valid), self.valid.patients),
        )


def sees(student: Student, slides: Slides) -> Answer:
    """Merged logits [B, C] of a student, from slides alone."""

    def answer(batch: Batch) -> Tensor:
        coarse, fine = student(*slides.tokens(batch))
        return merged(coarse.logits, fine.logits, student.shape.merge)

    return answer


def knows(teacher: Teacher, slides: Slides, rule: str) -> Answer:
    """Merged logits [B, C] of a teacher, from slides and genes."""

    def answer(batch: Batch) -> Tensor:
        coarse, fine = teacher(*slides.tokens(batch), batch.genes)
        return merged(coarse.logits, fine.logits, rule)

    return answer


def _said(teacher: Teacher, slides: Slides) -> tuple[Tensor, Tensor]:
    """Logits [P, 2, C] and halves [P, 2, 2, 128] of a teacher, coarse first."""

    def logits(batch: Batch) -> Tensor:
        readings = teacher(*slides.tokens(batch), batch.genes)
        return torch.stack([r.logits for r in readings], dim=1)

    def halves(batch: Batch) -> Tensor:
        readings = teacher(*slides.tokens(batch), batch.genes)
        return torch.stack([r.halves for r in readings], dim=1)

    said = (
        torch.from_numpy(predict(teacher, of, slides.patients)).float() for of in (logits, halves)
    )
    return next(said), next(said)
