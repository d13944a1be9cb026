"""Who may import what, read from the source: packages, the rooms of the node, and no rings."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
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
    "inference": {"pynetdicom", "highdicom", "sksurv", "torch", "dbos", "sqlalchemy", "structlog"},
    "training": {"pynetdicom", "highdicom"},
    "dicom_node": {"torch", "sksurv"},
    "conformance": {
        "wsidicom", "highdicom", "torch", "sqlalchemy", "dbos", "structlog", "openvino",
        "onnxruntime", "rich",
    },
}  # fmt: skip

EVERYWHERE = {"config", "implementation", "sop_classes", "observe", "__init__"}
"""What every room but `ledger` and `view` may import: pure, or of all."""
ROOMS = {
    "config": set(),
    "implementation": {"__init__"},
    "sop_classes": set(),
    "exit_status": set(),
    "observe": set(),
    "ledger": set(),
    "view": set(),
    "association": EVERYWHERE,
    "spool": {*EVERYWHERE, "ledger"},
    "study": {*EVERYWHERE, "ledger"},
    "results": {*EVERYWHERE, "study"},
    "deliver": {*EVERYWHERE, "association", "ledger", "spool", "results"},
    "notify": {*EVERYWHERE, "ledger"},
    "services": {*EVERYWHERE, "association", "spool", "ledger"},
    "work": {*EVERYWHERE, "study", "results", "deliver", "ledger", "spool"},
    "processes": {
        *EVERYWHERE, "association", "spool", "ledger", "study", "results", "deliver", "services",
        "work", "notify", "exit_status",
    },
    "demo": {*EVERYWHERE, "association", "ledger", "spool", "view", "results"},
    "statement": {*EVERYWHERE, "association", "services", "results"},
    "commands": {
        *EVERYWHERE, "association", "ledger", "spool", "study", "results", "deliver", "processes",
        "view", "demo", "notify", "exit_status", "statement", "work",
    },
    "cli": {*EVERYWHERE, "ledger", "commands", "exit_status"},
    "__main__": {"cli"},
    "__init__": set(),
}  # fmt: skip
"""Rooms of dicom_node: what each may import of the others."""
ROOM_NEVER = {
    "config": {"pynetdicom", "sqlalchemy", "highdicom", "dbos"},
    "sop_classes": {"pynetdicom", "sqlalchemy", "highdicom", "pydicom", "dbos"},
    "observe": {"pynetdicom", "sqlalchemy", "highdicom", "dbos"},
    "ledger": {"pynetdicom", "highdicom", "dbos", "inference", "engines"},
    "association": {"sqlalchemy", "highdicom", "dbos", "inference", "engines"},
    "spool": {"pynetdicom", "sqlalchemy", "highdicom", "dbos", "engines"},
    "study": {"pynetdicom", "sqlalchemy", "highdicom", "dbos", "engines"},
    "results": {"pynetdicom", "sqlalchemy", "dbos"},
    "deliver": {"sqlalchemy", "highdicom", "dbos", "inference", "engines"},
    "notify": {"pynetdicom", "sqlalchemy", "highdicom", "dbos", "inference", "engines"},
    "services": {"sqlalchemy", "highdicom", "dbos", "inference", "engines"},
    "work": {"pynetdicom", "highdicom"},
    "view": {"pynetdicom", "sqlalchemy", "dbos"},
}
LEDGER_IN_SPOOL = {"aside", "filing", "recovery", "purge", "removable"}
"""Only these modules of the spool know the ledger."""


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Full names of what a file imports anywhere in it, function bodies included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(path)}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def room_of(path: Path) -> str:
    """First floor below the package: a folder, or a module beside the folders."""
    relative = path.relative_to(ROOT)
    return relative.parts[1] if len(relative.parts) > 2 else path.stem


def rooms_imported(path: Path, package: str) -> set[str]:
    """Rooms of the same package that a file imports, without its own."""
    found = set()
    for name in imports_of(path):
        top, _, rest = name.partition(".")
        room = rest.partition(".")[0]
        if top == package and rest:
            is_room = (ROOT / package / room).is_dir() or (ROOT / package / f"{room}.py").is_file()
            found.add(room if is_room else "__init__")
    return found - {room_of(path)}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_a_package_imports_only_what_its_layer_allows(package):
    for path in sources(package):
        found = tops(path)
        forbidden = (found & OURS - MAY_IMPORT[package] - {package}) | (found & NEVER[package])
        assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)}"


@pytest.mark.parametrize(
    "package", ["engines", "inference", "training", "dicom_node", "conformance"]
)
def test_the_layer_test_reads_files_and_sees_their_imports(package):
    files = sources(package)
    assert len(files) >= 3
    assert set().union(*(tops(path) for path in files)) & {"numpy", "torch", "pydicom"}


def test_a_room_of_the_node_imports_only_the_rooms_its_table_allows():
    seen: dict[str, set[str]] = defaultdict(set)
    for path in sources("dicom_node"):
        room = room_of(path)
        assert room in ROOMS, f"{path.relative_to(ROOT)} lies in a room that no table knows"
        seen[room] |= rooms_imported(path, "dicom_node")
        forbidden = rooms_imported(path, "dicom_node") - ROOMS[room]
        forbidden |= tops(path) & ROOM_NEVER.get(room, set())
        assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)}"
    assert {"ledger", "spool", "association"} <= seen["services"], "the test sees arrows"
    assert {"study", "deliver", "results"} <= seen["work"]


def test_only_filing_purge_and_recovery_of_the_spool_know_the_ledger():
    knowing = {p.stem for p in sources("dicom_node") if room_of(p) == "spool"
               and "ledger" in rooms_imported(p, "dicom_node")}  # fmt: skip
    assert knowing
    assert knowing <= LEDGER_IN_SPOOL


def test_the_table_of_result_kinds_is_pure():
    kinds = ROOT / "dicom_node" / "results" / "kinds.py"
    ours = {name for name in imports_of(kinds) if name.startswith("dicom_node.")}
    assert ours
    assert all(name.startswith("dicom_node.sop_classes.") for name in ours)
    for path in sources("dicom_node"):
        if room_of(path) == "deliver":
            found = {n for n in imports_of(path) if n.startswith("dicom_node.results.")}
            assert all(f"{n}.".startswith("dicom_node.results.kinds.") for n in found), path


def test_commands_know_of_the_work_only_how_slides_are_routed_which_is_pure():
    known = {name for path in sources("dicom_node") if room_of(path) == "commands"
             for name in imports_of(path) if name.startswith("dicom_node.work.")}  # fmt: skip
    assert known
    assert all(name.startswith("dicom_node.work.routing.") for name in known), known
    files = sorted((ROOT / "dicom_node" / "work" / "routing").glob("*.py"))
    assert len(files) > 1
    routing = frozenset[str]().union(*map(imports_of, files))
    ours = {name for name in routing if name.partition(".")[0] in OURS}
    pure = ("dicom_node.config.", "dicom_node.work.routing.", "engines.manifest.", "inference.")
    assert all(name.startswith(pure) for name in ours), ours
    assert not {"dbos", "sqlalchemy", "openvino"} & {n.partition(".")[0] for n in routing}


def test_services_do_not_know_each_other():
    folder = ROOT / "dicom_node" / "services"
    assert len(list(folder.rglob("*.py"))) >= 4
    for path in folder.rglob("*.py"):
        mine = path.relative_to(folder).parts[0].removesuffix(".py")
        for name in imports_of(path):
            other = name.removeprefix("dicom_node.services.").partition(".")[0]
            is_other = name.startswith("dicom_node.services.") and other != mine
            assert not is_other, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize(
    "package", ["engines", "inference", "training", "dicom_node", "conformance"]
)
def test_no_two_rooms_of_a_package_import_each_other(package):
    arrows: dict[str, set[str]] = defaultdict(set)
    for path in sources(package):
        arrows[room_of(path)] |= rooms_imported(path, package) - {"__init__"}
    assert arrows
    assert list(_rings(arrows)) == []


def _rings(arrows: dict[str, set[str]]) -> Iterator[list[str]]:
    """Every way that leads from a room back to it."""

    def walk(way: list[str]) -> Iterator[list[str]]:
        for room in sorted(arrows.get(way[-1], ())):
            if room == way[0]:
                yield [*way, room]
            elif room not in way and room > way[0]:
                yield from walk([*way, room])

    for room in sorted(arrows):
        yield from walk([room])


def test_a_ring_would_be_found():
    assert list(_rings({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == [["a", "b", "c", "a"]]


def test_the_ingest_process_loads_no_engine_and_no_workflow_library(run_python):
    loaded = run_python(
        "import sys, dicom_node.commands.serve, dicom_node.processes.ingest; "
        "print(*sorted(sys.modules))"
    ).split()
    heavy = {"openvino", "onnxruntime", "wsidicom", "highdicom", "dbos", "torch"}
    assert "dicom_node.services.store.handler" in loaded
    assert not heavy & set(loaded)
