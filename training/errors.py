"""The one error of the training room."""

from __future__ import annotations

from pathlib import Path


class TrainingError(Exception):
    """Bad input or an impossible request; one sentence: found, expected, what to do."""


def existing(path: Path, what: str) -> Path:
    """`path`; TrainingError where the folder of a source lacks it."""
    if not path.is_file():
        raise TrainingError(f"found no {path}, expected {what}: check --data")
    return path
