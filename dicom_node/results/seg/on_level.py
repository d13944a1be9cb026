"""Every Segmentation of a slide once more, on the grid of a level of its own pyramid.

For viewers that lay a Segmentation over a level of the same Pixel Spacing and scale no other (Slim
before 0.42). Each pixel has the value of the tile under its middle; nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import structlog
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node.results.kinds import LEVEL, USUAL_SEGMENTATIONS, kind_of
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.modules import blank_header, complete, pixel_measures, series_description
from dicom_node.results.seg import labels
from dicom_node.results.seg.layer import MAXIMUM, fix_dimension_uid, short
from dicom_node.results.seg.layers import is_of_map, read_only
from dicom_node.results.seg.levels import GridLevel, fitting, levels_of
from dicom_node.results.sources import set_sources
from inference.slide.characters.header import UTF_8
from inference.types import Prediction

log = structlog.get_logger()


def make(making: Making) -> Iterator[BuiltObject]:
    """The variant of each Segmentation for which a level fits; of the others the log says why."""
    result = making.result
    usual = [
        b
        for b in making.made
        if kind_of(b.kind) in USUAL_SEGMENTATIONS and b.slide == making.slide.key
    ]
    if not isinstance(result, Prediction) or not usual:
        return
    levels = levels_of(making)
    for nth, built in enumerate(usual):
        values = _values(built.dataset)
        level = fitting(levels, values.max(axis=2) > 0, result.geometry, result.stride_px)
        if isinstance(level, str):
            log.warning("no_level_fits", slide=making.slide.key, kind=built.kind, reason=level)
            continue
        variant = _variant(making, built, values, level, nth)
        yield BuiltObject(f"{LEVEL.name}-{built.kind}", making.slide.key, variant)


def _values(segmentation: Dataset) -> NDArray[np.uint8]:
    """Stored values of each segment, [R, C, S]."""
    stored: NDArray[np.uint8] = read_only(segmentation).get_total_pixel_matrix(
        rescale_fractional=False, skip_overlap_checks=True, dtype=np.uint8
    )
    return stored


def _variant(
    making: Making, built: BuiltObject, values: NDArray[np.uint8], level: GridLevel, nth: int
) -> Dataset:
    """A Segmentation of the same segments, whose matrix is that of the level (PS3.3 A.51)."""
    result, origin = making.result, built.dataset
    if not isinstance(result, Prediction):
        raise ValueError("found a refusal, expected a prediction: there is no map to draw")
    names = making.names_after(origin, f"{LEVEL.name} {built.kind}")
    device = making.provenance.device
    is_binary = origin.SegmentationType == "BINARY"
    pixels = _on_level(values, *level.cells(result.geometry, result.stride_px))
    segmentation: Dataset = Segmentation(
        source_images=[blank_header(level.header, None)],
        pixel_array=pixels[np.newaxis] if is_binary else pixels[np.newaxis] / np.float64(MAXIMUM),
        segmentation_type=origin.SegmentationType,
        fractional_type="PROBABILITY",
        max_fractional_value=MAXIMUM,
        segment_descriptions=[SegmentDescription.from_dataset(s) for s in origin.SegmentSequence],
        series_instance_uid=names.uid("series"),
        series_number=making.asked_series_number(LEVEL, nth),
        sop_instance_uid=names.uid("instance"),
        instance_number=1,
        manufacturer=device.manufacturer,
        manufacturer_model_name=device.model,
        software_versions=device.software_version,
        device_serial_number=device.serial,
        content_label=origin.ContentLabel,
        content_description=origin.ContentDescription,
        transfer_syntax_uid=origin.file_meta.TransferSyntaxUID,
        pixel_measures=pixel_measures(level.header, level.spacing_mm),
        tile_pixel_array=True,
        tile_size=level.frame,
        dimension_organization_type="TILED_SPARSE",
        omit_empty_frames=False,
        series_description=series_description(
            f"{_name(making, built)} on level",
            making.manifest,
            making.source,
            making.provenance.language,
        ),
        specific_character_set=UTF_8,
    )
    for keyword in ("TotalPixelMatrixOriginSequence", "ImageOrientationSlide"):
        segmentation[keyword] = deepcopy(making.source[keyword])
    segmentation.PatientOrientation = None  # type 2C, left out by highdicom
    fix_dimension_uid(segmentation, names.uid("dimensions"))
    set_sources(segmentation, making.read or [making.source])
    complete(segmentation, making.source, making.manifest, making.provenance)
    return segmentation


def _name(making: Making, built: BuiltObject) -> str:
    """What the original is, in a few words."""
    maps = making.manifest.heatmaps if making.manifest else ()
    for output in maps:
        if is_of_map(built.kind, output.name):
            return short(labels.quantity(output) + " per tile")
    return short(str(built.dataset.ContentDescription))


def _on_level(
    values: NDArray[np.uint8], rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Values [H, W, S] of the tiles under the lines [H] and columns [W]; 0 beyond the last tile."""
    height, width = values.shape[:2]
    drawn = np.zeros((len(rows), len(cols), values.shape[2]), np.uint8)
    inside = np.ix_(rows < height, cols < width)
    drawn[inside] = values[np.ix_(rows[rows < height], cols[cols < width])]
    return drawn
