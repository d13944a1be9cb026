"""The manifest of an exported student: what its graph says, in codes and units.

Contract: engines/manifest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from engines.bundle import MANIFEST_FILE, Bundle
from engines.manifest.reading import newest
from engines.manifest.values import Code
from engines.manifest.whole import Manifest
from training.bundle.classes import output as classes
from training.bundle.classes.figures import ClassFigures
from training.bundle.classes.output import own
from training.bundle.figures.subgroups import Part, rows
from training.bundle.figures.use import Use
from training.bundle.shapes import graph_of, input_at
from training.errors import TrainingError
from training.learning.deployed import COARSE_FEATURES
from training.scoring import resample

TOLERANCE = 1e-3
"""Largest difference of a runtime on the probe; the engines differ by some 1e-5."""
_SCHEME = "99DICOMNODE"
_SCORE_UNIT = {"value": "{score}", "scheme": "UCUM", "meaning": "score"}
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
    use: Use
    """By which unit it is asked, and how good it is so."""
    beside: Beside | None = None
    parts: tuple[Part, ...] = ()
    """Of the cohort, with the figure in each."""
    of_classes: ClassFigures | None = None
    """Where it names classes."""
    floor: float = classes.FLOOR
    """From which probability on a class is named."""
    codes: Mapping[str, Code] = field(default_factory=dict)
    """Of classes, by name, where others are asked for."""

    @property
    def figures(self) -> list[tuple[str, resample.Interval]]:
        """Kind of folds and figure, each of patients that the student scored had not seen."""
        others = [] if self.beside is None else [(self.beside.kind, self.beside.figure)]
        return [(self.run["kind"], self.use.figure), *others]

    @property
    def reference(self) -> dict[str, Any]:
        """Where the training slides lie, or the training patients where it is shown all of them; a
        run of before knows the patients alone."""
        found: dict[str, Any] = self.unit["reference"]
        if self.use.unit == "slide":
            found = self.unit.get("reference_of_slides", found)
        return found

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
    aggregator = graph_of(student.graph, unit, () if student.survival else run["classes"])
    encoder = before["graphs"]["encoder"] | {"file": "encoder.onnx"}
    # What an encoder's numbers may differ by is its own bundle's to say: they are of any size.
    tolerances = {
        tensor: max(TOLERANCE, value)
        for tensor, value in before["probe"]["tolerance"].items()
        if tensor.startswith("encoder/")
    } | {f"aggregator/{t['name']}": TOLERANCE for t in aggregator["outputs"]}
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
            *student.use.limits,
        ],
        "licence": "That of the data and features the weights were trained on. Encoder: "
        + before["licence"],
        "unit": student.use.unit,
        "input": input_at(before["input"], student.coarse_mpp),
        "graphs": {"encoder": encoder, "aggregator": aggregator},
        "finding": {
            "code": {"value": "C125201", "scheme": "NCIt", "meaning": "Overall Survival"}
            if student.survival
            else dict(classes.coded(run["task"])),
            "reference_cohort": _reference_cohort(student),
        },
        "outputs": _outputs(student),
        "applicability": before["applicability"],
        "out_of_distribution": {"method": "mean-feature-distance"} | student.reference,
        "training": {
            "digest": run["cohort_digest"],
            "data": [f"cohort {run['cohort']}, {run['patients']} patients, {run['kind']} folds"],
            "simulated": before["training"]["simulated"]
            if source.manifest.is_encoder_alone and before["training"]["simulated"]
            else "Not known here: the tables of the cohort do not say.",
        },
        "performance": [
            *(_performance(student, kind, figure) for kind, figure in student.figures),
            *_class_rows(student),
            *rows(
                student.parts,
                "C-index" if student.survival else "AUC",
                f"{run['cohort']}, outer {run['kind']} folds, pairs of a fold{student.use.of_each}",
            ),
        ],
        "probe": {"file": "probe.npz", "tolerance": tolerances},
    }


def _reference_cohort(student: Student) -> str:
    count, cohort = student.unit["patients"]["outer"], student.run["cohort"]
    shown = f"{count} patients of {cohort}{student.use.of_each}"
    if student.is_of_everybody:
        return f"{shown}, each by a student that had not seen the patient"
    return f"{shown}, that the student had not seen (fold {student.unit['fold']})"


def _class_rows(student: Student) -> list[dict[str, object]]:
    """How good it is at naming a class, not only at ordering patients."""
    found = student.of_classes.rows(student.floor) if student.of_classes else []
    return [_performance(student, student.run["kind"], one, name) for name, one in found]


def _performance(
    student: Student, kind: str, figure: resample.Interval, name: str = ""
) -> dict[str, object]:
    value, low, high = (round(v, 4) for v in (figure.value, figure.low, figure.high))
    return {
        "figure": name or ("C-index" if student.survival else "AUC"),
        "value": value,
        "low": low,
        "high": high,
        "data": f"{student.run['cohort']}, outer {kind} folds, patients resampled"
        + student.use.of_each,
        "count": student.run["patients"],
    }


def _outputs(student: Student) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    if student.survival:
        risks = student.risk_or_probability["risk"]
        found.append(
            {
                "kind": "score",
                "name": "risk",
                "tensor": "risk",
                "code": {"value": "risk-score", "scheme": _SCHEME, "meaning": "Risk score"},
                "unit": _SCORE_UNIT,
                "direction": "higher-is-worse",
                "percentiles": np.percentile(risks, np.arange(101)).tolist(),
            }
        )
    else:
        run, of = student.run, student.of_classes
        data = f"{run['cohort']}, outer {run['kind']} folds"
        known = of.uncertainty(data, run["classes"]) if of else {}
        found.append(
            classes.output(run["task"], run["classes"], student.codes, student.floor, known)
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
            own(f"survival-{at + 1}", f"OS probability at {month:g} months")
            for at, month in enumerate(months)
        ],
    }
