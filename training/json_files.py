"""JSON of this package, read back: half a file is a sentence, no traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.errors import TrainingError


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file. Raises TrainingError where it holds no whole one."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(
            f"found no whole JSON in {path} ({error}), expected the file as it was written: bring "
            "it back from a copy, or make what it belongs to again"
        ) from error
    if not isinstance(said, dict):
        raise TrainingError(
            f"found a {type(said).__name__} in {path}, expected an object: bring the file back "
            "from a copy, or make what it belongs to again"
        )
    return said
