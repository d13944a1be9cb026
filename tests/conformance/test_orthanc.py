"""The suite against Orthanc: cases can fail, and fail where Orthanc is known to be another kind."""

from __future__ import annotations

import pytest
from conformance_runs import Run, conformance
from nodes import free_port, orthanc

OTHERWISE = {
    # It takes who comes by its address, whatever the titles are.
    "admission.calling-unknown",
    "admission.called-unknown",
    "admission.called-case",
    # It keeps the first instance of a UID and says 0000 to every other one.
    "storage.other-content",
    "storage.other-syntax",
    "storage.other-study",
    # It takes other classes: it is an archive.
    "contexts.refuses-class-ct",
    "contexts.refuses-class-mr",
}
"""Cases that must fail against an Orthanc as it is installed."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("orthanc")
    results_port = free_port()
    with orthanc(folder / "pacs", results_port) as pacs:
        return conformance(
            folder,
            pacs.dicom_port,
            *("--store", "--results-port", str(results_port), "--results-bind", "127.0.0.1"),
            *("--results-within", "10", "--quiet", "1", "--only"),
            # Not how a message may be cut: Orthanc 1.10.1 ends itself over storage.cut-packed.
            *("echo", "admission", "contexts", "user", "storage.identical", "storage.other"),
            *("storage.JPEGBaseline", "storage.Explicit", "storage.dcmtk", "refusals.without"),
            *("refusals.other", "commitment", "results.come"),
            ae="PACS",
            calling="DICOMNODE",
        )


def test_what_orthanc_does_otherwise_fails(run):
    failed = set(run.why_failed())
    assert failed >= OTHERWISE, sorted(OTHERWISE - failed)
    assert "results.come" in failed
    assert run.status == 1


def test_what_every_node_does_passes(run):
    passed = run.with_verdict("passed")
    assert {"echo.explicit", "echo.implicit", "echo.dcmtk", "storage.identical"} <= passed
    assert {"contexts.128", "contexts.among-unknown", "user.states-class"} <= passed


def test_storage_commitment_is_asked_and_reported(run):
    commitment = {n: c["verdict"] for n, c in run.cases.items() if n.startswith("commitment.")}
    assert commitment["commitment.of-1"] == commitment["commitment.of-20"] == "passed", commitment
    assert commitment["commitment.unknown"] == commitment["commitment.class"] == "passed"
