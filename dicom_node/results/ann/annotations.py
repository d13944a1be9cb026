"""Every cell of the heatmaps as an outline with its value (PS3.3 A.87), for many regions.

A report marks a few places; this holds them all, for viewers and tools that read annotations.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.ann import AnnotationGroup, Measurements, MicroscopyBulkSimpleAnnotations
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node.results import codes
from dicom_node.results.carried.specimens import name_specimen
from dicom_node.results.identity import ResultNames
from dicom_node.results.kinds import ANNOTATIONS
from dicom_node.results.language.speaking import phrase
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.modules import blank_header, complete, plain, series_description
from dicom_node.results.seg.layers import values_of
from inference.slide.characters.header import UTF_8
from inference.types import Prediction


def make(making: Making) -> Iterator[BuiltObject]:
    """One object with a group for each heatmap that shows anything; none where none does."""
    result = making.result
    if not isinstance(result, Prediction) or not making.heatmaps:
        return
    names = making.names_after(making.heatmaps[0], ANNOTATIONS.name)
    groups: list[AnnotationGroup] = []
    for segmentation in making.heatmaps:
        values = values_of(making, segmentation)
        if np.isfinite(values).any():
            groups.append(_group(len(groups) + 1, segmentation, values, result, names))
    if not groups:
        return
    device = making.provenance.device
    annotations = MicroscopyBulkSimpleAnnotations(
        source_images=[blank_header(making.source, result.geometry)],
        annotation_coordinate_type="3D",
        annotation_groups=groups,
        series_instance_uid=names.uid("series"),
        series_number=making.asked_series_number(ANNOTATIONS),
        sop_instance_uid=names.uid("instance"),
        instance_number=1,
        manufacturer=device.manufacturer,
        manufacturer_model_name=device.model,
        software_versions=device.software_version,
        device_serial_number=device.serial,
        content_description=plain(
            phrase("Every tile that was analyzed, with its value", making.provenance.language), 64
        ),
        content_label="TILES",
        series_description=series_description(
            "AI annotations", making.manifest, making.source, making.provenance.language
        ),
        specific_character_set=UTF_8,
    )
    name_specimen(annotations, names)
    complete(annotations, making.source, making.manifest, making.provenance)
    yield BuiltObject(ANNOTATIONS.name, making.slide.key, annotations)


def _group(
    number: int,
    segmentation: Dataset,
    values: NDArray[np.float32],
    result: Prediction,
    names: ResultNames,
) -> AnnotationGroup:
    """Of one heatmap, coded as it is; a polygon does not repeat its first point (C.37.1.2)."""
    segment = segmentation.SegmentSequence[0]
    cells = np.argwhere(np.isfinite(values))
    measured = values[cells[:, 0], cells[:, 1]]
    algorithm = segment.SegmentationAlgorithmIdentificationSequence
    return AnnotationGroup(
        number=number,
        uid=names.uid("group", number),
        label=str(segment.SegmentLabel),
        annotated_property_category=_code(segment.SegmentedPropertyCategoryCodeSequence[0]),
        annotated_property_type=_code(segment.SegmentedPropertyTypeCodeSequence[0]),
        graphic_type="POLYGON",
        graphic_data=list(_corners_mm(cells, result)),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence.from_sequence(algorithm),
        measurements=[
            Measurements(
                name=CodedConcept.from_code(codes.HEATMAP_VALUE),
                values=measured,
                unit=CodedConcept.from_code(codes.NO_UNITS),
            )
        ],
        description=str(segment.get("SegmentDescription") or "") or None,
    )


def _corners_mm(cells: NDArray[np.int64], result: Prediction) -> NDArray[np.float64]:
    """Corners [N, 4, 3] (x, y, z) on the slide of cells [N, 2], cut off where the slide ends."""
    geometry, stride = result.geometry, result.stride_px
    low = cells * stride
    high = np.minimum(low + stride, (geometry.rows, geometry.cols))
    rows = np.stack([low[:, 0], low[:, 0], high[:, 0], high[:, 0]], axis=1)[..., None]
    cols = np.stack([low[:, 1], high[:, 1], high[:, 1], low[:, 1]], axis=1)[..., None]
    right = np.array(geometry.orientation[:3]) * geometry.spacing_col_mm
    down = np.array(geometry.orientation[3:]) * geometry.spacing_row_mm
    origin = (geometry.origin_x_mm, geometry.origin_y_mm, 0.0)
    corners: NDArray[np.float64] = origin + rows * down + cols * right
    return corners


def _code(item: Dataset) -> CodedConcept:
    return CodedConcept.from_dataset(item)
