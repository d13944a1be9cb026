"""The result of a case as one file: .npz with JSON and the results of its slides inside; equal
results give equal bytes."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from inference import archive
from inference.case.values import CaseResult, CaseSlide
from inference.durable import whole
from inference.types import Reason

_SCHEMA = 1
_META = "case"


def save(result: CaseResult, path: Path) -> None:
    """Write the result; readers see the whole file or none, also after a power cut."""
    meta = {
        "schema": _SCHEMA,
        "slides": [slide.key for slide in result.slides],
        "refusal": result.refusal,
        "scores": result.scores,
        "percentiles": result.percentiles,
        "survivals": result.survivals,
        "intervals": result.intervals,
    }
    text = json.dumps(meta, sort_keys=True, allow_nan=False)
    arrays: dict[str, Any] = {_META: np.frombuffer(text.encode(), np.uint8)}
    for n, slide in enumerate(result.slides):
        one = BytesIO()
        archive.write(slide.result, one)
        arrays[f"slide-{n}"] = np.frombuffer(one.getbuffer(), np.uint8)
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
        return CaseResult(
            slides=tuple(
                CaseSlide(key, archive.load(BytesIO(arrays[f"slide-{n}"].tobytes())))
                for n, key in enumerate(meta["slides"])
            ),
            refusal=None if refusal is None else (Reason(refusal[0]), refusal[1]),
            scores=meta["scores"],
            percentiles=meta["percentiles"],
            survivals={name: tuple(values) for name, values in meta["survivals"].items()},
            intervals=archive.intervals_of(meta),
        )
