"""The result of a case as one file: .npz with JSON and the results of its slides inside; equal
results give equal bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from inference import archive
from inference.case.values import CaseResult, CaseSlide
from inference.durable import whole
from inference.types import NotAssessable, Prediction, Reason

_SCHEMA = 1
_META, _NUMBERS = "case", "numbers"


def save(result: CaseResult, path: Path, note: Mapping[str, Any] | None = None) -> None:
    """Write the result, with a `note` of JSON values beside it; readers see the whole file or none,
    also after a power cut."""
    meta: dict[str, Any] = {
        "schema": _SCHEMA,
        "slides": [slide.key for slide in result.slides],
        "refusal": result.refusal,
    }
    if note is not None:
        meta["note"] = dict(note)
    text = json.dumps(meta, sort_keys=True, allow_nan=False)
    arrays: dict[str, Any] = {_META: np.frombuffer(text.encode(), np.uint8)}
    arrays |= {f"slide-{n}": _packed(slide.result) for n, slide in enumerate(result.slides)}
    if result.numbers is not None:
        arrays[_NUMBERS] = _packed(result.numbers)
    with whole(path) as file:
        np.savez(file, **arrays)


def load(path: Path) -> CaseResult:
    """What `save` wrote. Raises OSError, or ValueError for a file of another kind."""
    with np.load(path, allow_pickle=False) as arrays:
        if _META not in arrays:
            raise ValueError(f"expected the result of a case, found a file without '{_META}'")
        meta = json.loads(arrays[_META].tobytes())
        if meta.get("schema") != _SCHEMA:
            raise ValueError(f"expected a case of schema {_SCHEMA}, found another: analyze again")
        refusal = meta["refusal"]
        numbers = _unpacked(arrays[_NUMBERS]) if _NUMBERS in arrays else None
        if isinstance(numbers, NotAssessable):
            raise ValueError("expected the numbers of a case, found a refusal: analyze again")
        return CaseResult(
            slides=tuple(
                CaseSlide(key, _unpacked(arrays[f"slide-{n}"]))
                for n, key in enumerate(meta["slides"])
            ),
            refusal=None if refusal is None else (Reason(refusal[0]), refusal[1]),
            numbers=numbers,
        )


def note_of(path: Path) -> dict[str, Any]:
    """The note that was saved beside a result; empty if none. Raises OSError, or ValueError for a
    file of another kind."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(json.loads(arrays[_META].tobytes()).get("note", {}))
    except (KeyError, EOFError, BadZipFile) as error:
        raise ValueError("expected the result of a case, found another file") from error


def _packed(result: Prediction | NotAssessable) -> NDArray[np.uint8]:
    file = BytesIO()
    archive.write(result, file)
    return np.frombuffer(file.getvalue(), np.uint8)


def _unpacked(stored: NDArray[np.uint8]) -> Prediction | NotAssessable:
    return archive.load(BytesIO(stored.tobytes()))
