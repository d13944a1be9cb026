"""One Segmentation over the grid of a map: one pixel a tile, the whole slide."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node.results import codes
from dicom_node.results.identity import Provenance, ResultNames
from dicom_node.results.language.speaking import phrase, sentences
from dicom_node.results.modules import (
    blank_header,
    complete,
    pixel_measures,
    plain,
    series_description,
)
from dicom_node.results.seg import labels
from dicom_node.results.sources import set_sources
from engines.manifest.outputs import HeatmapOutput
from engines.manifest.whole import Manifest
from inference.slide.characters.header import UTF_8, in_unicode
from inference.types import Prediction, SlideGeometry

FRAME_PX = 64
_STATUS = re.compile(r" \([^()]*\)$")
MAXIMUM = 255


@dataclass(frozen=True)
class Layer:
    """What one Segmentation over the grid of a map has for its own."""

    kind: str
    """In its UIDs."""
    label: str
    """What it is, for people: Segment Label, and the beginning of Series Description."""
    description: str
    content_label: str
    segmentation_type: Literal["FRACTIONAL", "BINARY"]
    pixels: NDArray[np.float64] | NDArray[np.uint8]
    """[R, C]."""
    transfer_syntax_uid: str
    first: Part | None = None
    """The first segment, where it is not what the map itself is called and coded."""


@dataclass(frozen=True)
class Part:
    """A further BINARY segment over the same grid."""

    label: str
    """Segment Label."""
    description: str
    tracking: str
    """Tracking ID."""
    category: CodedConcept
    type: CodedConcept
    color: CIELabColor
    pixels: NDArray[np.float64] | NDArray[np.uint8]
    """[R, C]."""


def build_layer(
    source: Dataset,
    result: Prediction,
    output: HeatmapOutput,
    manifest: Manifest,
    provenance: Provenance,
    layer: Layer,
    input_uids: Sequence[str],
    series_number: int,
    read: Sequence[Dataset] = (),
    more: Sequence[Part] = (),
) -> Dataset:
    """A Segmentation of one pixel a tile, laid over the whole slide: one segment, and `more`.

    `read` are references to every instance that was read, where that is more than `source`.
    """
    check_same_slide(source, result.geometry)
    names = ResultNames.of(source.StudyInstanceUID, input_uids, provenance, layer.kind)
    device = provenance.device
    base_mm = (result.geometry.spacing_row_mm, result.geometry.spacing_col_mm)
    own = in_unicode(source)
    segmentation: Dataset = Segmentation(
        source_images=[blank_header(own, result.geometry)],
        pixel_array=_pixels(layer, more),
        segmentation_type=layer.segmentation_type,
        fractional_type="PROBABILITY",
        max_fractional_value=MAXIMUM,
        segment_descriptions=[
            _segment(number, part, result, manifest, provenance, names)
            for number, part in enumerate((layer.first or _first(output, layer), *more), start=1)
        ],
        series_instance_uid=names.uid("series"),
        series_number=series_number,
        sop_instance_uid=names.uid("instance"),
        instance_number=1,
        manufacturer=device.manufacturer,
        manufacturer_model_name=device.model,
        software_versions=device.software_version,
        device_serial_number=device.serial,
        content_label=layer.content_label,
        content_description=plain(phrase(layer.label, provenance.language), 64),
        transfer_syntax_uid=layer.transfer_syntax_uid,
        pixel_measures=pixel_measures(source, base_mm, times=result.stride_px),
        tile_pixel_array=True,
        tile_size=(FRAME_PX, FRAME_PX),
        dimension_organization_type="TILED_SPARSE",
        omit_empty_frames=False,
        series_description=series_description(
            short(layer.label), manifest, own, provenance.language
        ),
        specific_character_set=UTF_8,
    )
    # highdicom parses the origin; viewers compare it with the slide's
    segmentation.TotalPixelMatrixOriginSequence = deepcopy(source.TotalPixelMatrixOriginSequence)
    if more:  # by what they mean, also where on this slide they do not
        segmentation.SegmentsOverlap = "YES"
    segmentation.PatientOrientation = None  # type 2C, left out by highdicom
    fix_dimension_uid(segmentation, names.uid("dimensions"))
    set_sources(segmentation, read or [source])
    complete(segmentation, own, manifest, provenance)
    return segmentation


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


def short(label: str) -> str:
    """Of a label what leaves room for model and version, without the model's status, which stands
    in brackets at its end: a map may have brackets in its name."""
    return _STATUS.sub("", label).replace(" per tile", " map")[:32]


def _pixels(layer: Layer, more: Sequence[Part]) -> NDArray[np.float64] | NDArray[np.uint8]:
    """[1, R, C], or [1, R, C, K] of K BINARY segments."""
    if not more:
        return layer.pixels[np.newaxis]
    stacked: NDArray[np.uint8] = np.stack(
        [layer.pixels.astype(np.uint8), *(part.pixels.astype(np.uint8) for part in more)], axis=-1
    )
    return stacked[np.newaxis]


def _first(output: HeatmapOutput, layer: Layer) -> Part:
    return Part(
        label=layer.label,
        description=layer.description,
        tracking=plain(layer.kind, 64),
        category=codes.concept(output.category),
        type=codes.concept(output.type),
        color=labels.color(output),
        pixels=layer.pixels,
    )


def _segment(
    number: int,
    part: Part,
    result: Prediction,
    manifest: Manifest,
    provenance: Provenance,
    names: ResultNames,
) -> SegmentDescription:
    segment = SegmentDescription(
        segment_number=number,
        segment_label=plain(phrase(part.label, provenance.language), 64),
        segmented_property_category=part.category,
        segmented_property_type=part.type,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=plain(manifest.title, 64),
            version=manifest.version,
            family=codes.ARTIFICIAL_INTELLIGENCE,
            source=plain(manifest.manufacturer, 64),
            parameters=algorithm_parameters(manifest, provenance, result.stride_px),
        ),
        tracking_uid=names.uid("tracking", number - 1),
        tracking_id=part.tracking,
        display_color=part.color,
    )
    segment.SegmentDescription = plain(sentences(part.description, provenance.language), 1024)
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


def fix_dimension_uid(segmentation: Dataset, uid: str) -> None:
    """Puts a derived UID in place of the random one."""
    for sequence in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in segmentation[sequence].value:
            item.DimensionOrganizationUID = uid
