"""What a hospital installs: the wheel, in an empty environment, without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nodes import ROOT, free_port, node
from pydicom import dcmread


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """`bin` folder of a new environment that holds the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    constraints = ROOT / "constraints.txt"
    run(folder / "venv/bin/pip", "install", "-q", "-c", constraints, wheel, cwd=folder)
    return folder / "venv/bin"


def test_the_wheel_holds_the_packages_and_the_student_and_installs_no_torch(installed, tmp_path):
    code = """
import importlib.util, json
names = ["dicom_node", "inference", "engines", "training", "conformance", "tests", "torch"]
print(json.dumps([n for n in names if importlib.util.find_spec(n)]))
"""
    found = json.loads(run(installed / "python", "-c", code, cwd=tmp_path))
    assert found == ["dicom_node", "inference", "engines", "training", "conformance"]
    code = "from engines.bundle import open_bundle; print(open_bundle('default').manifest.name)"
    assert run(installed / "python", "-c", code, cwd=tmp_path).strip() == "default"


def test_the_suite_runs_from_the_wheel_and_imports_nothing_of_the_node(installed, tmp_path):
    plain = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    listed = subprocess.run(
        [installed / "python", "-m", "conformance", "--list"],
        cwd=tmp_path,
        env=plain,
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stderr
    subjects = {line.partition(".")[0] for line in listed.stdout.splitlines()}
    assert subjects >= {"echo", "admission", "contexts", "storage", "large", "completeness"}
    assert subjects >= {"results", "commitment", "tls", "hostile", "states"}
    with node(tmp_path / "node", free_port()) as n:
        n.start("ingest")
        asked = ["127.0.0.1", str(n.port), "--ae", "DICOMNODE", "--calling", "PACS"]
        done = subprocess.run(
            [installed / "python", "-m", "conformance", *asked, "--junit", "junit.xml"],
            cwd=tmp_path,
            env=plain,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "junit.xml").is_file()


def test_training_without_its_extra_says_what_to_install(installed, tmp_path):
    arguments = ["fit", "abmil", "--cohort", "blca", "--data", ".", "--out", "run"]
    done = subprocess.run(
        [installed / "dicom-train", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "expected the packages of the training extra" in done.stderr


def test_the_demo_brings_a_report_and_a_heatmap_back_and_a_page_to_look_at(installed, tmp_path):
    out = tmp_path / "demo"
    said = run(installed / "dicom-node", "demo", "--out", out, cwd=tmp_path)
    modalities = sorted(str(dcmread(p).Modality) for p in (out / "received").glob("*.dcm"))
    assert modalities == ["SEG", "SEG", "SR"]
    assert "Share of tiles in the region" in said
    assert str(out / "report.html") in said.replace("\n", "")
    page = (out / "report.html").read_text()
    assert "Tumor probability per tile (research)" in page
    assert "Composition of the tissue:" in page
    assert "Not assessed, because" not in page, "the drawn slide says its organ"
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_demo_sends_a_real_slide(installed, cmu_study, tmp_path):
    out = tmp_path / "demo"
    said = run(
        installed / "dicom-node", "demo", "--slide", cmu_study.folder, "--out", out, cwd=tmp_path
    )
    received = [dcmread(p) for p in (out / "received").glob("*.dcm")]
    sent = {dcmread(p, stop_before_pixels=True).StudyInstanceUID for p in cmu_study.paths}
    assert sorted(o.Modality for o in received) == ["SEG", "SEG", "SR"]
    assert {o.StudyInstanceUID for o in received} == sent
    assert "drawn" not in said


def test_the_demo_never_touches_a_folder_that_is_not_its_own(installed, tmp_path):
    out = tmp_path / "taken"
    out.mkdir()
    (out / "precious.txt").write_text("keep me")
    done = subprocess.run(
        [installed / "dicom-node", "demo", "--out", out],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "not empty" in done.stdout
    assert (out / "precious.txt").read_text() == "keep me"
