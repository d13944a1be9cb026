"""The table of layers, read from the source: who may import what."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

OURS = {"dicom_node", "inference", "engines", "training", "conformance"}
MAY_IMPORT = {
    "engines": set(),
    "inference": {"engines"},
    "training": {"engines", "inference"},
    "dicom_node": {"engines", "inference"},
    "conformance": set(),
}
NEVER = {
    "engines": {"wsidicom", "pynetdicom", "highdicom", "torch", "pydicom"},
    "inference": {"pynetdicom", "highdicom", "sksurv", "torch", "dbos", "sqlalchemy"},
    "training": {"pynetdicom", "highdicom"},
    "dicom_node": {"torch", "sksurv"},
    "conformance": set(),
}


def imports_of(path: Path) -> set[str]:
    """Top-level names a file imports anywhere in it, function bodies included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_a_package_imports_only_what_its_layer_allows(package):
    for path in sources(package):
        found = imports_of(path)
        forbidden = (found & OURS - MAY_IMPORT[package] - {package}) | (found & NEVER[package])
        assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)}"


@pytest.mark.parametrize("package", ["engines", "inference", "training", "dicom_node"])
def test_the_layer_test_reads_files_and_sees_their_imports(package):
    files = sources(package)
    assert len(files) >= 3
    assert set().union(*(imports_of(path) for path in files)) & {"numpy", "torch", "pydicom"}


def test_the_ingest_process_loads_no_engine_and_no_workflow_library(run_python):
    loaded = run_python(
        "import sys, dicom_node.commands.serve, dicom_node.processes.ingest; "
        "print(*sorted(sys.modules))"
    ).split()
    heavy = {"openvino", "onnxruntime", "wsidicom", "highdicom", "dbos", "torch"}
    assert "dicom_node.services.store.handler" in loaded
    assert not heavy & set(loaded)
