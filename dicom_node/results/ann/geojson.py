"""What was found on a slide as GeoJSON for QuPath 0.4 or later: places in base-level pixels.

QuPath reads a FeatureCollection of objects: `properties.objectType`, `classification` with name and
color, `measurements` by name, `isLocked`, and polygons in pixels of the full-resolution image, from
its top left corner. A tile is an object of its kind `tile`, which its measurement maps color.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node.config.languages import Language
from dicom_node.results.identity import NAMESPACE
from dicom_node.results.language.speaking import phrase
from dicom_node.results.making import BuiltObject
from dicom_node.results.seg.layers import heatmap_of, layer_of
from inference.heatmap import color
from inference.types import Prediction

_TISSUE_COLOR = [60, 110, 200]
_PLACE_COLOR = [220, 60, 30]


def to_text(result: Prediction, heatmaps: Sequence[BuiltObject], language: Language = "en") -> str:
    """The file: tissue, the highest places of each heatmap, and every tile with its value.

    `heatmaps` are FRACTIONAL Segmentations of the slide: what they do not show is not told. Raises
    ValueError for one that is of no map of `result`.
    """
    segmentations = [built.dataset for built in heatmaps]
    features = [*_tissue(result), *_places(result, heatmaps), *_tiles(result, segmentations)]
    # One feature a line: readable, and not a tenth larger.
    for feature in features:
        _name_in(feature["properties"], language)
    lines = ",\n".join(json.dumps(f, ensure_ascii=False, allow_nan=False) for f in features)
    return f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n'


def _name_in(properties: dict[str, Any], language: Language) -> None:
    properties["name"] = phrase(properties["name"], language)
    if "classification" in properties:
        kind = properties["classification"]
        kind["name"] = phrase(kind["name"], language)


def _tissue(result: Prediction) -> Iterator[dict[str, Any]]:
    for number, outline in enumerate(result.tissue_outlines, start=1):
        yield _feature(
            f"tissue {number}",
            "annotation",
            outline[:, ::-1],  # x, y
            "Tissue analyzed",
            _TISSUE_COLOR,
            {},
            result,
        )


def _places(result: Prediction, heatmaps: Sequence[BuiltObject]) -> Iterator[dict[str, Any]]:
    for built in heatmaps:
        heatmap = heatmap_of(built.kind, result.heatmaps)
        if heatmap is None:
            names = ", ".join(one.name for one in result.heatmaps)
            raise ValueError(f"found {built.kind}, expected the Segmentation of a map of: {names}")
        label = str(built.dataset.SegmentSequence[0].SegmentLabel)
        for number, patch in enumerate(heatmap.top_patches, start=1):
            yield _feature(
                f"{heatmap.name} top patch {number}",
                "annotation",
                _cell(patch.row, patch.col, result),
                label,
                _PLACE_COLOR,
                {label: round(float(patch.value), 4)},
                result,
            )


def _tiles(result: Prediction, heatmaps: Sequence[Dataset]) -> Iterator[dict[str, Any]]:
    layers = [layer_of(seg, result.geometry) for seg in heatmaps]
    if not layers:
        return
    shown = np.any([layer.values > 0 for layer in layers], axis=0)
    for row, col in np.argwhere(shown).tolist():
        values = {v.name: round(float(v.values[row, col]), 4) for v in layers if v.values[row, col]}
        rgb = color(layers[0].values[row, col].astype(np.float32))
        yield _feature(
            f"tile {row}, {col}",
            "tile",
            _cell(row, col, result),
            "",
            [int(c) for c in rgb],
            values,
            result,
        )


def _cell(row: int, col: int, result: Prediction) -> NDArray[np.float64]:
    """Corners (x, y) [5, 2] of a cell of the grid, cut off where the slide ends."""
    stride = result.stride_px
    top, left = row * stride, col * stride
    bottom = min(top + stride, result.geometry.rows)
    right = min(left + stride, result.geometry.cols)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return np.array(corners, np.float64)


def _feature(
    name: str,
    kind: str,
    ring: NDArray[np.float64],
    classification: str,
    rgb: list[int],
    measurements: dict[str, float],
    result: Prediction,
) -> dict[str, Any]:
    properties: dict[str, Any] = {"objectType": kind, "name": name, "isLocked": True}
    if classification:
        properties["classification"] = {"name": classification, "color": rgb}
    else:
        properties["color"] = rgb
    if measurements:
        properties["measurements"] = measurements
    made_from = f"{result.geometry.frame_of_reference_uid} {result.base} {name}"
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(NAMESPACE, made_from)),
        "geometry": {"type": "Polygon", "coordinates": [np.round(ring, 2).tolist()]},
        "properties": properties,
    }
