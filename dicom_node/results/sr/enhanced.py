"""The report as an Enhanced SR (PS3.3 A.35.2): regions in pixels of the slide's image.

Enhanced SR holds no SCOORD3D. Everything else of the tree stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from highdicom.sr import (
    CodedConcept,
    GraphicTypeValues,
    ImageContentItem,
    PixelOriginInterpretationValues,
    RelationshipTypeValues,
    ScoordContentItem,
)
from pydicom import Dataset

from dicom_node.results import codes
from dicom_node.results.kinds import REPORT_ENHANCED
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.sr.derived import children, in_form, to_pixels, without_content
from inference.types import SlideGeometry


def make(making: Making) -> Iterator[BuiltObject]:
    """The report once more; a region whose place in pixels is not known is left out."""
    geometry = making.result.geometry
    tree = [_converted(item, geometry, making.source) for item in children(making.report)]
    found = [item for item in tree if item is not None]
    form = in_form(making, REPORT_ENHANCED, "AI report, enhanced", found)
    yield BuiltObject(REPORT_ENHANCED.name, making.slide.key, form)


def _converted(item: Dataset, geometry: SlideGeometry | None, source: Dataset) -> Dataset | None:
    if item.ValueType == "SCOORD3D":
        return None if geometry is None else _in_pixels(item, geometry, source)
    new = without_content(item)
    if "ContentTemplateSequence" in item:
        new.ContentTemplateSequence = item.ContentTemplateSequence
    below = [_converted(child, geometry, source) for child in children(item)]
    found = [child for child in below if child is not None]
    if found:
        new.ContentSequence = found
    return new


def _in_pixels(item: Dataset, geometry: SlideGeometry, source: Dataset) -> Dataset:
    """An SCOORD on the total pixel matrix of the image (PS3.3 C.18.6.1.1): column, row, from the
    top left corner; a polygon is a closed line there."""
    points_mm = np.array(item.GraphicData, np.float64).reshape(-1, 3)
    kinds = {"POINT": GraphicTypeValues.POINT, "MULTIPOINT": GraphicTypeValues.MULTIPOINT}
    region: Dataset = ScoordContentItem(
        name=CodedConcept.from_dataset(item.ConceptNameCodeSequence[0]),
        graphic_type=kinds.get(str(item.GraphicType), GraphicTypeValues.POLYLINE),
        graphic_data=to_pixels(geometry, points_mm[:, :2]),
        pixel_origin_interpretation=PixelOriginInterpretationValues.VOLUME,
        relationship_type=RelationshipTypeValues(item.RelationshipType),
    )
    image = ImageContentItem(
        name=CodedConcept.from_code(codes.SOURCE),
        referenced_sop_class_uid=source.SOPClassUID,
        referenced_sop_instance_uid=source.SOPInstanceUID,
        relationship_type=RelationshipTypeValues.SELECTED_FROM,
    )
    region.ContentSequence = [image]
    return region
