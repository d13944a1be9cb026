"""`dicom-train export`: the student of a run behind the encoder of its features, as a bundle."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from engines.bundle import Bundle, open_bundle
from engines.errors import BundleRejected
from engines.manifest.whole import Manifest
from training.bundle.card import card
from training.bundle.manifest import Student, manifest
from training.errors import TrainingError
from training.learning.graphs import write_manifest, write_probe, write_sums
from training.methods.registry import better_recipe
from training.runs.units import ONE_SLIDE, Unit
from training.scoring import resample, runs


@dataclass(frozen=True)
class Request:
    """What is exported, and under which name."""

    run: Path
    encoder: str
    """The bundle whose encoder made the features: a name or a directory."""
    out: Path
    name: str
    version: str = "0.1.0"
    fold: int = 0
    seed: int = 0


def export(request: Request) -> Path:
    """Writes the bundle directory and opens it as the node does; its path.

    Raises TrainingError where the run holds no student, where the features came from another
    encoder, or where the directory is not empty.
    """
    student = _student(request)
    try:
        source = open_bundle(request.encoder)
    except BundleRejected as error:
        raise TrainingError(f"encoder {request.encoder!r}: {error}") from error
    _require_same_features(student, source)
    content = manifest(request.name, request.version, student, source)
    try:
        Manifest.model_validate_json(json.dumps(content))
    except ValidationError as error:
        problem = error.errors()[0]
        raise TrainingError(
            f"the bundle's manifest: found {problem['input']!r} as "
            f"{'.'.join(map(str, problem['loc']))}, expected: {problem['msg']}; correct it"
        ) from error
    out = request.out
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise TrainingError(f"{out}: found files, expected a new or empty directory; give another")
    encoder = source.manifest.graphs["encoder"]
    shutil.copyfile(source.file(encoder.file), out / "encoder.onnx")
    shutil.copyfile(student.graph, out / "aggregator.onnx")
    with np.load(source.file(source.manifest.probe.file), allow_pickle=False) as probe:
        given = {t.name: probe[f"encoder/in/{t.name}"] for t in encoder.inputs}
    write_probe(["encoder", "aggregator"], given, out)
    write_manifest(content, out)
    (out / "card.md").write_text(card(student, request.name), encoding="utf-8")
    write_sums(out)
    open_bundle(str(out))
    return out


def better_method(run: Path) -> str | None:
    """What `fit` takes for the run's task where no method is named, if the run has another."""
    content = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return better_recipe(content["task"], content["method"])


def _student(request: Request) -> Student:
    unit = Unit(request.run, request.fold, request.seed)
    if not unit.done:
        raise TrainingError(
            f"{unit.directory}: found no finished unit, expected fold {request.fold} with seed "
            f"{request.seed}; run dicom-train fit first or name another"
        )
    said = json.loads((unit.directory / "unit.json").read_text(encoding="utf-8"))
    if not said["student_outputs"]:
        raise TrainingError(
            f"{unit.directory}: found no student that runs on a slide alone, expected one; "
            "this method is a reference and cannot be exported"
        )
    if not (unit.directory / "student.onnx").is_file():
        raise TrainingError(
            f"{unit.directory}: found no student.onnx, expected the student's graph; fit it into "
            "another --out without --no-graphs"
        )
    _, units = runs.read(request.run)
    content = json.loads((request.run / "run.json").read_text(encoding="utf-8"))
    # The role that was exported; a run of before did not say, and there the method is its own.
    role = said.get("student_role") or _student_role(units[0], content["method"])
    figure = _figure(units, (role, "inner"))
    scores = {name: np.array(values) for name, values in said["student_scores"].items()}
    alone = (ONE_SLIDE, "inner")
    one_slide = _figure(units, alone) if all(alone in one.predictions for one in units) else None
    return Student(content, said, unit.directory / "student.onnx", scores, figure, one_slide)


def _student_role(unit: runs.Unit, method: str) -> str:
    """The distilled student where there is one, else the baseline itself; never what is beside."""
    role = "student" if ("student", "inner") in unit.predictions else method
    if (role, "inner") not in unit.predictions:
        raise TrainingError(
            f"found no scores of {role}, expected those of the student that is exported; fit the "
            "run again"
        )
    return role


def _figure(units: tuple[runs.Unit, ...], role: tuple[str, str]) -> resample.Interval:
    """C-index, or AUC one against rest, with its 95 % interval over patients within folds."""
    values, drawn = [], []
    for fold in sorted({unit.fold for unit in units}):
        same = [unit for unit in units if unit.fold == fold]
        found = [unit.predictions[role] for unit in same]
        risks = [one.risk for one in found if one.risk is not None]
        if risks:
            pairs = resample.survival_pairs(same[0].outcome, np.stack(risks))
        else:
            classes = [one.probability for one in found if one.probability is not None]
            pairs = resample.class_pairs(same[0].label, np.stack(classes))
        size = len(same[0].patients)
        once = np.ones((1, size), np.float32)
        values.append(float(resample.pair_figure(pairs, once)[0]))
        drawn.append(resample.pair_figure(pairs, resample.draws(size, fold=fold)))
    return resample.interval(float(np.mean(values)), drawn)


def _require_same_features(student: Student, source: Bundle) -> None:
    graph = source.manifest.graphs["encoder"]
    widths = [t.shape[-1] for t in graph.outputs if t.name == "features"]
    if widths != [student.unit["width"]]:
        raise TrainingError(
            f"encoder {source.manifest.name}: found features of width {widths}, the student was "
            f"trained on {student.unit['width']}; name the encoder that made its features"
        )
    wanted = source.manifest.input
    digest = hashlib.sha256(source.file(graph.file).read_bytes()).hexdigest()
    expected = {"encoder": digest, "mpp": wanted.mpp, "tile_px": wanted.tile_px}
    if student.run["features"] != [expected]:
        raise TrainingError(
            f"encoder {source.manifest.name}: found features made by "
            f"{student.run['features']} (null: the file does not say), expected all of them by "
            f"{expected}; name the encoder that made them, or extract the features again"
        )
