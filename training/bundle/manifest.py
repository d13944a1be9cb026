"""The manifest of an exported student: what its graph says, in codes and units.

Contract: engines/manifest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from engines.bundle import MANIFEST_FILE, Bundle
from engines.manifest.reading import newest
from engines.manifest.whole import Manifest
from training.bundle.classes import output as classes
from training.bundle.classes.output import own
from training.bundle.figures.measured import Scored
from training.bundle.figures.subgroups import rows
from training.bundle.shapes import graph_of, input_at
from training.bundle.told import origin
from training.bundle.told.student import Student
from training.errors import TrainingError

TOLERANCE = 1e-3
"""Largest difference of a runtime on the probe; the engines differ by some 1e-5."""
_SCHEME = "99DICOMNODE"
_SCORE_UNIT = {"value": "{score}", "scheme": "UCUM", "meaning": "score"}
_SHOWS = {
    False: "Attention of the student per tile relative to uniform: 0.5 is the share of a tile by "
    "chance. Where the model looked, not where tumor is.",
    True: "Attention of the student per tile relative to uniform: 0.5, the share by chance, on "
    "each tile. It weighs all tiles alike, so the map shows nothing.",
}
"""By whether its attention is even."""
_FINER = " Of its two magnifications the map shows the finer."
_ATTENTION = {
    "category": {
        "value": "309825002",
        "scheme": "SCT",
        "meaning": "Spatial and Relational Concept",
    },
    "type": {"value": "attention", "scheme": _SCHEME, "meaning": "Attention of the model"},
}
"""Not a finding: a viewer must not call it tissue or tumor."""


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
        "limits": origin.limits(student),
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
            "data": origin.training_data(student),
            "simulated": before["training"]["simulated"]
            if source.manifest.is_encoder_alone and before["training"]["simulated"]
            else "Not known here: the tables of the cohort do not say.",
        },
        "performance": [
            *(_performance(student, scored) for scored in student.figures),
            *_class_rows(student),
            *rows(
                student.parts,
                "C-index" if student.survival else "AUC",
                f"{run['cohort']}, {student.folds}, pairs of a fold{student.use.of_each}",
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
    own = student.figures[0]
    return [_performance(student, replace(own, figure=one), name) for name, one in found]


def _performance(student: Student, scored: Scored, name: str = "") -> dict[str, object]:
    figure, measured = scored.figure, scored.measured
    value, low, high = (round(v, 4) for v in (figure.value, figure.low, figure.high))
    return {
        "figure": name or ("C-index" if student.survival else "AUC"),
        "value": value,
        "low": low,
        "high": high,
        "data": f"{student.run['cohort']}, outer {scored.kind} folds{measured.of_folds}, patients "
        f"resampled{student.use.of_each}",
        "count": measured.patients,
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
        data = f"{run['cohort']}, {student.folds}"
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
            "description": _SHOWS[student.attention_is_even]
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
