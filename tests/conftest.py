from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import postgres as postgres_server
import pytest
import structlog

from slides import (
    cmu_study,
    composed_study,
    phantom_study,
    tcga_study,
)

__all__ = ["cmu_study", "composed_study", "phantom_study", "tcga_study"]

ROOT = Path(__file__).parent.parent


def pytest_configure() -> None:
    """Take virtual environments off the path: pynetdicom installs a storescp and a storescu of
    its own there, and the tests want DCMTK's."""
    folders = os.environ["PATH"].split(os.pathsep)
    kept = [folder for folder in folders if not (Path(folder) / "activate").is_file()]
    os.environ["PATH"] = os.pathsep.join(kept)


FIRST = (
    "tests/fuzz/test_mutants.py",
    "tests/test_wheel.py",
    "tests/dicom_node/test_one_slide.py",
    "tests/fuzz/test_torn_instances.py",
)
"""Files of few tests that take minutes: begun last, they would be waited for alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of FIRST; pytest-xdist keeps this order where it is asked to."""
    order = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(FIRST)))


@pytest.fixture(autouse=True)
def log_of_its_own() -> Iterator[None]:
    """A command that a test runs in its own process sets the log of that process: nothing of that
    is left to the next test, which may look at what is logged."""
    structlog.reset_defaults()
    root, hooks = logging.getLogger(), (sys.excepthook, sys.unraisablehook, threading.excepthook)
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real slides, tiles and tables; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs ../shared/data (real slides and tiles), which is not here")
    return folder


@pytest.fixture(scope="session")
def oracles(shared: Path) -> dict[str, Any]:
    """Worked examples of every formula of the published methods, by name."""
    path = shared / "reference" / "oracles.json"
    if not path.is_file():
        pytest.skip("needs ../shared/reference/oracles.json, which is not here")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Server]:
    """A PostgreSQL server of the tests."""
    with postgres_server.server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a new ledger goes: once a file, once a database of a server."""
    if request.param == "sqlite":
        return tmp_path / "node.sqlite"
    server: postgres_server.Server = request.getfixturevalue("postgres")
    return server.create()


@pytest.fixture(scope="session")
def run_python() -> Callable[[str], str]:
    """Runs a few lines in a Python process of their own; what they print."""

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
