"""From slides to a bundle that the node runs, by the commands alone; and runs that are refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nodes import dicom_node

torch = pytest.importorskip("torch", reason="needs the training extra")

from engines.bundle import open_bundle  # noqa: E402
from training.learning.graphs import run as run_graph  # noqa: E402
from training.tiles.feature_files import read, read_origin, write_h5  # noqa: E402

ROOT = Path(__file__).parents[2]
PATIENTS = 60


def dicom_train(*arguments, status=0):
    done = subprocess.run(
        [sys.executable, "-m", "training", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="module")
def extracted(phantom_study, work):
    """Features of a real file set by the shipped encoder."""
    said = dicom_train(
        "features", phantom_study.folder, "--encoder", "default", "--out", work / "features"
    )
    assert "1 slides: 1 written" in said
    (path,) = (work / "features").rglob("*.h5")
    return path


@pytest.fixture(scope="module")
def cohort(extracted, work):
    """Sixty patients whose bags are drawn from those tiles; who has more of a kind dies earlier."""
    found, origin = read(extracted), read_origin(extracted)
    rng = np.random.default_rng(0)
    light = found.feats[:, 0] > np.median(found.feats[:, 0])
    slides, outcome, genes = [], [], []
    for at in range(PATIENTS):
        share = rng.uniform(0.1, 0.9)
        weight = np.where(light, share, 1 - share)
        rows = rng.choice(len(light), 24, p=weight / weight.sum())
        path = work / "bags" / f"S{at:02d}.h5"
        of = replace(origin, slide=path.stem, slide_digest=f"{origin.slide_digest}-{at}")
        write_h5(path, found.feats[rows], found.coords[rows], of)
        patient = f"TCGA-{10 + at % 12}-{at:04d}"
        death = rng.exponential(40 * np.exp(-3 * (share - 0.5)))
        visit = rng.uniform(5, 120)
        slides.append({"patient": patient, "slide": f"S{at:02d}", "file": path})
        outcome.append(
            {
                "patient": patient,
                "time_months": round(min(death, visit) + 0.1, 2),
                "event": int(death <= visit),
                "age": 60,
                "light": "many" if share > 0.5 else "few",
            }
        )
        genes.append(
            {"patient": patient, "EPCAM": share + rng.normal(0, 0.1), "CD3E": rng.normal()}
        )
    for name, rows in (("slides", slides), ("outcome", outcome), ("expression", genes)):
        pd.DataFrame(rows).to_csv(work / f"{name}.csv", index=False)
    return work


@pytest.fixture(scope="module")
def built(cohort):
    said = dicom_train(
        "cohort", "build", "--name", "drawn", "--outcome", cohort / "outcome.csv",
        "--slides", cohort / "slides.csv", "--expression", cohort / "expression.csv",
        "--out", cohort / "cohort",
    )  # fmt: skip
    assert "60 patients, 60 slides" in said
    return cohort / "cohort"


@pytest.fixture(scope="module")
def run(built, work):
    dicom_train(
        "fit", "abmil", "--cohort", built, "--data", work, "--out", work / "run",
        "--fold", 0, "--fold", 1, "--epochs", 6, "--set", "lr=0.002",
    )  # fmt: skip
    return work / "run"


def test_a_fit_leaves_predictions_facts_and_a_graph_for_every_fold(run):
    for fold in (0, 1):
        unit = run / f"fold{fold}-seed0"
        content = json.loads((unit / "unit.json").read_text())
        table = pd.read_csv(unit / "predictions.csv")
        assert set(table["role"]) == {"abmil", "age", "genomic"}
        assert set(table["rule"]) == {"inner", "last"}
        assert len(table) == 6 * content["patients"]["outer"]
        assert (unit / "log.csv").read_text().count("inner") == 6
        assert list((unit / "tensorboard").iterdir())
        assert not list(unit.glob("*.ckpt"))
    (made,) = json.loads((run / "run.json").read_text())["features"]
    assert (made["mpp"], made["tile_px"]) == (0.5, 224)


def test_the_graph_says_of_a_bag_what_the_predictions_say(run, built):
    unit = run / "fold0-seed0"
    table = pd.read_csv(unit / "predictions.csv")
    mine = table[(table["role"] == "abmil") & (table["rule"] == "inner")].iloc[0]
    slide = pd.read_csv(built / "slides.csv").set_index("patient").loc[mine["patient"], "file"]
    found = run_graph(unit / "student.onnx", {"features": read(Path(slide)).feats})
    assert found["risk"][0] == pytest.approx(mine["risk"], abs=1e-4)
    assert found["attention"].shape == (24,)
    assert ((found["attention"] >= 0) & (found["attention"] < 1)).all()


def test_a_finished_run_is_not_fitted_again_and_another_plan_is_refused(run, built, work):
    before = (run / "fold0-seed0" / "unit.json").stat().st_mtime_ns
    dicom_train(
        "fit", "abmil", "--cohort", built, "--data", work, "--out", run, "--fold", 0,
        "--epochs", 6, "--set", "lr=0.002",
    )  # fmt: skip
    assert (run / "fold0-seed0" / "unit.json").stat().st_mtime_ns == before
    said = dicom_train(
        "fit", "abmil", "--cohort", built, "--data", work, "--out", run, "--epochs", 7, status=3
    )
    assert "found a run with settings" in said


def test_a_fold_that_fails_ends_the_run_and_the_folds_that_run_beside_it(built, work):
    run = work / "failing"
    broken = run / "fold0-seed0" / "abmil.ckpt"
    broken.parent.mkdir(parents=True)
    os.mkfifo(broken)  # opened, it waits: the fold fails when the other has begun
    command = [
        sys.executable, "-m", "training", "fit", "abmil", "--cohort", str(built), "--data",
        str(work), "--out", str(run), "--fold", "0", "--fold", "1", "--jobs", "2",
        "--epochs", "1000000",
    ]  # fmt: skip
    log = run / "fold1-seed0" / "log.csv"
    with (run / "said").open("w") as said:
        fit = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, start_new_session=True)
    try:
        until(lambda: log.exists() and "inner" in log.read_text(), seconds=300)
        broken.open("wb").close()
        assert fit.wait(timeout=60) == 3, (run / "said").read_text()
        assert "fit.failed" in (run / "said").read_text()
        length = log.stat().st_size
        time.sleep(1)
        assert log.stat().st_size == length, "the other fold still runs"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(fit.pid, signal.SIGKILL)
        fit.wait()


def until(holds, *, seconds):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_report_is_written_from_the_run(run, work):
    dicom_train("evaluate", run, "--json", work / "e.json", "--html", work / "e.html")
    assert "abmil" in (work / "e.html").read_text()
    assert json.loads((work / "e.json").read_text())["tasks"]


def test_the_node_checks_the_exported_bundle_and_reports_a_slide_with_it(run, work, phantom_study):
    bundle = work / "bundle"
    pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT for RTX is not installed")
    said = dicom_train(
        "export", run, "--encoder", "default", "--out", bundle, "--name", "drawn-abmil",
        "--engines", "tensorrt-rtx",
    )  # fmt: skip
    for graph in ("encoder", "aggregator"):
        assert f"plans/{graph}-fp32-rtx" in said
        assert list(bundle.glob(f"plans/{graph}-*-sm86-89-120-121-*.plan"))
    manifest = open_bundle(bundle).manifest
    assert manifest.heatmaps[0].type.meaning == "Attention of the model"  # not a neoplasm
    assert [o.name for o in manifest.outputs] == ["risk", "survival", "attention"]
    assert manifest.scores[0].percentiles is not None
    assert "Research only" in (bundle / "card.md").read_text()
    done = dicom_node(
        "analyze", str(phantom_study.folder), "--bundle", str(bundle), "--out",
        str(work / "answer"), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (answer,) = json.loads(done.stdout)
    assert "attention" in answer["objects"]
    assert "Risk score" in json.dumps(answer["report"])


def test_a_bundle_is_refused_behind_an_encoder_that_did_not_make_the_features(run, work, tmp_path):
    from bundles import write_bundle

    other = write_bundle(tmp_path / "tiny")
    said = dicom_train(
        "export", run, "--encoder", other, "--out", tmp_path / "out", "--name", "x", status=3
    )
    assert "name the encoder that made" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("changed", [{"mpp": 1.0}, {"encoder": None, "mpp": None, "tile_px": None}])
def test_features_of_another_spacing_or_of_unknown_origin_are_not_exported(changed, run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    said = json.loads((copy / "run.json").read_text())
    said["features"].append(said["features"][0] | changed)
    (copy / "run.json").write_text(json.dumps(said))
    answer = dicom_train(
        "export", copy, "--encoder", "default", "--out", tmp_path / "out", "--name", "x", status=3
    )
    assert "expected all of them by" in answer


def test_a_label_task_gives_one_class_of_all_with_their_probabilities(cohort, work):
    dicom_train(
        "cohort", "build", "--name", "drawn-label", "--outcome", cohort / "outcome.csv",
        "--slides", cohort / "slides.csv", "--task", "light", "--classes", "few", "many",
        "--out", work / "label",
    )  # fmt: skip
    dicom_train(
        "fit", "meanpool", "--cohort", work / "label", "--data", work, "--out", work / "label-run",
        "--task", "light", "--fold", 0, "--epochs", 3,
    )  # fmt: skip
    dicom_train(
        "export", work / "label-run", "--encoder", "default", "--out", work / "label-bundle",
        "--name", "drawn-label",
    )  # fmt: skip
    found = open_bundle(work / "label-bundle").manifest
    assert found.scores == ()
    [output] = found.classifications
    assert [code.meaning for code in output.classes] == ["few", "many"]
    assert (output.name, output.floor, output.uncertainty.how) == ("light", 0.5, "calibration")
    patients = pd.read_csv(work / "label" / "patients.csv").set_index("patient")
    held = patients.index[patients["fold_official"] == 0]
    assert output.uncertainty.count == len(held)
    slides = pd.read_csv(work / "label" / "slides.csv").set_index("patient")["file"]
    table = pd.read_csv(work / "label-run" / "fold0-seed0" / "predictions.csv")
    table = table[(table["role"] == "meanpool") & (table["rule"] == "inner")]
    graph = work / "label-bundle" / "aggregator.onnx"
    for row in table.itertuples():
        said = run_graph(graph, {"features": read(Path(slides[row.patient])).feats})["probability"]
        assert said == pytest.approx([row.p0, row.p1], abs=1e-4)


def test_a_name_that_no_bundle_may_have_is_refused_before_anything_is_written(run, work, tmp_path):
    said = dicom_train(
        "export", run, "--encoder", "default", "--out", tmp_path / "b", "--name", "My Model",
        status=3,
    )  # fmt: skip
    assert "found 'My Model' as name" in said
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fit", "nosuch"], "found method 'nosuch', expected one of"),
        (["fit", "abmil", "--set", "hiden=3"], "found setting 'hiden', expected one of"),
        (["fit", "abmil", "--set", "hidden=wide"], "expected a whole number"),
        (["fit", "abmil", "--fold", "9"], "asked for fold 9"),
    ],
)
def test_a_wrong_word_is_answered_with_the_words_there_are(arguments, sentence, built, work):
    said = dicom_train(
        *arguments, "--cohort", built, "--data", work, "--out", work / "never", status=3
    )
    assert sentence in said
