from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slides import (
    cmu_study,
    composed_study,
    phantom_study,
    tcga_study,
)

__all__ = ["cmu_study", "composed_study", "phantom_study", "tcga_study"]

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real slides, tiles and tables; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs ../shared/data (real slides and tiles), which is not here")
    return folder


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
