"""What the drawn pictures share: their pixels as JPEG, and what they were made of."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import simplejpeg
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.valuerep import DSfloat

from dicom_node.config.languages import Language
from dicom_node.results import codes
from dicom_node.results.language.speaking import phrase
from dicom_node.results.modules import plain

_QUALITY = 90


def put_pixels(image: Dataset, source: Dataset, tiles: Sequence[NDArray[np.uint8]]) -> None:
    """Tiles RGB [H, W, 3], all of one size, as JPEG Baseline (PS3.5 8.2.1)."""
    frames = [
        simplejpeg.encode_jpeg(
            np.ascontiguousarray(tile), quality=_QUALITY, colorspace="RGB", colorsubsampling="422"
        )
        for tile in tiles
    ]
    image.Rows, image.Columns = tiles[0].shape[:2]
    image.SamplesPerPixel = 3
    image.PhotometricInterpretation = "YBR_FULL_422"
    image.PlanarConfiguration = 0
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = encapsulate(frames)
    image["PixelData"].VR = "OB"
    _lossy(image, source, sum(tile.nbytes for tile in tiles) / sum(map(len, frames)))


def derive(
    image: Dataset, source: Dataset, segmentation: Dataset, label: str, language: Language
) -> None:
    """What a picture was made of, and that it is no photograph (PS3.3 C.7.6.1, C.12.4)."""
    image.BurnedInAnnotation = "NO"  # none of the patient
    image.RecognizableVisualFeatures = "NO"
    told = f"Heatmap {label} drawn over the slide, with its legend"
    image.DerivationDescription = plain(phrase(told, language), 1024)
    image.SourceImageSequence = [_reference(source), _reference(segmentation)]
    for item in image.SourceImageSequence:
        item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.SOURCE_IMAGE)]
    by_series = {str(i.SeriesInstanceUID): i for i in (source, segmentation)}
    image.ReferencedSeriesSequence = []
    for uid, instance in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID = uid
        series.ReferencedInstanceSequence = [_reference(instance)]
        image.ReferencedSeriesSequence.append(series)


def _lossy(image: Dataset, source: Dataset, ratio: float) -> None:
    """Lossy once more: what the slide went through stands before it (PS3.3 C.7.6.1.1.5)."""
    image.LossyImageCompression = "01"
    earlier = [source.get(f"LossyImageCompression{what}") for what in ("Ratio", "Method")]
    ratios, methods = (
        [] if not value else [value] if isinstance(value, (str, float, int, Decimal)) else [*value]
        for value in earlier
    )
    if len(ratios) != len(methods):
        ratios, methods = [], []
    image.LossyImageCompressionRatio = [*ratios, DSfloat(round(ratio, 2))]
    image.LossyImageCompressionMethod = [*methods, "ISO_10918_1"]


def _reference(instance: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = instance.SOPClassUID
    item.ReferencedSOPInstanceUID = instance.SOPInstanceUID
    return item
