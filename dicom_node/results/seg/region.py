"""Region Segmentation: BINARY, the tiles of a map at and above the threshold that its model states.

Some viewers draw a FRACTIONAL one as two classes at a threshold of their own. This one is at the
model's, which its label says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.results.identity import Provenance
from dicom_node.results.kinds import REGION
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.modules import plain
from dicom_node.results.seg import labels
from dicom_node.results.seg.heatmap import grid_of, output_of
from dicom_node.results.seg.layer import Layer, build_layer
from engines.manifest.outputs import HeatmapOutput
from engines.manifest.whole import Manifest
from inference.types import Heatmap, Prediction


def make(making: Making) -> Iterator[BuiltObject]:
    """A Segmentation for each map with a threshold; empty where no tile reaches it."""
    result, manifest = making.result, making.manifest
    if not isinstance(result, Prediction) or manifest is None:
        return
    maps = [h for h in result.heatmaps if output_of(manifest, h).threshold is not None]
    for number, heatmap in enumerate(maps, start=len(making.made) + 1):
        region = build_region(
            making.source,
            result,
            heatmap,
            manifest,
            making.provenance,
            input_uids=making.slide.input_uids,
            series_number=making.usual_series_number(number),
            read=making.read,
        )
        yield BuiltObject(f"{REGION.name}-{heatmap.name}", making.slide.key, region)


def build_region(
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
    """The region on the grid of its heatmap, in the slide's frame of reference (PS3.3 A.51).

    Raises ValueError like `heatmap.build_segmentation`, and for a map without a threshold.
    """
    output = output_of(manifest, heatmap)
    layer = Layer(
        kind=f"region {output.name}",
        label=labels.of_region(output, manifest),
        description=_description(output),
        content_label="REGION",
        segmentation_type="BINARY",
        pixels=members(heatmap, result, output),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    return build_layer(
        source, result, output, manifest, provenance, layer, input_uids, series_number, read
    )


def members(heatmap: Heatmap, result: Prediction, output: HeatmapOutput) -> NDArray[np.uint8]:
    """1 for the tiles of the region, 0 elsewhere, uint8 [R, C]."""
    if output.threshold is None:
        raise ValueError(f"heatmap {heatmap.name}: found no threshold, expected one: no region")
    values = grid_of(heatmap, result)
    return (np.nan_to_num(values, nan=-1.0) >= output.threshold).astype(np.uint8)


def _description(output: HeatmapOutput) -> str:
    return plain(f"Tiles at {output.threshold:g} and above. {output.description}", 1024)
