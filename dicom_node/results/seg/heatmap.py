"""Heatmap Segmentation: FRACTIONAL, one pixel per tile, laid over the whole slide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import JPEGLSLossless

from dicom_node.results.identity import Provenance
from dicom_node.results.kinds import HEATMAP
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.modules import plain
from dicom_node.results.seg import labels
from dicom_node.results.seg.layer import MAXIMUM, Layer, build_layer
from dicom_node.results.seg.layers import kind_of_map
from engines.manifest.outputs import HeatmapOutput
from engines.manifest.whole import Manifest
from inference.types import Heatmap, Prediction


def make(making: Making) -> Iterator[BuiltObject]:
    """A Segmentation for each map of a finding."""
    yield from maps_of(making, "finding", HEATMAP.name)


def maps_of(
    making: Making, shows: Literal["finding", "attention"], kind: str
) -> Iterator[BuiltObject]:
    """A Segmentation for each map of the prediction that shows this."""
    result, manifest = making.result, making.manifest
    if not isinstance(result, Prediction) or manifest is None:
        return
    maps = [h for h in result.heatmaps if output_of(manifest, h).shows == shows]
    for number, heatmap in enumerate(maps, start=len(making.made) + 1):
        segmentation = build_segmentation(
            making.source,
            result,
            heatmap,
            manifest,
            making.provenance,
            input_uids=making.slide.input_uids,
            series_number=making.usual_series_number(number),
            read=making.read,
        )
        yield BuiltObject(kind_of_map(kind, heatmap.name), making.slide.key, segmentation)


def build_segmentation(
    source: Dataset,
    result: Prediction,
    heatmap: Heatmap,
    manifest: Manifest,
    provenance: Provenance,
    *,
    input_uids: Sequence[str],
    series_number: int,
    read: Sequence[Dataset] = (),
) -> Dataset:
    """The heatmap as a Segmentation in the slide's study and frame of reference (PS3.3 A.51).

    `source` is the header of the base-level VOLUME instance, pixel data not needed. Origin and
    orientation are the slide's, nothing is cropped, and pixel spacing is `stride_px` times the
    base level's: viewers place an overlay by these alone. `read` are references to every instance
    that was read, where that is more than `source`.

    Raises ValueError for a heatmap that is not the manifest's, holds values outside [0, 1] or
    no value at all, or does not fit the grid of `source`.
    """
    output = output_of(manifest, heatmap)
    layer = Layer(
        kind=f"heatmap {output.name}",
        label=labels.of_heatmap(output, manifest),
        description=plain(f"{encoding(output)} {output.description}", 1024),
        content_label="ATTENTION" if output.shows == "attention" else "HEATMAP",
        segmentation_type="FRACTIONAL",
        pixels=stored_values(heatmap, result, output.floor) / np.float64(MAXIMUM),
        transfer_syntax_uid=JPEGLSLossless,
    )
    return build_layer(
        source, result, output, manifest, provenance, layer, input_uids, series_number, read
    )


def encoding(output: HeatmapOutput) -> str:
    """How a value of the map is stored, in a sentence."""
    below = f" or below {output.floor:g}" if output.floor else ""
    return f"Stored 0: not analyzed{below}; 1-{MAXIMUM}: value x {MAXIMUM}, at least 1."


def stored_values(heatmap: Heatmap, result: Prediction, floor: float = 0.0) -> NDArray[np.uint8]:
    """Values as stored, uint8 [R, C]: 0 where nothing was analyzed or the value is below `floor`,
    else 1 to 255.

    Viewers draw 0 transparent, so that a low value at or above the floor must not become 0.
    """
    values = grid_of(heatmap, result)
    shown = np.nan_to_num(values, nan=-1.0) >= floor
    scaled = np.rint(np.where(shown, values, 0).astype(np.float64) * MAXIMUM)
    return np.where(shown, np.maximum(scaled, 1), 0).astype(np.uint8)


def grid_of(heatmap: Heatmap, result: Prediction) -> NDArray[np.float32]:
    """The values [R, C] of a map that fits the slide; ValueError for one that does not."""
    values = heatmap.values
    grid = tuple(
        math.ceil(n / result.stride_px) for n in (result.geometry.rows, result.geometry.cols)
    )
    if values.ndim != 2 or any(
        n > most or n < most - 1 for n, most in zip(values.shape, grid, strict=True)
    ):
        raise ValueError(
            f"heatmap {heatmap.name}: found a grid of {values.shape}, expected {grid} cells of "
            f"{result.stride_px} px: the whole slide, not cropped"
        )
    analyzed = ~np.isnan(values)
    if not analyzed.any():
        raise ValueError(f"heatmap {heatmap.name}: no tile was analyzed; report NotAssessable")
    if (values[analyzed] < 0).any() or (values[analyzed] > 1).any():
        raise ValueError(
            f"heatmap {heatmap.name}: found {np.nanmin(values)} to {np.nanmax(values)}, "
            "expected values in [0, 1]"
        )
    return values


def output_of(manifest: Manifest, heatmap: Heatmap) -> HeatmapOutput:
    """What the manifest says of the map; ValueError where it knows none of its name."""
    for output in manifest.heatmaps:
        if output.name == heatmap.name:
            return output
    names = [output.name for output in manifest.heatmaps]
    raise ValueError(f"found heatmap {heatmap.name}, expected one of the manifest's: {names}")
