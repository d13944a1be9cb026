"""DICOM validators that are not ours, as processes: dciodvfy and PixelMed's DicomSRValidator."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

JAVA_LIMITS = (  # the validator's style sheet exceeds Java's defaults; short runs need no optimizer
    "-Djdk.xml.xpathTotalOpLimit=0 -Djdk.xml.xpathExprOpLimit=0 -Djdk.xml.xpathExprGrpLimit=0 "
    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
)


def run(tool: str, *arguments: object, **environment: str) -> str:
    """What a tool says; skips where it is not installed."""
    done = ended(tool, *arguments, **environment)
    return done.stdout + done.stderr


def ended(tool: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A tool that has ended, with its exit status; skips where it is not installed."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed; `sh tests/run.sh` installs it")
    return subprocess.run(
        [tool, *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def dciodvfy_errors(path: Path) -> list[str]:
    """Error lines of dciodvfy, which must have recognized the object."""
    lines = run("dciodvfy", "-new", path).splitlines()
    assert {"Segmentation", "Comprehensive3DSR", "VLWholeSlideMicroscopyImage"} & set(lines), lines
    return [line for line in lines if "Error" in line]


def template_errors(path: Path) -> list[str]:
    """Error lines of the SR template validator, which must have come to its end."""
    said = run("DicomSRValidator", path, JAVA_TOOL_OPTIONS=JAVA_LIMITS)
    assert "Root Template Validation Complete" in said, said
    assert "IOD validation complete" in said, said
    return [line for line in said.splitlines() if "Error" in line]
