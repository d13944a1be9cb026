"""One fold with one seed on disk: predictions, facts, the student's graph.

RUN/run.json                    what is run: method, cohort and its digest, folds, settings
RUN/fold0-seed1/unit.json       written last: a unit without it is not finished
RUN/fold0-seed1/predictions.csv one line per patient of the outer fold, role and rule
RUN/fold0-seed1/student.onnx    features [N, D] of a slide (and features_coarse [M, D] of its second
                                magnification) to the outputs, calibrated
RUN/fold0-seed1/log.csv         what was logged, also under tensorboard/
"""

from __future__ import annotations

import json
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from inference.durable import whole
from training.errors import TrainingError
from training.learning.bags import fixed_rows, has_genes
from training.learning.calibrate import bare, calibrated, raw_logits
from training.learning.deployed import INPUTS, INSTANCE_AXIS, Deployed
from training.learning.fitted import Fitted, Score
from training.learning.graphs import write_graph
from training.learning.split import Split
from training.runs.taught import counts, references_of

EXAMPLE_INSTANCES = (37, 11)
"""Instances in the bags a graph is traced and compared with, the finer magnification first: odd
numbers, the first of the usual size."""


ONE_SLIDE = "one_slide"
"""The role of the student where it sees the first slide of a patient alone, as a node may."""


@dataclass(frozen=True)
class Unit:
    """The place of one fold and seed in a run."""

    run: Path
    fold: int
    seed: int

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self.run / f"fold{self.fold}-seed{self.seed}"

    @property
    def done(self) -> bool:
        """Whether its last file is written."""
        return (self.directory / "unit.json").exists()


def write_unit(
    unit: Unit,
    split: Split,
    scores: dict[tuple[str, str], Score],
    fitted: Fitted,
    seconds: float | None,
    *,
    graph: bool = True,
) -> None:
    """Writes everything of a fitted unit, `unit.json` last; without `graph`, not the graph.

    `seconds` that it took, None where nobody knows.
    """
    facts = dict(fitted.facts)
    shown: dict[str, list[float]] = {}
    outputs: list[str] = []
    raw: dict[str, object] = {}
    if fitted.student is not None:
        outputs, shown, said, alone = _write_student(unit, split, fitted, facts, graph=graph)
        # What is scored is what is exported, to the last digit and calibration included.
        scores = scores | {(fitted.student_role, "inner"): said}
        raw = _raw(split, fitted.student)
        if alone is not None:
            scores = scores | {(ONE_SLIDE, "inner"): alone}
    table = predictions(split, scores)
    with whole(unit.directory / "predictions.csv") as file:
        file.write(table.to_csv(index=False).encode())
    content = {
        "fold": unit.fold,
        "seed": unit.seed,
        "edges_months": list(split.edges),
        "patients": counts(split, fitted, len(split.test)),
        "scored_without_genes": _without_genes(split),
        "seconds": None if seconds is None else round(seconds, 2),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "facts": facts,
        "student_role": fitted.student_role,
        "student_inputs": student_inputs(split) if outputs else [],
        "student_outputs": outputs,
        "student_scores": shown,
        "raw": raw,
        "epoch_is_chosen": not fitted.is_calibrated,
        "width": split.width,
        **references_of(split, fitted),
        "train": {
            "time": [round(float(t), 4) for t in torch.cat([split.train.time, split.valid.time])],
            "event": [int(e) for e in torch.cat([split.train.event, split.valid.event])],
        },
    }
    write_json(unit.directory / "unit.json", content)


def _raw(split: Split, student: nn.Module) -> dict[str, object]:
    """What the student said of the outer fold before its calibration, with what came true: what a
    student of everybody is calibrated by; and what it said of first slides alone."""
    kind = split.task.kind
    target = split.test.bin if kind == "survival" else split.test.label
    return {
        "patients": list(split.test.ids),
        "logits": raw_logits(bare(student), split.test, kind).tolist(),
        "one_slide_logits": raw_logits(bare(student), split.test.shown_one_slide(), kind).tolist(),
        "target": target.tolist(),
        "event": [int(event) for event in split.test.event],
    }


def predictions(split: Split, scores: dict[tuple[str, str], Score]) -> pd.DataFrame:
    """One row per patient, role and rule; raises TrainingError where a score is not a number."""
    parts = []
    for (role, rule), score in scores.items():
        part = pd.DataFrame({"patient": split.test.ids, "role": role, "rule": rule})
        if score.risk is not None:
            part["risk"] = score.risk
        for letter, table in (("s", score.survival), ("p", score.probability)):
            if table is not None:
                first = 1 if letter == "s" else 0
                for column in range(table.shape[1]):
                    part[f"{letter}{column + first}"] = table[:, column]
        if not np.isfinite(part.select_dtypes("number").to_numpy()).all():
            raise TrainingError(
                f"{split.cohort} fold {split.fold}: {role} ({rule}) gave scores that are not "
                "numbers, expected finite ones; nothing was written"
            )
        part["time_months"] = split.test.time.numpy()
        part["event"] = split.test.event.numpy().astype(int)
        part["label"] = split.test.label.numpy()
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _without_genes(split: Split) -> int:
    """Patients of the outer fold whom a role with genes sees at the mean; 0 without genes."""
    genes = split.test.genes
    return int((~has_genes(genes)).sum()) if genes.shape[1] else 0


def write_json(path: Path, content: object) -> None:
    """Writes JSON whole: a reader, also after a power cut, sees the old file or the new one."""
    with whole(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def _write_student(
    unit: Unit, split: Split, fitted: Fitted, facts: dict[str, float], *, graph: bool
) -> tuple[list[str], dict[str, list[float]], Score, Score | None]:
    """Writes the calibrated student's graph; its outputs, and what it says of the outer fold.

    The last is what it says of the first slides alone; None where nobody here has several.
    """
    student = fitted.student
    assert student is not None
    if not fitted.is_calibrated:
        student, change = calibrated(student, split.valid, split.task.kind)
        facts |= {"inner_loss": change.before, "inner_loss_calibrated": change.after}
    deployed = write_student(student, split, unit.directory if graph else None)
    names: list[str] = deployed.names
    shown, score = _said(deployed, split, split.test.shown)
    parts = (split.test, split.train, split.valid)  # as every other fold, or units would differ
    several = any(len(of) > 1 for part in parts for of in part.slides)
    alone = _said(deployed, split, split.test.first_slides())[1] if several else None
    return names, shown, score, alone


def write_student(student: nn.Module, split: Split, folder: Path | None) -> Deployed:
    """The student as a bundle carries it, its graph written to the folder where one is given."""
    longest = max(split.train.shown, key=lambda bags: len(bags[0]))
    example = tuple(
        bag[fixed_rows(len(bag), count)].clone()
        for bag, count in zip(longest, EXAMPLE_INSTANCES, strict=False)
    )
    deployed = Deployed(student, split.task.classes, *example)
    deployed.eval()
    inputs = student_inputs(split)
    axes = {name: {axis: "N"} for name, axis in INSTANCE_AXIS.items() if name in deployed.names}
    if folder is not None:
        write_graph(
            "student",
            deployed,
            example,
            folder,
            inputs=inputs,
            outputs=deployed.names,
            dynamic={name: {0: INPUTS[name]} for name in inputs} | axes,
        )
    return deployed


def student_inputs(split: Split) -> list[str]:
    """The names of what a student of these patients is shown."""
    return list(INPUTS)[: 1 if split.train.coarse is None else 2]


def _said(
    deployed: Deployed, split: Split, slides: Sequence[tuple[Tensor, ...]]
) -> tuple[dict[str, list[float]], Score]:
    """What the student says of what it is shown, by output and as a score."""
    with torch.inference_mode():
        said = [dict(zip(deployed.names, deployed(*shown), strict=True)) for shown in slides]
    shown = {
        name: [float(one[name][0]) for one in said]
        for name in deployed.names
        if name == "risk" or name.startswith("probability_")
    }
    return shown, _score(split, said, shown)


def _score(split: Split, said: list[dict[str, Tensor]], shown: dict[str, list[float]]) -> Score:
    if split.task.kind != "survival":
        columns = [shown[f"probability_{label}"] for label in split.task.classes]
        return Score(probability=np.array(columns, dtype=np.float64).T)
    curves = torch.stack([one["survival"] for one in said])
    return Score(risk=np.array(shown["risk"]), survival=curves.double().numpy())
