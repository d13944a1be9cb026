"""The drawn picture as a derived VL Whole Slide Microscopy Image (PS3.3 A.32.8).

It has a frame of reference of its own: in the slide's, viewers would take it for one more level of
the slide, and show it in the place of tissue. It is a pyramid of two levels, in one series.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
from highdicom.base import SOPClass
from pydicom import Dataset
from pydicom.uid import JPEGBaseline8Bit
from pydicom.valuerep import DSfloat

from dicom_node.results.carried.specimens import name_specimen
from dicom_node.results.content import settled
from dicom_node.results.identity import ResultNames
from dicom_node.results.kinds import OVERLAY
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.modules import blank_header, complete, pixel_measures, series_description
from dicom_node.results.overlay.encoding import derive, put_pixels
from dicom_node.results.overlay.sheet import Sheet, origin_mm, sheet_of, smaller
from inference.slide.characters.header import UTF_8
from inference.types import Prediction, SlideGeometry

_TILE_PX = 512
_TIMES = 4
"""The smaller level's pixel: with one level alone viewers open a picture at its full size."""
_KIND = ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
# Of the slide's image: what it was stained with and how it was lit is true of the picture, too.
_COPIED = (
    "AcquisitionDateTime",
    "AcquisitionContextSequence",
    "ContainerIdentifier",
    "IssuerOfTheContainerIdentifierSequence",
    "ContainerTypeCodeSequence",
    "SpecimenDescriptionSequence",
    "OpticalPathSequence",
    "NumberOfOpticalPaths",
    "FocusMethod",
    "VolumetricProperties",
    "ExtendedDepthOfField",
    "ImagedVolumeDepth",
    "RequestAttributesSequence",
)


def make(making: Making) -> Iterator[BuiltObject]:
    """A picture for each heatmap of the prediction. Raises SlideUnreadable, FontsMissing."""
    result = making.result
    if not isinstance(result, Prediction):
        return
    for nth, segmentation in enumerate(making.heatmaps):
        sheet = sheet_of(making, segmentation)
        kind = OVERLAY.name if nth == 0 else f"{OVERLAY.name}-{nth + 1}"
        # Settled here: the smaller level has its series and its frame of reference.
        first = _image(making, result.geometry, sheet, segmentation, nth)
        yield BuiltObject(kind, making.slide.key, first, file=settled(first))
        small = _image(making, result.geometry, smaller(sheet, _TIMES), segmentation, nth, first)
        yield BuiltObject(f"{kind}-small", making.slide.key, small)


def _image(
    making: Making,
    geometry: SlideGeometry,
    sheet: Sheet,
    segmentation: Dataset,
    nth: int,
    first: Dataset | None = None,
) -> SOPClass:
    """A level of the picture: the `first`, or a smaller one of the same pyramid."""
    names = making.names_after(segmentation, f"{OVERLAY.name} small" if first else OVERLAY.name)
    header = blank_header(making.source, geometry)
    image = SOPClass(
        study_instance_uid=making.source.StudyInstanceUID,
        series_instance_uid=first.SeriesInstanceUID if first else names.uid("series"),
        series_number=making.asked_series_number(OVERLAY, nth),
        sop_instance_uid=names.uid("instance"),
        sop_class_uid=OVERLAY.sop_class.uid,
        instance_number=2 if first else 1,
        modality="SM",
        transfer_syntax_uid=JPEGBaseline8Bit,
        series_description=series_description(
            "AI overlay", making.manifest, making.source, making.provenance.language
        ),
        specific_character_set=UTF_8,
    )
    for keyword in _COPIED:
        if keyword in header:
            image.add(deepcopy(header[keyword]))
    name_specimen(image, names)
    image.ImageType = _KIND
    image.FrameOfReferenceUID = names.uid("frame of reference")
    if first is not None:
        image.FrameOfReferenceUID = first.FrameOfReferenceUID
        if "SpecimenDescriptionSequence" in first:
            image.SpecimenDescriptionSequence = deepcopy(first.SpecimenDescriptionSequence)
    image.PositionReferenceIndicator = "SLIDE_CORNER"
    _place(image, sheet)
    _groups(image, making.source, sheet, names)
    _pixels(image, header, sheet)
    derive(image, making.source, segmentation, sheet.label, making.provenance.language)
    complete(image, making.source, making.manifest, making.provenance)
    return image


def _place(image: Dataset, sheet: Sheet) -> None:
    rows, cols = sheet.pixels.shape[:2]
    image.TotalPixelMatrixRows, image.TotalPixelMatrixColumns = rows, cols
    image.TotalPixelMatrixFocalPlanes = 1
    image.ImagedVolumeWidth = cols * sheet.geometry.spacing_col_mm
    image.ImagedVolumeHeight = rows * sheet.geometry.spacing_row_mm
    x, y, _ = origin_mm(sheet)
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem = DSfloat(x, auto_format=True)
    origin.YOffsetInSlideCoordinateSystem = DSfloat(y, auto_format=True)
    image.TotalPixelMatrixOriginSequence = [origin]
    image.ImageOrientationSlide = [DSfloat(v, auto_format=True) for v in sheet.geometry.orientation]
    image.SpecimenLabelInImage = "NO"


def _groups(image: Dataset, source: Dataset, sheet: Sheet, names: ResultNames) -> None:
    """Shared groups and dimensions of a TILED_FULL image (PS3.3 C.7.6.16, C.7.6.17)."""
    shared, kind, path = Dataset(), Dataset(), Dataset()
    row_mm, col_mm = (
        float(f"{mm:.9g}")  # DS: 16 characters
        for mm in (sheet.geometry.spacing_row_mm, sheet.geometry.spacing_col_mm)
    )
    shared.PixelMeasuresSequence = pixel_measures(source, (row_mm, col_mm))
    kind.FrameType = _KIND
    shared.WholeSlideMicroscopyImageFrameTypeSequence = [kind]
    paths = image.get("OpticalPathSequence") or [Dataset()]
    path.OpticalPathIdentifier = str(paths[0].get("OpticalPathIdentifier") or "1")
    shared.OpticalPathIdentificationSequence = [path]
    image.SharedFunctionalGroupsSequence = [shared]
    image.DimensionOrganizationType = "TILED_FULL"
    organization = Dataset()
    organization.DimensionOrganizationUID = names.uid("dimensions")
    image.DimensionOrganizationSequence = [organization]
    image.DimensionIndexSequence = []
    for pointer in (0x0048021F, 0x0048021E):  # row, column position in the total pixel matrix
        index = Dataset()
        index.DimensionOrganizationUID = organization.DimensionOrganizationUID
        index.DimensionIndexPointer = pointer
        index.FunctionalGroupPointer = 0x0048021A  # Plane Position (Slide) Sequence
        image.DimensionIndexSequence.append(index)


def _pixels(image: Dataset, source: Dataset, sheet: Sheet) -> None:
    """Tiles in raster order, those at the ends filled with white (PS3.3 C.7.6.17.3)."""
    rows, cols = (-(-n // _TILE_PX) * _TILE_PX for n in sheet.pixels.shape[:2])
    full = np.full((rows, cols, 3), 255, np.uint8)
    full[: sheet.pixels.shape[0], : sheet.pixels.shape[1]] = sheet.pixels
    tiles = [
        full[top : top + _TILE_PX, left : left + _TILE_PX]
        for top in range(0, rows, _TILE_PX)
        for left in range(0, cols, _TILE_PX)
    ]
    image.NumberOfFrames = len(tiles)
    put_pixels(image, source, tiles)
