"""The same Segmentation in another transfer syntax: its UIDs stay, since its content does.

A transfer syntax is how content is written (PS3.5 10), not a part of it. Some readers refuse
Segmentations in JPEG-LS (the importers of DCMTK and of what is built on it).
"""

from __future__ import annotations

from copy import deepcopy

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian


def explicit(segmentation: Dataset) -> Dataset:
    """A copy with native pixels in Explicit VR Little Endian; UIDs and values are the same.

    Raises ValueError for another class: others may be compressed with loss, and then are not.
    """
    if "SegmentationType" not in segmentation:
        raise ValueError(f"found class {segmentation.get('SOPClassUID')}, expected a Segmentation")
    made: Dataset = deepcopy(segmentation)
    if made.file_meta.TransferSyntaxUID.is_compressed:
        made.decompress(generate_instance_uid=False)
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made
