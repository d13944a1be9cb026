"""The drawn picture as a Secondary Capture Image (PS3.3 A.8.1), for a PACS that knows no slides.

Modality GM (general microscopy): Slim takes every series of Modality OT for a parametric map.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

from highdicom.base import SOPClass
from pydicom import Dataset
from pydicom.uid import JPEGBaseline8Bit
from pydicom.valuerep import DSfloat

from dicom_node.results.kinds import CAPTURE
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.modules import blank_header, complete, series_description
from dicom_node.results.overlay.encoding import derive, put_pixels
from dicom_node.results.overlay.sheet import Sheet, sheet_of
from inference.slide.characters.header import UTF_8

_COPIED = (
    "ContainerIdentifier",
    "IssuerOfTheContainerIdentifierSequence",
    "ContainerTypeCodeSequence",
    "SpecimenDescriptionSequence",
    "RequestAttributesSequence",
)


def make(making: Making) -> Iterator[BuiltObject]:
    """A picture for each heatmap of the prediction. Raises SlideUnreadable, FontsMissing."""
    for nth, segmentation in enumerate(making.heatmaps):
        image = _image(making, sheet_of(making, segmentation), segmentation, nth)
        kind = CAPTURE.name if nth == 0 else f"{CAPTURE.name}-{nth + 1}"
        yield BuiltObject(kind, making.slide.key, image)


def _image(making: Making, sheet: Sheet, segmentation: Dataset, nth: int) -> SOPClass:
    names = making.names_after(segmentation, CAPTURE.name)
    image = SOPClass(
        study_instance_uid=making.source.StudyInstanceUID,
        series_instance_uid=names.uid("series"),
        series_number=making.asked_series_number(CAPTURE, nth),
        sop_instance_uid=names.uid("instance"),
        sop_class_uid=CAPTURE.sop_class.uid,
        instance_number=1,
        modality="GM",
        transfer_syntax_uid=JPEGBaseline8Bit,
        series_description=series_description(
            "AI picture", making.manifest, making.source, making.provenance.language
        ),
        specific_character_set=UTF_8,
    )
    # All of the specimen's module or none of it: its attributes need each other.
    if making.source.get("ContainerIdentifier") and making.source.get(_COPIED[3]):
        for keyword in _COPIED:
            if keyword in making.source:
                image.add(deepcopy(making.source[keyword]))
    else:
        image.Laterality = None  # type 2C of what is no specimen (PS3.3 C.7.3.1)
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.ConversionType = "WSD"
    image.PatientOrientation = None
    image.NominalScannedPixelSpacing = [
        DSfloat(mm, auto_format=True)
        for mm in (sheet.geometry.spacing_row_mm, sheet.geometry.spacing_col_mm)
    ]
    put_pixels(image, blank_header(making.source, making.result.geometry), [sheet.pixels])
    derive(image, making.source, segmentation, sheet.label, making.provenance.language)
    complete(image, making.source, making.manifest, making.provenance)
    return image
