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
from dicom_node.results.seg.classes import parts_of
from dicom_node.results.seg.heatmap import grid_of, output_of
from dicom_node.results.seg.layer import Layer, Part, build_layer
from engines.manifest.outputs import HeatmapOutput
from engines.manifest.whole import Manifest
from inference.types import Heatmap, Prediction


def make(making: Making) -> Iterator[BuiltObject]:
    """A Segmentation for each map with a threshold, empty where no tile reaches it; the classes of
    tissue are further segments of the first, or have one of their own where there is none."""
    result, manifest = making.result, making.manifest
    if not isinstance(result, Prediction) or manifest is None:
        return
    maps = [h for h in result.heatmaps if output_of(manifest, h).threshold is not None]
    classes = parts_of(result, manifest)
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
            classes=classes,
        )
        classes = []
        yield BuiltObject(f"{REGION.name}-{heatmap.name}", making.slide.key, region)
    if classes:
        yield _of_classes_alone(making, result, manifest, classes)


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
    classes: Sequence[Part] = (),
) -> Dataset:
    """The region on the grid of its heatmap, in the slide's frame of reference (PS3.3 A.51), and
    the `classes` of tissue on the same grid.

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
        source,
        result,
        output,
        manifest,
        provenance,
        layer,
        input_uids,
        series_number,
        read,
        classes,
    )


def _of_classes_alone(
    making: Making, result: Prediction, manifest: Manifest, classes: Sequence[Part]
) -> BuiltObject:
    """Classes of tissue of a student without a threshold."""
    output = next(m for m in manifest.class_maps if m.name == result.class_maps[0].name)
    first = classes[0]
    layer = Layer(
        kind=f"region {output.name}",
        label=labels.of_classes(manifest),
        description=first.description,
        content_label="REGION",
        segmentation_type="BINARY",
        pixels=first.pixels,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        first=first,
    )
    region = build_layer(
        making.source,
        result,
        output,
        manifest,
        making.provenance,
        layer,
        making.slide.input_uids,
        making.usual_series_number(len(making.made) + 1),
        making.read,
        classes[1:],
    )
    return BuiltObject(f"{REGION.name}-{output.name}", making.slide.key, region)


def members(heatmap: Heatmap, result: Prediction, output: HeatmapOutput) -> NDArray[np.uint8]:
    """1 for the tiles of the region, 0 elsewhere, uint8 [R, C]."""
    if output.threshold is None:
        raise ValueError(f"heatmap {heatmap.name}: found no threshold, expected one: no region")
    values = grid_of(heatmap, result)
    return (np.nan_to_num(values, nan=-1.0) >= output.threshold).astype(np.uint8)


def _description(output: HeatmapOutput) -> str:
    return plain(f"Tiles at {output.threshold:g} and above. {output.description}", 1024)
