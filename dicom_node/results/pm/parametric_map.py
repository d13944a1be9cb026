"""The heatmap as a Parametric Map (PS3.3 A.75), for those who compute with it.

16 bits, not float: common servers give no frames of float pixels. Stored 0 is no value; 1 to 65535
are 0 to 1 by the Real World Value Mapping.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
from highdicom import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node.results import codes
from dicom_node.results.carried.specimens import name_specimen
from dicom_node.results.kinds import MAP
from dicom_node.results.language.speaking import phrase
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.modules import (
    blank_header,
    complete,
    pixel_measures,
    plain,
    series_description,
)
from dicom_node.results.seg.layers import values_of
from inference.slide.characters.header import UTF_8
from inference.types import Prediction

_FRAME_PX = 64
_MOST = 65535


def make(making: Making) -> Iterator[BuiltObject]:
    """A map for each heatmap of the prediction, on the same grid."""
    result = making.result
    if not isinstance(result, Prediction):
        return
    for nth, segmentation in enumerate(making.heatmaps):
        kind = MAP.name if nth == 0 else f"{MAP.name}-{nth + 1}"
        yield BuiltObject(kind, making.slide.key, _map(making, result, segmentation, nth))


def _map(making: Making, result: Prediction, segmentation: Dataset, nth: int) -> Dataset:
    names = making.names_after(segmentation, MAP.name)
    device = making.provenance.device
    segment = segmentation.SegmentSequence[0]
    label = str(segment.SegmentLabel)
    base_mm = (result.geometry.spacing_row_mm, result.geometry.spacing_col_mm)
    is_product = making.manifest is not None and making.manifest.status == "product"
    made: Dataset = ParametricMap(
        source_images=[blank_header(making.source, result.geometry)],
        pixel_array=stored(values_of(making, segmentation))[np.newaxis],
        series_instance_uid=names.uid("series"),
        series_number=making.asked_series_number(MAP, nth),
        sop_instance_uid=names.uid("instance"),
        instance_number=1,
        manufacturer=device.manufacturer,
        manufacturer_model_name=device.model,
        software_versions=device.software_version,
        device_serial_number=device.serial,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_mapping(segment, label)],
        voi_lut_transformations=[
            VOILUTTransformation(window_center=(_MOST + 1) / 2, window_width=_MOST + 1)
        ],
        content_label="HEATMAP",
        content_description=plain(
            phrase(f"{label}; stored 0: no value", making.provenance.language), 64
        ),
        content_qualification="PRODUCT" if is_product else "RESEARCH",
        derived_pixel_contrast="NONE",  # older validators do not know QUANTITY
        pixel_measures=pixel_measures(making.source, base_mm, times=result.stride_px),
        tile_pixel_array=True,
        tile_size=(_FRAME_PX, _FRAME_PX),
        dimension_organization_type="TILED_SPARSE",
        series_description=series_description(
            "AI map", making.manifest, making.source, making.provenance.language
        ),
        specific_character_set=UTF_8,
    )
    # As in the Segmentation: viewers compare the origin with the slide's.
    made.TotalPixelMatrixOriginSequence = deepcopy(making.source.TotalPixelMatrixOriginSequence)
    for sequence in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in made[sequence].value:
            item.DimensionOrganizationUID = names.uid("dimensions")
    name_specimen(made, names)
    complete(made, making.source, making.manifest, making.provenance)
    return made


def stored(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Values as stored, uint16 [R, C]: 0 where there is none (NaN), else 1 to 65535."""
    scaled = 1 + np.rint(np.nan_to_num(values).astype(np.float64) * (_MOST - 1))
    return np.where(np.isnan(values), 0, scaled).astype(np.uint16)


def _mapping(segment: Dataset, label: str) -> RealWorldValueMapping:
    quantity = CodedConcept.from_dataset(segment.SegmentedPropertyTypeCodeSequence[0])
    return RealWorldValueMapping(
        lut_label="HEATMAP",
        lut_explanation=plain(label, 64),
        unit=CodedConcept.from_code(codes.NO_UNITS),
        value_range=(1, _MOST),
        slope=1 / (_MOST - 1),
        intercept=-1 / (_MOST - 1),
        quantity_definition=quantity,
    )
