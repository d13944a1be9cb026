"""`dicom-train export`: the student of a run behind the encoder of its features, as a bundle."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle, open_bundle
from engines.errors import BundleRejected
from engines.manifest.values import Code
from inference.durable import whole_folder
from training.bundle.card import card
from training.bundle.classes.figures import figures
from training.bundle.classes.output import FLOOR, write_joined
from training.bundle.figures.measured import Scored
from training.bundle.figures.subgroups import parts
from training.bundle.figures.use import UnitOfUse, Use, scores_of, use_of, with_first_slides
from training.bundle.manifest import manifest, require_manifest
from training.bundle.told.attention import is_even
from training.bundle.told.student import Student
from training.errors import TrainingError
from training.json_files import read_json
from training.learning.deployed import COARSE_FEATURES
from training.learning.graphs import run as run_graph
from training.learning.graphs import write_manifest, write_probe, write_sums
from training.methods.registry import better_recipe
from training.runs.everybody import Everybody
from training.runs.sites import sites_of
from training.runs.units import Unit
from training.scoring import runs


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
    everybody: bool = False
    """The student of everybody (`fit --all`), not that of a fold."""
    beside: Path | None = None
    """A run of the same method and cohort on the other kind of folds: its figure stands beside."""
    organs: tuple[Code, ...] = ()
    """Where the student may be used; empty: what the encoder's bundle says."""
    unit: UnitOfUse = "slide"
    """What a node shows it at once: one slide, or all slides of a study."""
    is_fixture: bool = False
    """Its numbers mean nothing, as those of drawn outcomes; no node serves it unasked."""
    floor: float = FLOOR
    """Of a student of classes: from which probability on one is named."""
    class_codes: Mapping[str, Code] = field(default_factory=dict)
    """Of classes, by their name in the run."""


def export(request: Request) -> Path:
    """Writes the bundle directory and opens it as the node does; its path.

    Raises TrainingError where the run holds no student, where the features came from another
    encoder, or where the directory is not empty.
    """
    student = student_of(request)
    if student.survival and (request.class_codes or request.floor != FLOOR):
        raise TrainingError(
            f"{request.run}: found a student of survival and --class-code or --floor, expected "
            "those of a student of classes alone; leave them out"
        )
    try:
        source = open_bundle(request.encoder)
    except BundleRejected as error:
        raise TrainingError(f"encoder {request.encoder!r}: {error}") from error
    _require_same_features(student, source)
    content = manifest(request.name, request.version, student, source)
    if request.organs:
        organs = [organ.model_dump() for organ in request.organs]
        content["applicability"] = content["applicability"] | {"organs": organs}
    if request.is_fixture:
        content["status"] = "fixture"
    require_manifest(content)
    out = request.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TrainingError(f"{out}: found files, expected a new or empty directory; give another")
    with whole_folder(out) as made:
        _write(student, source, content, request.name, made)
    return out


def _write(
    student: Student, source: Bundle, content: Mapping[str, Any], name: str, out: Path
) -> None:
    """Everything of the bundle, and opens it."""
    encoder = source.manifest.graphs["encoder"]
    shutil.copyfile(source.file(encoder.file), out / "encoder.onnx")
    if student.survival:
        shutil.copyfile(student.graph, out / "aggregator.onnx")
    else:
        write_joined(student.graph, student.run["classes"], out / "aggregator.onnx")
    with np.load(source.file(source.manifest.probe.file), allow_pickle=False) as probe:
        given = {t.name: probe[f"encoder/in/{t.name}"] for t in encoder.inputs}
    if student.coarse_mpp is not None:  # in the exam every second tile stands for a coarse one
        known = run_graph(out / "encoder.onnx", given)["features"]
        given |= {COARSE_FEATURES: np.ascontiguousarray(known[::2])}
    write_probe(["encoder", "aggregator"], given, out)
    write_manifest(content, out)
    (out / "card.md").write_text(card(student, name), encoding="utf-8")
    write_sums(out)
    open_bundle(str(out))


def better_method(run: Path) -> str | None:
    """What `fit` takes for the run's task where no method is named, if the run has another."""
    content = read_json(run / "run.json")
    return better_recipe(content["task"], content["method"])


def student_of(request: Request) -> Student:
    """The finished unit that is asked for, with its figures. Raises TrainingError."""
    unit: Unit | Everybody = Unit(request.run, request.fold, request.seed)
    if request.everybody:
        unit = Everybody(request.run, request.seed)
    if request.everybody and not unit.done:
        raise TrainingError(
            f"{unit.directory}: found no student of everybody, expected one; run dicom-train fit "
            "--all"
        )
    if not unit.done:
        raise TrainingError(
            f"{unit.directory}: found no finished unit, expected fold {request.fold} with seed "
            f"{request.seed}; run dicom-train fit first or name another"
        )
    said = read_json(unit.directory / "unit.json")
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
    content = read_json(request.run / "run.json")
    # The role that was exported; a run of before did not say, and there the method is its own.
    role = said.get("student_role") or _student_role(units[0], content["method"])
    units = with_first_slides(units, role)
    use = use_of(units, role, request.unit)
    scores = _scores(request, said, units, use)
    beside = _beside(request.beside, content, role, request.unit)
    of_parts = tuple(parts(request.run, units, use.role))
    named = figures(units, use.role, request.floor) if content["classes"] else None
    return Student(
        content,
        said,
        unit.directory / "student.onnx",
        scores,
        use,
        is_even(unit.directory / "student.onnx", said),
        sites_of(request.run, content, units),
        beside,
        of_parts,
        named,
        request.floor,
        request.class_codes,
    )


def _scores(
    request: Request, said: Mapping[str, Any], units: tuple[runs.Unit, ...], use: Use
) -> dict[str, NDArray[np.float64]]:
    """What was said of patients who had not been seen, shown as they will be: of the fold, or of
    everybody by the students of the folds."""
    if use.unit == "case" or not use.has_several:
        return {name: np.array(values) for name, values in said["student_scores"].items()}
    if request.everybody and "risk" not in said["student_scores"]:
        found = said.get("one_slide_probabilities")
        if not found:
            raise TrainingError(
                f"{request.run}: found a student of everybody of an earlier version, without what "
                "it says of one slide, expected that for --unit slide; fit the run again into "
                "another --out"
            )
        return {name: np.array(values) for name, values in found.items()}
    mine = [unit for unit in units if unit.seed == request.seed
            and (request.everybody or unit.fold == request.fold)]  # fmt: skip
    return scores_of(mine, use.role, list(said["student_scores"]))


def _beside(
    path: Path | None, content: Mapping[str, object], role: str, unit: UnitOfUse
) -> Scored | None:
    """The figure of the same students on the other kind of folds. Raises TrainingError for a run of
    something else."""
    if path is None:
        return None
    other, units = runs.read(path)
    said = read_json(path / "run.json")
    for key in ("method", "cohort_digest", "task", "settings"):
        if said[key] != content[key]:
            raise TrainingError(
                f"{path}: found a run with {key} = {said[key]}, expected {content[key]} as in the "
                "run that is exported; name its run on the other folds"
            )
    if other.kind == content["kind"] or not units:
        raise TrainingError(
            f"{path}: found {len(units)} units on {other.kind} folds, expected some on the other "
            "kind of folds; name the other run"
        )
    use = use_of(with_first_slides(units, role), role, unit)
    return Scored(other.kind, use.figure, use.measured, sites_of(path, said, units))


def _student_role(unit: runs.Unit, method: str) -> str:
    """The distilled student where there is one, else the baseline itself; never what is beside."""
    role = "student" if ("student", "inner") in unit.predictions else method
    if (role, "inner") not in unit.predictions:
        raise TrainingError(
            f"found no scores of {role}, expected those of the student that is exported; fit the "
            "run again"
        )
    return role


def _require_same_features(student: Student, source: Bundle) -> None:
    graph = source.manifest.graphs["encoder"]
    widths = [t.shape[-1] for t in graph.outputs if t.name == "features"]
    if widths != [student.unit["width"]]:
        raise TrainingError(
            f"encoder {source.manifest.name}: found features of width {widths}, the student was "
            f"trained on {student.unit['width']}; name the encoder that made its features"
        )
    for made in student.run["features"]:
        _require_one_origin(made, source, source.manifest.input.mpp)
    if student.coarse_mpp is not None:
        for made in student.run["second_features"]:
            _require_one_origin(made, source, student.coarse_mpp)


def _require_one_origin(made: Mapping[str, object], source: Bundle, mpp: float) -> None:
    """Refuses features that say another spacing, tile or encoder than the bundle, or none."""
    wanted, file = source.manifest.input, source.manifest.graphs["encoder"].file
    digest = hashlib.sha256(source.file(file).read_bytes()).hexdigest()
    digests = {digest}
    if source.manifest.is_encoder_alone:  # features made by the very weights it was made from
        digests.add(source.manifest.training.digest.removeprefix("sha256:"))
    for key, expected, unit in (
        ("mpp", {mpp}, "um per pixel"),
        ("tile_px", {wanted.tile_px}, "px a tile"),
        ("encoder", digests, "(SHA-256)"),
    ):
        if made[key] not in expected:
            named = " or ".join(str(value) for value in sorted(expected))
            raise TrainingError(
                f"encoder {source.manifest.name}: found features of {key} {made[key]} (None: the "
                f"file does not say), expected all of them by {key} {named} {unit}; name the "
                "encoder that made them, or extract the features again"
            )
