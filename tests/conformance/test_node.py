"""The suite against a real node: every case passes, but for those that are known to fail."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from certificates import Authority
from conformance_runs import KNOWN, Run, conformance
from nodes import Node, free_port, need, node, wait_for
from pynetdicom import AE
from students import tiny_bundle


def without_survival(manifest: dict[str, Any]) -> None:
    """Its curve depends on the colors, and rises for the slides that the suite draws."""
    manifest["outputs"] = [o for o in manifest["outputs"] if o["kind"] != "survival"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, int]]:
    """A node with the fixture student, and the port that it sends its results to."""
    folder = tmp_path_factory.mktemp("conformance")
    bundle = tiny_bundle(folder / "bundle", without_survival)
    results_port = free_port()
    with node(folder / "node", results_port) as made:
        model = f'[model]\nbundle = "{bundle}"\nengine = "onnxruntime"\n'
        made.config.write_text(made.config.read_text() + model)
        made.start()
        yield made, results_port


def assert_only_known(run: Run) -> None:
    strange = {name: found for name, found in run.why_failed().items() if name not in KNOWN}
    assert strange == {}


def test_echo_and_negotiation_pass_without_asking_for_anything(running, tmp_path):
    n, _ = running
    run = conformance(tmp_path, n.port)
    assert_only_known(run)
    assert len(run.with_verdict("passed")) >= 100
    assert run.status == (1 if run.with_verdict("failed") else 0)
    assert "instance_stored" not in n.log


def test_storage_and_refusals_pass(running, tmp_path):
    n, _ = running
    run = conformance(tmp_path, n.port, "--store", "--only", "storage", "refusals")
    assert_only_known(run)
    assert len(run.with_verdict("passed")) >= 70


def test_results_and_completeness_pass(running, tmp_path):
    n, results_port = running
    options = ["--store", "--results-port", str(results_port), "--results-bind", "127.0.0.1"]
    options += ["--quiet", "6", "--results-within", "120"]
    run = conformance(tmp_path, n.port, *options, "--only", "results", "completeness", "commitment")
    assert_only_known(run)
    assert len(run.with_verdict("passed")) >= 33


def test_hostile_peers_and_pdus_out_of_place_pass(running, tmp_path):
    n, _ = running
    subjects = ["echo", "admission", "states", "lengths", "hostile", "refusals.operation"]
    run = conformance(tmp_path, n.port, "--hostile", "127.0.0.1", "--only", *subjects)
    assert_only_known(run)
    assert len(run.with_verdict("passed")) >= 80


def test_a_stopping_node_and_a_full_one_say_so(tmp_path):
    with node(tmp_path / "full", free_port(), reserve_mb=1 << 40) as n:
        n.start("ingest")
        run = conformance(tmp_path, n.port, "--store", "--full")
        assert run.with_verdict("passed") == {"refusals.full"}, run.said
        entity = AE("PACS")
        entity.add_requested_context("1.2.840.10008.1.1")
        held = entity.associate("127.0.0.1", n.port, ae_title="DICOMNODE")
        assert held.is_established
        n.processes[-1].send_signal(signal.SIGTERM)
        wait_for(lambda: "stopping" in n.log or "drain" in n.log, what="the node stopping")
        run = conformance(tmp_path, n.port, "--draining")
        held.release()
        assert run.with_verdict("passed") == {"admission.draining"}, run.said


def test_tls_passes_beside_the_plain_port_and_alone(tmp_path):
    need("openssl")
    authority = Authority(tmp_path / "ca")
    server, client = authority.issue("node"), authority.issue("client")
    expired = authority.issue("expired", end="20250601000000Z")
    revoked = authority.issue("revoked")
    authority.revoke(revoked)
    tls_port = free_port()
    section = f"""
[node.tls]
certificate = "{server.certificate}"
key = "{server.key}"
client_ca = "{authority.ca}"
crl = "{authority.crl()}"
port = {tls_port}
"""
    options = ["--tls", str(authority.ca), "--tls-port", str(tls_port)]
    for name, identity in (("client", client), ("expired", expired), ("revoked", revoked)):
        options += [f"--tls-{name}", str(identity.certificate), str(identity.key)]
    with node(tmp_path / "node", free_port(), extra=section) as n:
        n.start("ingest")
        run = conformance(tmp_path, n.port, *options, "--only", "tls")
        assert run.why_failed() == {}
        assert len(run.with_verdict("passed")) >= 15
        over = conformance(tmp_path, tls_port, *options, "--store", "--only", "echo", "storage")
        assert_only_known(over)
        assert len(over.with_verdict("passed")) >= 45


@pytest.mark.xfail(strict=True, reason="KNOWN says why")
@pytest.mark.parametrize("name", sorted(KNOWN))
def test_what_is_known_to_fail_would_pass(running, tmp_path, name):
    n, _ = running
    options = ["--store", "--hostile", "127.0.0.1", "--only", name]
    run = conformance(tmp_path, n.port, *options, patience="2")
    assert run.cases[name]["verdict"] == "passed"
