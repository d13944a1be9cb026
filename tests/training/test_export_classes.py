"""A student of classes is exported as one output that the node answers, with figures of its own."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from drawn_cohorts import command  # noqa: E402
from nodes import dicom_node  # noqa: E402
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, roc_auc_score  # noqa: E402
from tissue_students import slide  # noqa: E402
from training_patients import split  # noqa: E402

from engines.bundle import open_bundle  # noqa: E402
from engines.manifest.values import Code  # noqa: E402
from inference.answers import require_answerable  # noqa: E402
from training.bundle.classes.figures import ClassFigures, calibration  # noqa: E402
from training.bundle.classes.output import write_joined  # noqa: E402
from training.bundle.export import Request, export  # noqa: E402
from training.cohorts.material import known_task  # noqa: E402
from training.errors import TrainingError  # noqa: E402
from training.learning.graphs import run as run_graph  # noqa: E402
from training.learning.journal import Journal  # noqa: E402
from training.methods.baselines import method as baselines  # noqa: E402
from training.runs.units import Unit, write_json, write_unit  # noqa: E402
from training.scoring.resample import Interval  # noqa: E402


@pytest.fixture(scope="module", params=["diagnosis", "grading"])
def run(request, tmp_path_factory):
    """One finished unit of a baseline on drawn bags as wide as the shipped encoder's features."""
    encoder, task = open_bundle("default"), known_task(request.param)
    run = tmp_path_factory.mktemp("run")
    width = next(t.shape[-1] for t in encoder.manifest.graphs["encoder"].outputs
                 if t.name == "features")  # fmt: skip
    draw = torch.Generator().manual_seed(0)

    def of_three(part):
        label = torch.arange(len(part.bags)) % 3
        bags = tuple(
            torch.randn(5, width, generator=draw) + 0.12 * (torch.arange(width) % 3 == at)
            for at in label
        )
        return replace(part, bags=bags, label=label)

    given = replace(split(), task=task)
    given = replace(
        given, **{at: of_three(getattr(given, at)) for at in ("train", "valid", "test")}
    )
    with Journal(run / "fold0-seed0") as journal:
        found = baselines.fit("meanpool", given, baselines.Settings(epochs=4), 0, journal)
        write_unit(Unit(run, 0, 0), given, found.scores, found, 0.0)
    graph = encoder.manifest.graphs["encoder"]
    made = {
        "encoder": hashlib.sha256(encoder.file(graph.file).read_bytes()).hexdigest(),
        "mpp": encoder.manifest.input.mpp,
        "tile_px": encoder.manifest.input.tile_px,
    }
    write_json(
        run / "run.json",
        {
            "method": "meanpool", "cohort": "drawn", "cohort_digest": "0" * 64, "task": task.name,
            "classes": list(task.classes), "kind": "official", "settings": {}, "epochs": 4,
            "patients": len(given.test), "dropped": {}, "features": [made], "seeds": [0],
            "versions": {},
        },
    )  # fmt: skip
    return run


def scored(run):
    """Labels [P] and probabilities [P, 3] of the student."""
    table = pd.read_csv(run / "fold0-seed0" / "predictions.csv")
    table = table[(table["role"] == "meanpool") & (table["rule"] == "inner")]
    return table["label"].to_numpy(), table[["p0", "p1", "p2"]].to_numpy()


MEANINGS = {
    "diagnosis": ["Glioblastoma, IDH-wildtype", "Astrocytoma, IDH-mutant",
                  "Oligodendroglioma, codeleted"],
    "grading": ["Glioma, grade 2", "Glioma, grade 3", "Glioma, grade 4"],
}  # fmt: skip
NAMES = {"diagnosis": "Glioma diagnosis", "grading": "Glioma grade"}


def test_the_manifest_has_one_output_of_all_classes_with_its_own_figures(run, tmp_path):
    out = export(Request(run, "default", tmp_path / "bundle", "drawn", floor=0.4))
    bundle = require_answerable(open_bundle(str(out)))
    task = json.loads((run / "run.json").read_text())["task"]
    [output] = bundle.manifest.classifications
    assert [code.meaning for code in output.classes] == MEANINGS[task]
    assert (output.code.meaning, output.floor) == (NAMES[task], 0.4)
    assert bundle.manifest.finding.code == output.code
    assert bundle.manifest.scores == ()
    label, table = scored(run)
    rows = {row.figure: row for row in bundle.manifest.performance}
    guess, named = table.argmax(axis=1), table.max(axis=1) >= 0.4
    expected = {
        "balanced accuracy": balanced_accuracy_score(label, guess),
        "Cohen's kappa": cohen_kappa_score(label, guess),
        "share of patients with a class of 40 % or more": named.mean(),
        "accuracy where a class has 40 % or more": (guess == label)[named].mean(),
    }
    assert 0.2 < named.mean() < 1
    for name, value in expected.items():
        assert rows[name].value == pytest.approx(value, abs=1e-4), name
        assert rows[name].low < value < rows[name].high
        assert f"- {name}: {value:.3f} (" in (out / "card.md").read_text()
    auc = roc_auc_score(label, table, multi_class="ovr")
    assert rows["AUC"].value == pytest.approx(auc, abs=1e-4)
    assert output.uncertainty.count == len(label)
    slope, intercept = calibration([(label, table[None])])
    assert (output.uncertainty.slope, output.uncertainty.intercept) == pytest.approx(
        (slope, intercept), abs=1e-4
    )


def test_the_one_tensor_of_the_bundle_is_what_was_scored(run, tmp_path):
    out = export(Request(run, "default", tmp_path / "bundle", "drawn"))
    said = json.loads((run / "fold0-seed0" / "unit.json").read_text())
    features = {"features": np.random.default_rng(0).normal(size=(9, said["width"]))}
    features = {name: value.astype(np.float32) for name, value in features.items()}
    found = run_graph(out / "aggregator.onnx", features)
    parts = run_graph(run / "fold0-seed0" / "student.onnx", features)
    classes = json.loads((run / "run.json").read_text())["classes"]
    expected = np.concatenate([parts[f"probability_{name}"] for name in classes])
    assert np.array_equal(found["probability"], expected)
    assert found["probability"].shape == (3,)
    assert not any(name.startswith("probability_") for name in found)
    assert np.array_equal(found["attention"], parts["attention"])


def test_the_node_names_a_class_of_a_slide_with_the_exported_student(run, tmp_path):
    task = json.loads((run / "run.json").read_text())["task"]
    out = export(Request(run, "default", tmp_path / "bundle", "drawn", floor=0.0, is_fixture=True))
    files = slide(tmp_path / "slide", ["TTTTTTTTTTTT"] * 10)
    done = dicom_node(
        "analyze", str(files.base_path.parent), "--out", str(tmp_path / "a"),
        "--bundle", str(out), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    [answer] = json.loads(done.stdout)
    [group] = [g for g in answer["report"] if g["group"] == f"classes of {task} 1"]
    rows = {row["name"]: row["value"] for row in group["rows"]}
    chances = {name: float(rows[name]) for name in MEANINGS[task]}
    assert sum(chances.values()) == pytest.approx(100, abs=0.2)
    assert rows[NAMES[task]] == max(chances, key=lambda name: chances[name])
    assert any("calibration: slope" in comment for comment in group["comments"])


def test_codes_of_classes_can_be_given_and_those_of_other_classes_are_refused(run, tmp_path):
    classes = json.loads((run / "run.json").read_text())["classes"]
    code = Code(value="9440/3", scheme="ICDO3", meaning="Named by the site")
    request = Request(run, "default", tmp_path / "b", "drawn", class_codes={classes[1]: code})
    [output] = open_bundle(str(export(request))).manifest.classifications
    assert output.classes[1] == code
    assert output.classes[0].scheme == "99DICOMNODE"
    with pytest.raises(TrainingError, match="found a code for class 'other', expected one of"):
        export(replace(request, out=tmp_path / "c", class_codes={"other": code}))


def test_a_graph_without_a_class_is_not_joined(run, tmp_path):
    graph = run / "fold0-seed0" / "student.onnx"
    with pytest.raises(TrainingError, match="found no output probability_other, expected one"):
        write_joined(graph, ["other"], tmp_path / "a.onnx")


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, 0.0), (1.0, -0.7)])
def test_the_calibration_of_probabilities_is_that_which_they_were_drawn_with(slope, intercept):
    rng = np.random.default_rng(3)
    logit = rng.normal(0, 1.5, 40_000)
    told = 1 / (1 + np.exp(-logit))
    true = rng.random(len(logit)) < 1 / (1 + np.exp(-(slope * logit + intercept)))
    table = np.stack([1 - told, told], axis=1)
    found = calibration([(true.astype(np.int64), table[None])])
    assert found == pytest.approx((slope, intercept), abs=0.06)


def test_where_only_one_class_came_true_no_calibration_is_known():
    table = np.full((1, 6, 2), 0.5)
    assert calibration([(np.ones(6, np.int64), table)]) is None


@pytest.mark.parametrize(
    ("classes", "said"),
    [(["wild", "mutant"], "mutant against wild"), (["a", "b", "c"], "one class against the rest")],
)
def test_of_two_classes_a_manifest_says_of_which_the_intercept_is(classes, said):
    one = Interval(0.5, 0.4, 0.6)
    found = ClassFigures(one, one, one, one, calibration=(0.9, -0.7), patients=40)
    assert found.uncertainty("drawn, outer site folds", classes) == {
        "how": "calibration", "slope": 0.9, "intercept": -0.7, "count": 40,
        "data": f"drawn, outer site folds, {said}",
    }  # fmt: skip


def test_a_fold_without_a_class_is_told_on_the_card(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    name = json.loads((copy / "run.json").read_text())["classes"][2]
    unit = copy / "fold0-seed0" / "predictions.csv"
    table = pd.read_csv(unit)
    table[table["label"] != 2].to_csv(unit, index=False)
    command("export", copy, "--encoder", "default", "--out", tmp_path / "out", "--name", "x")
    card = (tmp_path / "out" / "card.md").read_text()
    assert f"- Fold 0 holds nobody of class {name}: what it adds to these means" in card
