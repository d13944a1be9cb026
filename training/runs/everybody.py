"""`fit --all`: after every fold was scored, one student of everybody.

Nobody is left to score it, so every number beside it comes from the students of the folds, each on
patients it had never seen: the percentiles are those of their risks, the calibration is fitted to
what they said before their own. Time bins differ a little between folds; bin k of a fold's student
stands for bin k of this one, both the k-th quarter of the deaths. What the method says of patients
that it was fitted on is written nowhere.

RUN/all-seed0/unit.json     written last, as that of a fold, without scores
RUN/all-seed0/student.onnx  features [N, D] of a slide to the outputs, calibrated
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.cohorts.cohort import load
from training.cohorts.material import Task
from training.errors import TrainingError
from training.json_files import read_json
from training.learning.calibrate import bare, calibrated_by
from training.learning.journal import Journal
from training.learning.split import FOLDS, everybody
from training.methods.registry import method
from training.runs.fit import Plan, one_thread
from training.runs.taught import counts, references_of
from training.runs.units import Unit, student_inputs, write_json, write_student


@dataclass(frozen=True)
class Everybody:
    """The place in a run of the student of everybody, of one seed."""

    run: Path
    seed: int

    @property
    def directory(self) -> Path:
        """Where its files are; no reader of folds looks there."""
        return self.run / f"all-seed{self.seed}"

    @property
    def done(self) -> bool:
        """Whether its last file is written."""
        return (self.directory / "unit.json").exists()


def fit_all(plan: Plan, seed: int = 0) -> Everybody:
    """Fits the student of everybody where it is missing.

    Raises TrainingError where a fold of this seed was not scored, was scored before a unit kept
    what this needs, or has no student.
    """
    place = Everybody(plan.run, seed)
    if place.done:
        return place
    folds = [_unit(Unit(plan.run, fold, seed)) for fold in range(FOLDS)]
    started, chosen = time.perf_counter(), method(plan.method)
    with one_thread():
        cohort = load(plan.cohort, plan.data, plan.task, extended=plan.extended)
        split = everybody(cohort, seed=seed, second=chosen.reads_second)
        with Journal(place.directory) as journal:
            fitted = chosen.fit(split, plan.resolved(), seed, journal)
            assert fitted.student is not None  # every fold has one
            logits, target, event = (_stacked(folds, key) for key in ("logits", "target", "event"))
            student, change = calibrated_by(
                bare(fitted.student), logits.float(), target.long(), event.float(), cohort.task.kind
            )
            deployed = write_student(student, split, place.directory)
            journal.clear_checkpoints()
    facts = {"inner_loss": change.before, "inner_loss_calibrated": change.after}
    content = {
        "fold": "all",
        "seed": seed,
        "edges_months": list(split.edges),
        "patients": counts(split, fitted, len(target)),
        "seconds": None if journal.is_resumed else round(time.perf_counter() - started, 2),
        "facts": facts,
        "student_role": fitted.student_role,
        "student_inputs": student_inputs(split),
        "student_outputs": deployed.names,
        "student_scores": _scores(folds, student, logits.float(), cohort.task),
        "one_slide_probabilities": _of_one_slide(folds, student, cohort.task),
        "epoch_is_chosen": not fitted.is_calibrated,
        "width": split.width,
        **references_of(split, fitted),
    }
    write_json(place.directory / "unit.json", content)
    return place


def _unit(unit: Unit) -> dict[str, Any]:
    if not unit.done:
        raise TrainingError(
            f"{unit.directory}: found no finished unit, expected all {FOLDS} folds of seed "
            f"{unit.seed}: the figures of a student of everybody are those of the folds; fit them "
            "first"
        )
    said = read_json(unit.directory / "unit.json")
    if not said["student_outputs"]:
        raise TrainingError(
            f"{unit.directory}: found no student that runs on a slide alone, expected one; this "
            "method is a reference and cannot be exported"
        )
    if not said.get("raw"):
        raise TrainingError(
            f"{unit.directory}: found a unit of an earlier version, without what the student said "
            "before its calibration; fit the run again into another --out"
        )
    return said


def _stacked(folds: list[dict[str, Any]], key: str) -> Tensor:
    return torch.cat([torch.tensor(fold["raw"][key]) for fold in folds])


def _scores(
    folds: list[dict[str, Any]], student: Any, logits: Tensor, task: Task
) -> dict[str, list[float]]:
    """Score tensor -> what the students of the folds said of patients they had not seen; risks as
    they are, probabilities as this student is calibrated."""
    if task.kind == "survival":
        return {"risk": [risk for fold in folds for risk in fold["student_scores"]["risk"]]}
    return _probabilities(student, logits, task)


def _of_one_slide(folds: list[dict[str, Any]], student: Any, task: Task) -> dict[str, list[float]]:
    """The same of first slides alone; none of risks, which `predictions.csv` has as they are."""
    if task.kind == "survival" or any("one_slide_logits" not in fold["raw"] for fold in folds):
        return {}
    return _probabilities(student, _stacked(folds, "one_slide_logits").float(), task)


def _probabilities(student: Any, logits: Tensor, task: Task) -> dict[str, list[float]]:
    with torch.inference_mode():
        said = torch.softmax(student.calibrated(logits), dim=-1).double()
    return {f"probability_{label}": said[:, at].tolist() for at, label in enumerate(task.classes)}
