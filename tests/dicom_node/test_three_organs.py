"""Three students of three cohorts, made by the README's commands, answer in one node."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from nodes import ROOT, node, storescp, storescu, study_of
from pydicom import Dataset
from validators import dciodvfy_errors

pytest.importorskip("torch", reason="needs the training extra")

from organ_cohorts import WORSE, draw_organ

from dicom_node.ledger.states import State
from dicom_node.view.reading import read_groups
from engines.bundle import open_bundle

pytestmark = pytest.mark.timeout(1800)
"""Thirteen commands, each a process that loads torch: minutes on a busy machine."""
SR = "1.2.840.10008.5.1.4.1.1.88.34"
SECTION = (ROOT / "README.md").read_text().partition("### Three organs in one node")[2]
COMMANDS = SECTION.partition("```sh\n")[2].partition("```")[0]
MODELS = SECTION.partition("```toml\n")[2].partition("```")[0]


def run(commands: str, folder: Path) -> None:
    """Lines of a shell, stopped at the first that fails, where `dicom-train` is this tree's."""
    shim = folder / "bin" / "dicom-train"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m training "$@"\n')
    shim.chmod(0o755)
    path = f"{shim.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", commands],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the commands leave, of drawn slides."""
    folder = tmp_path_factory.mktemp("organs")
    for organ in WORSE:
        draw_organ(folder, organ)
    run(COMMANDS, folder)
    return folder


def told(work: Path, organ: str) -> pd.DataFrame:
    """What training said of the patients of fold 0, whom the exported student had not seen."""
    table = pd.read_csv(work / "runs" / organ / "fold0-seed0" / "predictions.csv")
    table = table[(table["role"] == "abmil") & (table["rule"] == "inner")]
    return table.merge(pd.read_csv(work / "cohorts" / organ / "slides.csv"), on="patient")


def number(report: Dataset, name: str) -> float:
    (found,) = (m.value for group in read_groups(report) for m in group.measurements
                if m.name.startswith(name))  # fmt: skip
    return float(found)


def test_the_three_bundles_are_students_of_three_cohorts_behind_one_encoder(work):
    made = {organ: open_bundle(work / "models" / organ) for organ in WORSE}
    assert [b.manifest.status for b in made.values()] == ["fixture"] * 3
    assert [b.manifest.applicability.organs[0].meaning for b in made.values()] == list(WORSE)
    assert len({b.manifest.training.digest for b in made.values()}) == 3
    graphs = {name: {b.file(b.manifest.graphs[name].file).read_bytes() for b in made.values()}
              for name in ("encoder", "aggregator")}  # fmt: skip
    assert (len(graphs["encoder"]), len(graphs["aggregator"])) == (1, 3)


def test_each_slide_gets_the_report_of_its_organs_student_with_the_number_of_training(
    work, tmp_path
):
    sent = {organ: told(work, organ).iloc[0] for organ in WORSE}
    slides = {organ: work / "slides" / organ / row["slide"] for organ, row in sent.items()}
    with (
        storescp(tmp_path / "pacs") as pacs,
        node(tmp_path / "node", pacs.port) as n,
    ):
        n.config.write_text(n.config.read_text() + MODELS.replace('"/', f'"{work}/'))
        n.start("ingest")
        for slide in slides.values():
            assert storescu(n.port, slide).returncode == 0
        n.work()
        for slide in slides.values():
            revision = n.finished(study_of(slide))
            assert revision.state is State.DONE, revision.reason
        reports = {str(o.StudyInstanceUID): o for o in pacs.objects() if o.SOPClassUID == SR}
        assert len(reports) == 3
        for path in pacs.folder.iterdir():
            assert dciodvfy_errors(path) == []
    risks = {}
    for organ, slide in slides.items():
        report = reports[study_of(slide)]
        assert open_bundle(work / "models" / organ).digest in report.to_json()
        assert any(f"The organ is {organ}" in c for g in read_groups(report) for c in g.comments)
        risks[organ] = number(report, "Risk score")
        # A report has three digits; engines differ by 1e-5, which may turn the last of them.
        wanted = [f"{sent[organ]['risk'] + shift:.3g}" for shift in (-1e-4, 0, 1e-4)]
        assert f"{risks[organ]:.3g}" in wanted, organ
    assert len(set(risks.values())) == 3
