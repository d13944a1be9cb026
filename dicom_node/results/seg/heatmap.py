"""Heatmap Segmentation: FRACTIONAL, one pixel per tile, laid over the whole slide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import JPEGLSLossless

from dicom_node.results import codes
from dicom_node.results.identity import Provenance, ResultNames
from dicom_node.results.kinds import HEATMAP
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.modules import (
    blank_header,
    complete,
    pixel_measures,
    plain,
    series_description,
)
from dicom_node.results.sources import set_sources
from engines.manifest.outputs import HeatmapOutput
from engines.manifest.whole import Manifest
from inference.slide.characters.header import UTF_8, in_unicode
from inference.types import Heatmap, Prediction, SlideGeometry

FRAME_PX = 64
MAXIMUM = 255
_ENCODING = f"Stored 0: not analyzed; 1-{MAXIMUM}: value x {MAXIMUM}, at least 1."


def make(making: Making) -> Iterator[BuiltObject]:
    """A Segmentation for each heatmap of the prediction."""
    result = making.result
    if not isinstance(result, Prediction) or making.manifest is None:
        return
    for number, heatmap in enumerate(result.heatmaps, start=len(making.made) + 1):
        segmentation = build_segmentation(
            making.source,
            result,
            heatmap,
            making.manifest,
            making.provenance,
            input_uids=making.slide.input_uids,
            series_number=making.series_number + number,
            read=making.read,
        )
        yield BuiltObject(f"{HEATMAP.name}-{heatmap.name}", making.slide.key, segmentation)


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
    output = _output(manifest, heatmap)
    check_same_slide(source, result.geometry)
    kind = f"heatmap {output.name}"
    names = ResultNames.of(source.StudyInstanceUID, input_uids, provenance, kind)
    device = provenance.device
    base_mm = (result.geometry.spacing_row_mm, result.geometry.spacing_col_mm)
    own = in_unicode(source)
    segmentation: Dataset = Segmentation(
        source_images=[blank_header(own, result.geometry)],
        pixel_array=(stored_values(heatmap, result) / np.float64(MAXIMUM))[np.newaxis],
        segmentation_type="FRACTIONAL",
        fractional_type="PROBABILITY",
        max_fractional_value=MAXIMUM,
        segment_descriptions=[_segment(output, result, manifest, provenance, names)],
        series_instance_uid=names.uid("series"),
        series_number=series_number,
        sop_instance_uid=names.uid("instance"),
        instance_number=1,
        manufacturer=device.manufacturer,
        manufacturer_model_name=device.model,
        software_versions=device.software_version,
        device_serial_number=device.serial,
        content_label="HEATMAP",
        content_description=plain(output.description, 64),
        transfer_syntax_uid=JPEGLSLossless,
        pixel_measures=pixel_measures(source, base_mm, times=result.stride_px),
        tile_pixel_array=True,
        tile_size=(FRAME_PX, FRAME_PX),
        dimension_organization_type="TILED_SPARSE",
        omit_empty_frames=False,
        series_description=series_description(f"AI heatmap {output.name}"[:32], manifest, own),
        specific_character_set=UTF_8,
    )
    # highdicom parses the origin; viewers compare it with the slide's
    segmentation.TotalPixelMatrixOriginSequence = deepcopy(source.TotalPixelMatrixOriginSequence)
    segmentation.PatientOrientation = None  # type 2C, left out by highdicom
    _fix_dimension_uid(segmentation, names.uid("dimensions"))
    set_sources(segmentation, read or [source])
    complete(segmentation, own, manifest, provenance)
    return segmentation


def stored_values(heatmap: Heatmap, result: Prediction) -> NDArray[np.uint8]:
    """Values as stored, uint8 [R, C]: 0 where nothing was analyzed, else 1 to 255.

    Viewers draw 0 transparent, so that a low value must not become 0.
    """
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
    scaled = np.rint(np.where(analyzed, values, 0).astype(np.float64) * MAXIMUM)
    return np.where(analyzed, np.maximum(scaled, 1), 0).astype(np.uint8)


def check_same_slide(source: Dataset, geometry: SlideGeometry) -> None:
    """Raises ValueError unless `geometry` is that of `source`."""
    found = (
        source.FrameOfReferenceUID,
        source.TotalPixelMatrixRows,
        source.TotalPixelMatrixColumns,
    )
    expected = (geometry.frame_of_reference_uid, geometry.rows, geometry.cols)
    if found != expected:
        raise ValueError(
            f"source {source.SOPInstanceUID}: found frame of reference, rows, columns {found}; "
            f"the result was computed on {expected}: pass the base level it was computed on"
        )


def _output(manifest: Manifest, heatmap: Heatmap) -> HeatmapOutput:
    for output in manifest.heatmaps:
        if output.name == heatmap.name:
            return output
    names = [output.name for output in manifest.heatmaps]
    raise ValueError(f"found heatmap {heatmap.name}, expected one of the manifest's: {names}")


def _segment(
    output: HeatmapOutput,
    result: Prediction,
    manifest: Manifest,
    provenance: Provenance,
    names: ResultNames,
) -> SegmentDescription:
    segment = SegmentDescription(
        segment_number=1,
        segment_label=plain(output.type.meaning, 64),
        segmented_property_category=codes.concept(output.category),
        segmented_property_type=codes.concept(output.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=plain(manifest.title, 64),
            version=manifest.version,
            family=codes.ARTIFICIAL_INTELLIGENCE,
            source=plain(manifest.manufacturer, 64),
            parameters=algorithm_parameters(manifest, provenance, result.stride_px),
        ),
        tracking_uid=names.uid("tracking"),
        tracking_id=plain(f"heatmap {output.name}", 64),
    )
    segment.SegmentDescription = plain(f"{_ENCODING} {output.description}", 1024)
    return segment


def algorithm_parameters(
    manifest: Manifest, provenance: Provenance, stride_px: int | None
) -> dict[str, str]:
    """What must be the same for the same result: the bundle by digest, the engine, the tiles."""
    parameters = {
        "bundle": f"{provenance.bundle_name} {provenance.bundle_version}",
        "bundle digest": provenance.bundle_digest,
        "engine": plain(provenance.engine),
        "tiles": f"{manifest.input.tile_px} px at {manifest.input.mpp:g} um/px",
    }
    if stride_px is not None:
        parameters["stride"] = f"{stride_px} px of the base level"
    return parameters


def _fix_dimension_uid(segmentation: Dataset, uid: str) -> None:
    """Puts a derived UID in place of the random one."""
    for sequence in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in segmentation[sequence].value:
            item.DimensionOrganizationUID = uid
