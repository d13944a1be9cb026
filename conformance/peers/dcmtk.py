"""DCMTK as a second implementation beside pynetdicom; and dciodvfy, which judges objects."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from conformance.session import Session
from conformance.verdicts import Skipped

Done = subprocess.CompletedProcess[str]


def program(name: str) -> str:
    """Where a program is. Raises Skipped where it is not.

    pynetdicom installs scripts with the names of DCMTK's beside its Python: those are passed over.
    """
    folders = os.environ.get("PATH", "").split(os.pathsep)
    others = [f for f in folders if not (Path(f) / "activate").is_file()]
    found = shutil.which(name, path=os.pathsep.join(others))
    if found is None:
        raise Skipped(f"{name} is not installed")
    return found


def echoscu(session: Session, *options: str) -> Done:
    """Run echoscu against the node."""
    return _scu("echoscu", session, options, [])


def storescu(session: Session, datasets: Sequence[Dataset], *options: str) -> Done:
    """Run storescu with some instances."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for n, dataset in enumerate(datasets):
            paths.append(Path(folder) / f"{n}.dcm")
            dataset.save_as(paths[-1], enforce_file_format=True)
        return _scu("storescu", session, options, [str(p) for p in paths])


def validator_errors(dataset: Dataset) -> list[str]:
    """Lines of dciodvfy that begin with Error."""
    found = program("dciodvfy")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "object.dcm"
        dataset.save_as(path, enforce_file_format=True)
        done = _run([found, str(path)])
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]


def _scu(name: str, session: Session, options: Sequence[str], files: Sequence[str]) -> Done:
    found = program(name)
    target = session.target
    if target.tls is not None:
        raise Skipped(f"{name} is run without TLS only")
    titles = ["-aet", target.calling_ae, "-aec", target.called_ae]
    return _run([found, *titles, *options, target.host, str(target.port), *files])


def _run(command: Sequence[str]) -> Done:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
