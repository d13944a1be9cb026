"""A prediction as one file: .npz with JSON inside; equal results give equal bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np

from inference.durable import whole
from inference.types import (
    ClassMap,
    Condition,
    Found,
    Heatmap,
    LevelAccount,
    Measured,
    NotAssessable,
    Patch,
    Prediction,
    Reason,
    SlideGeometry,
)

_SCHEMA = 1
_META = "meta"


def save(
    result: Prediction | NotAssessable, path: Path, note: Mapping[str, Any] | None = None
) -> None:
    """Write the result, with a `note` of JSON values beside it; readers see the whole file or none,
    also after a power cut."""
    with whole(path) as file:
        write(result, file, note)


def write(
    result: Prediction | NotAssessable, file: IO[bytes], note: Mapping[str, Any] | None = None
) -> None:
    """Write the result, with a note, into an open file."""
    meta, arrays = _take_apart(result)
    if note is not None:
        meta["note"] = dict(note)
    text = json.dumps(meta, sort_keys=True, allow_nan=False)
    arrays[_META] = np.frombuffer(text.encode(), np.uint8)
    np.savez(file, **arrays)


def load(path: Path | IO[bytes]) -> Prediction | NotAssessable:
    """What `save` or `write` wrote. Raises OSError, or ValueError for a file of another kind."""
    with np.load(path, allow_pickle=False) as arrays:
        if _META not in arrays:
            raise ValueError(f"expected a saved prediction, found a file without '{_META}'")
        meta = json.loads(arrays[_META].tobytes())
        if meta.get("schema") != _SCHEMA:
            raise ValueError(
                f"expected a prediction of schema {_SCHEMA}, found another: analyze again"
            )
        if meta["kind"] == "not-assessable":
            return NotAssessable(
                reason=Reason(meta["reason"]),
                detail=meta["detail"],
                geometry=_geometry(meta["geometry"]),
                levels=_levels(meta["levels"]),
                base=meta.get("base", ""),
            )
        return _prediction(meta, dict(arrays))


def note_of(path: Path) -> dict[str, Any]:
    """The note that was saved beside a result; empty if none. Raises OSError, or ValueError for a
    file of another kind."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(json.loads(arrays[_META].tobytes()).get("note", {}))
    except (KeyError, EOFError, BadZipFile) as error:
        raise ValueError("expected a saved prediction, found another file") from error


def _take_apart(result: Prediction | NotAssessable) -> tuple[dict[str, Any], dict[str, Any]]:
    """JSON values and arrays of a result."""
    arrays: dict[str, Any] = {}
    if isinstance(result, NotAssessable):
        return {"schema": _SCHEMA, "kind": "not-assessable", **asdict(result)}, arrays
    meta = asdict(result)
    for n, heatmap in enumerate(result.heatmaps):
        del meta["heatmaps"][n]["values"]
        arrays[f"heatmap-{n}"] = heatmap.values
    meta["class_maps"] = [found.name for found in result.class_maps]
    for n, found in enumerate(result.class_maps):
        arrays[f"classes-{n}"], arrays[f"shares-{n}"] = found.classes, found.shares
    meta["tissue_outlines"] = len(result.tissue_outlines)
    for n, outline in enumerate(result.tissue_outlines):
        arrays[f"outline-{n}"] = outline
    return {"schema": _SCHEMA, "kind": "prediction", **meta}, arrays


def _prediction(meta: dict[str, Any], arrays: dict[str, Any]) -> Prediction:
    geometry = _geometry(meta["geometry"])
    if geometry is None:
        raise ValueError("a saved prediction has a geometry, found none: analyze again")
    return Prediction(
        geometry=geometry,
        stride_px=meta["stride_px"],
        scores=meta["scores"],
        percentiles=meta["percentiles"],
        survivals={name: tuple(values) for name, values in meta["survivals"].items()},
        heatmaps=tuple(
            Heatmap(h["name"], arrays[f"heatmap-{n}"], tuple(Patch(**p) for p in h["top_patches"]))
            for n, h in enumerate(meta["heatmaps"])
        ),
        tissue_outlines=tuple(arrays[f"outline-{n}"] for n in range(meta["tissue_outlines"])),
        tissue_area_mm2=meta["tissue_area_mm2"],
        tiles_analyzed=meta["tiles_analyzed"],
        levels=_levels(meta["levels"]),
        warnings=tuple(meta["warnings"]),
        base=meta.get("base", ""),  # not kept before 0.1.2
        condition=_condition(meta.get("condition")),
        intervals=intervals_of(meta),
        # what follows was not kept before 0.1.2
        class_maps=tuple(
            ClassMap(name, arrays[f"classes-{n}"], arrays[f"shares-{n}"])
            for n, name in enumerate(meta.get("class_maps", ()))
        ),
        measures={name: Measured(**m) for name, m in meta.get("measures", {}).items()},
        not_assessed=meta.get("not_assessed", {}),
        left_out=dict(meta.get("left_out", {})),
        unscanned_mm2=meta.get("unscanned_mm2"),
        probabilities={n: tuple(found) for n, found in meta.get("probabilities", {}).items()},
    )


def intervals_of(meta: dict[str, Any]) -> dict[str, tuple[tuple[float, float], ...]]:
    """Low and high of each number, by output name; they were not kept before 0.1.2."""
    found = meta.get("intervals", {})
    return {name: tuple((low, high) for low, high in ends) for name, ends in found.items()}


def _condition(values: dict[str, Any] | None) -> Condition | None:
    """None of a file that was saved before it was measured."""
    if values is None:
        return None
    return Condition(**{name: None if v is None else Found(**v) for name, v in values.items()})


def _geometry(values: dict[str, Any] | None) -> SlideGeometry | None:
    if values is None:
        return None
    return SlideGeometry(**{**values, "orientation": tuple(values["orientation"])})


def _levels(values: list[dict[str, Any]]) -> tuple[LevelAccount, ...]:
    return tuple(LevelAccount(**level) for level in values)
