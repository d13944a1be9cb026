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

Places = dict[str, tuple[SlideGeometry, Dataset]]
"""Of a slide what its regions become pixels with, and the header of its image; by the UID of its
frame of reference."""


def make(making: Making) -> Iterator[BuiltObject]:
    """The report once more; a region whose place in pixels is not known is left out."""
    places = _places(making)
    tree = [_converted(item, places) for item in children(making.report)]
    found = [item for item in tree if item is not None]
    form = in_form(making, REPORT_ENHANCED, "AI report, enhanced", found)
    yield BuiltObject(REPORT_ENHANCED.name, making.slide.key, form)


def _places(making: Making) -> Places:
    """Of the slide, or of each of a case; not of slides that share a frame of reference: whose a
    region is, it would not say."""
    found: Places = {}
    shared = set()
    for one in making.parts or (making,):
        if geometry := one.result.geometry:
            if geometry.frame_of_reference_uid in found:
                shared.add(geometry.frame_of_reference_uid)
            found[geometry.frame_of_reference_uid] = (geometry, one.source)
    return {uid: place for uid, place in found.items() if uid not in shared}


def _converted(item: Dataset, places: Places) -> Dataset | None:
    if item.ValueType == "SCOORD3D":
        place = places.get(str(item.ReferencedFrameOfReferenceUID))
        return None if place is None else _in_pixels(item, *place)
    new = without_content(item)
    if "ContentTemplateSequence" in item:
        new.ContentTemplateSequence = item.ContentTemplateSequence
    below = [_converted(child, places) for child in children(item)]
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
