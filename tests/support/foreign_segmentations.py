"""Segmentations of a slide as highdicom's own guide makes them: nothing of the node is in them.

They show what a viewer does with anybody's Segmentation of a slide, so that a fault of the viewer
is told from one of the node's objects.
"""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

ORGANIZATIONS = ("TILED_SPARSE", "TILED_FULL")


def foreign_segmentations(level: Path, folder: Path) -> dict[str, Path]:
    """BINARY Segmentations over one level of a slide, on its own grid and in its own frames, in
    Explicit VR Little Endian: one a dimension organization, by `foreign-` and its name."""
    folder.mkdir(parents=True, exist_ok=True)
    source = hd.imread(level)
    paths = {}
    for number, organization in enumerate(ORGANIZATIONS, start=1):
        kind = f"foreign-{organization.lower().replace('_', '-')}"
        paths[kind] = folder / f"{kind}.dcm"
        _segmentation(source, organization, 800 + number).save_as(paths[kind])
    return paths


def _segmentation(source: Dataset, organization: str, number: int) -> Dataset:
    rows, cols = int(source.TotalPixelMatrixRows), int(source.TotalPixelMatrixColumns)
    mask = np.zeros((1, rows, cols), np.uint8)
    mask[0, rows // 4 : rows // 2, cols // 4 : cols // 2] = 1
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="A box",
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Tissue,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    made: Dataset = hd.seg.Segmentation(
        source_images=[source],
        pixel_array=mask,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=generate_uid(entropy_srcs=[source.SOPInstanceUID, organization]),
        series_number=number,
        sop_instance_uid=generate_uid(entropy_srcs=[source.SOPInstanceUID, organization, "1"]),
        instance_number=1,
        manufacturer="highdicom",
        manufacturer_model_name="guide",
        software_versions=hd.__version__,
        device_serial_number="1",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        tile_pixel_array=True,
        dimension_organization_type=organization,
        omit_empty_frames=organization == "TILED_SPARSE",
        series_description=f"Foreign {organization}",
    )
    return made
