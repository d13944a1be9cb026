"""The manifest of an exported student: what its graph says, in codes and units.

Contract: engines/manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from engines.bundle import MANIFEST_FILE, Bundle
from engines.manifest.reading import newest
from engines.manifest.whole import Manifest
from training.bundle.shapes import graph_of, input_at
from training.bundle.subgroups import Part, rows
from training.errors import TrainingError
from training.learning.deployed import COARSE_FEATURES
from training.scoring import resample

TOLERANCE = 1e-3
"""Largest difference of a runtime on the probe; the engines differ by some 1e-5."""
_SCHEME = "99DICOMNODE"
_OWN_SCHEME = "99STUDENT"
"""Of codes whose meaning depends on the run: ours keep theirs for ever."""
_MOST_OF_VALUE = 16
_SCORE_UNIT = {"value": "{score}", "scheme": "UCUM", "meaning": "score"}
_PROBABILITY_UNIT = {"value": "{ratio}", "scheme": "UCUM", "meaning": "ratio"}
_SITES = {
    "official": "Training and test patients share hospitals: part of the figures may be that.",
    "site": "Training and test patients share no hospital.",
}
_FINER = " Of its two magnifications the map shows the finer."
_EVERYBODY = (
    "Fitted on all patients of its cohort: its figures are those of students like it, each on "
    "patients it had not seen."
)
_DERIVED = (
    "Made for two magnifications; the second was derived from the first, in training as here."
)
_ATTENTION = {
    "category": {
        "value": "309825002",
        "scheme": "SCT",
        "meaning": "Spatial and Relational Concept",
    },
    "type": {"value": "attention", "scheme": _SCHEME, "meaning": "Attention of the model"},
}
"""Not a finding: a viewer must not call it tissue or tumor."""


@dataclass(frozen=True)
class Beside:
    """What the same students score on the other kind of folds."""

    kind: str
    figure: resample.Interval


@dataclass(frozen=True)
class Student:
    """A finished unit and the run it belongs to."""

    run: dict[str, Any]
    unit: dict[str, Any]
    graph: Path
    risk_or_probability: Mapping[str, np.ndarray]
    """Score tensor -> what the graph says of the outer fold, patients it had never seen."""
    figure: resample.Interval
    """C-index or AUC of the exported role over all finished units of the run, mean over folds."""
    beside: Beside | None = None
    one_slide: resample.Interval | None = None
    """The figure where it was shown the first slide of each patient alone; None: all have one."""
    parts: tuple[Part, ...] = ()
    """Of the cohort, with the figure in each."""

    @property
    def figures(self) -> list[tuple[str, resample.Interval]]:
        """Kind of folds and figure, each of patients that the student scored had not seen."""
        others = [] if self.beside is None else [(self.beside.kind, self.beside.figure)]
        return [(self.run["kind"], self.figure), *others]

    @property
    def inputs(self) -> tuple[str, ...]:
        """What its graph takes; a unit of before did not say, and took one magnification."""
        return tuple(self.unit.get("student_inputs", ("features",)))

    @property
    def coarse_mpp(self) -> float | None:
        """Micrometers per pixel of its second magnification; None where it takes one."""
        if COARSE_FEATURES not in self.inputs:
            return None
        (made,) = self.run["second_features"]  # a cohort has one second magnification
        return float(made["mpp"])

    @property
    def is_of_everybody(self) -> bool:
        """Whether it was fitted on all patients, with the figures of the students of the folds."""
        return bool(self.unit["fold"] == "all")

    @property
    def survival(self) -> bool:
        """Whether the student predicts survival."""
        return "risk" in self.unit["student_outputs"]


def require_manifest(content: Mapping[str, object]) -> None:
    """Raises TrainingError, in the user's words, for content that is no manifest."""
    try:
        Manifest.model_validate_json(json.dumps(content))
    except ValidationError as error:
        problem = error.errors()[0]
        raise TrainingError(
            f"the bundle's manifest: found {problem['input']!r} as "
            f"{'.'.join(map(str, problem['loc']))}, expected: {problem['msg']}; correct it"
        ) from error


def manifest(name: str, version: str, student: Student, source: Bundle) -> dict[str, Any]:
    """The content of `manifest.json`; input and applicability are those of the encoder's bundle."""
    before = newest(json.loads((source.root / MANIFEST_FILE).read_text(encoding="utf-8")))
    run, unit = student.run, student.unit
    aggregator = graph_of(student.graph, unit)
    encoder = before["graphs"]["encoder"] | {"file": "encoder.onnx"}
    tensors = [f"encoder/{t['name']}" for t in encoder["outputs"]]
    tensors += [f"aggregator/{t['name']}" for t in aggregator["outputs"]]
    what = f"{run['method']} student, {run['cohort']} ({run['task']})"
    return {
        "schema_version": 2,
        "name": name,
        "version": version,
        "title": what[:64],
        "manufacturer": before["manufacturer"],
        "status": "fixture" if before["status"] == "fixture" else "research",
        "intended_use": "Research. Not for diagnosis, prognosis or treatment.",
        "limits": [
            "Trained and measured on one cohort; nothing is known of slides of another.",
            _SITES[run["kind"]],
            *([_EVERYBODY] if student.is_of_everybody else []),
            *([_DERIVED] if run.get("second_magnification") == "derived" else []),
        ],
        "licence": "That of the data and features the weights were trained on. Encoder: "
        + before["licence"],
        "unit": "slide",
        "input": input_at(before["input"], student.coarse_mpp),
        "graphs": {"encoder": encoder, "aggregator": aggregator},
        "finding": {
            "code": {"value": "C125201", "scheme": "NCIt", "meaning": "Overall Survival"}
            if student.survival
            else _own(run["task"], run["task"].upper()),
            "reference_cohort": _reference_cohort(student),
        },
        "outputs": _outputs(student),
        "applicability": before["applicability"],
        "out_of_distribution": {"method": "mean-feature-distance"} | unit["reference"],
        "training": {
            "digest": run["cohort_digest"],
            "data": [f"cohort {run['cohort']}, {run['patients']} patients, {run['kind']} folds"],
            "simulated": before["training"]["simulated"]
            if source.manifest.is_encoder_alone and before["training"]["simulated"]
            else "Not known here: the tables of the cohort do not say.",
        },
        "performance": [
            *(_performance(student, kind, figure) for kind, figure in student.figures),
            *rows(
                student.parts,
                "C-index" if student.survival else "AUC",
                f"{run['cohort']}, outer {run['kind']} folds, pairs of a fold",
            ),
        ],
        "probe": {"file": "probe.npz", "tolerance": dict.fromkeys(tensors, TOLERANCE)},
    }


def _reference_cohort(student: Student) -> str:
    count, cohort = student.unit["patients"]["outer"], student.run["cohort"]
    if student.is_of_everybody:
        return f"{count} patients of {cohort}, each by a student that had not seen the patient"
    return (
        f"{count} patients of {cohort} that the student had not seen (fold {student.unit['fold']})"
    )


def _performance(student: Student, kind: str, figure: resample.Interval) -> dict[str, object]:
    value, low, high = (round(v, 4) for v in (figure.value, figure.low, figure.high))
    return {
        "figure": "C-index" if student.survival else "AUC",
        "value": value,
        "low": low,
        "high": high,
        "data": f"{student.run['cohort']}, outer {kind} folds, patients resampled",
        "count": student.run["patients"],
    }


def _outputs(student: Student) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for tensor, values in student.risk_or_probability.items():
        name = tensor.replace("_", "-")
        found.append(
            {
                "kind": "score",
                "name": name,
                "tensor": tensor,
                "code": {"value": "risk-score", "scheme": _SCHEME, "meaning": "Risk score"}
                if tensor == "risk"
                else _own(name.removeprefix("probability-"), _sentence(tensor)),
                "unit": _SCORE_UNIT if tensor == "risk" else _PROBABILITY_UNIT,
                "direction": "higher-is-worse" if tensor == "risk" else "none",
                "percentiles": np.percentile(values, np.arange(101)).tolist(),
            }
        )
    if student.survival:
        found.append(_survival(student.unit["edges_months"][1:]))
    found.append(
        {
            "kind": "map",
            "name": "attention",
            "shows": "attention",
            "graph": "aggregator",
            "tensor": "attention",
            **_ATTENTION,
            "description": "Attention of the student per tile relative to uniform: 0.5 is the "
            "share of a tile by chance. Where the model looked, not where tumor is."
            + (_FINER if student.coarse_mpp else ""),
        }
    )
    return found


def _survival(times: list[float]) -> dict[str, object]:
    months = [round(t, 2) for t in times]
    return {
        "kind": "survival",
        "name": "survival",
        "tensor": "survival",
        "times_months": months,
        "codes": [
            _own(f"survival-{at + 1}", f"OS probability at {month:g} months")
            for at, month in enumerate(months)
        ],
    }


def _own(value: str, meaning: str) -> dict[str, str]:
    """A code of the run; of a value that is too long its beginning, and what tells it apart."""
    if len(value) > _MOST_OF_VALUE:
        value = f"{value[: _MOST_OF_VALUE - 5]}-{hashlib.sha256(value.encode()).hexdigest()[:4]}"
    return {"value": value, "scheme": _OWN_SCHEME, "meaning": meaning}


def _sentence(tensor: str) -> str:
    return f"Probability of {tensor.removeprefix('probability_')}"[:64]
