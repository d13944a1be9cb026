"""Runs of the conformance suite, as a program of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes import ROOT

KNOWN: dict[str, str] = {}
"""Cases that fail, and what is wrong with the node. Whoever mends one takes its line away."""


@dataclass(frozen=True)
class Run:
    status: int
    cases: dict[str, dict[str, Any]]
    said: str

    def with_verdict(self, verdict: str) -> set[str]:
        return {name for name, c in self.cases.items() if c["verdict"] == verdict}

    def why_failed(self) -> dict[str, str]:
        return {name: c["found"] for name, c in self.cases.items() if c["verdict"] == "failed"}


def conformance(folder: Path, port: int, *options: str, ae: str = "DICOMNODE",
                calling: str = "PACS", patience: str = "5") -> Run:  # fmt: skip
    """The suite as a program of its own; it must not see the node's packages loaded."""
    out = folder / "conformance.json"
    out.unlink(missing_ok=True)
    titles = ["--ae", ae, "--calling", calling, "--patience", patience, "--json", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "conformance", "127.0.0.1", str(port), *titles, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert out.exists(), done.stdout + done.stderr
    cases = {c["id"]: c for c in json.loads(out.read_text())["cases"]}
    return Run(done.returncode, cases, done.stdout)
