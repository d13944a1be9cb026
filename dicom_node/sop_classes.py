"""The one table of SOP classes and transfer syntaxes that the node negotiates.

The listener, the sender and `dicom-node check` all read it. SOP class
UIDs: PS3.6 Annex A; storage SOP classes: PS3.4 B.5; transfer syntaxes: PS3.5 Section 10 and A.
A class that is not listed is refused at negotiation (PS3.8 9.3.3.2, result 3).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """A transfer syntax by its UID and the keyword of PS3.6 Table A-1."""

    uid: str
    keyword: str


@dataclass(frozen=True, slots=True)
class SopClass:
    """A SOP class with its transfer syntaxes in order of preference."""

    uid: str
    name: str
    transfer_syntaxes: tuple[TransferSyntax, ...]
    both_roles: bool = False
    """Whether who asks for the association may be the SCP too (PS3.7 D.3.3.4): reports of storage
    commitment come so."""


IMPLICIT_VR_LE = TransferSyntax("1.2.840.10008.1.2", "ImplicitVRLittleEndian")
EXPLICIT_VR_LE = TransferSyntax("1.2.840.10008.1.2.1", "ExplicitVRLittleEndian")
JPEG_BASELINE = TransferSyntax("1.2.840.10008.1.2.4.50", "JPEGBaseline8Bit")
JPEG_LS_LOSSLESS = TransferSyntax("1.2.840.10008.1.2.4.80", "JPEGLSLossless")

# In this order because the acceptor's order decides: of a context that offers several, the first
# one here is taken, and a slide must not be decompressed for our sake. Each is decoded by a test
# (tests/dicom_node/test_contexts.py). Left out: HTJ2K Lossless RPCL and JPEG XL JPEG Recompression
# (the slide reader does not open them), Explicit VR Big Endian (retired) and Deflated Explicit VR
# LE (its frames cannot be read without inflating the whole data set).
_WSM_TRANSFER_SYNTAXES = (
    JPEG_BASELINE,
    TransferSyntax("1.2.840.10008.1.2.4.91", "JPEG2000"),
    TransferSyntax("1.2.840.10008.1.2.4.90", "JPEG2000Lossless"),
    TransferSyntax("1.2.840.10008.1.2.4.203", "HTJ2K"),
    TransferSyntax("1.2.840.10008.1.2.4.201", "HTJ2KLossless"),
    TransferSyntax("1.2.840.10008.1.2.4.112", "JPEGXL"),
    TransferSyntax("1.2.840.10008.1.2.4.110", "JPEGXLLossless"),
    JPEG_LS_LOSSLESS,
    TransferSyntax("1.2.840.10008.1.2.4.81", "JPEGLSNearLossless"),
    TransferSyntax("1.2.840.10008.1.2.4.51", "JPEGExtended12Bit"),
    TransferSyntax("1.2.840.10008.1.2.4.70", "JPEGLosslessSV1"),
    TransferSyntax("1.2.840.10008.1.2.4.57", "JPEGLossless"),
    TransferSyntax("1.2.840.10008.1.2.5", "RLELossless"),
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
)

VERIFICATION = SopClass(
    "1.2.840.10008.1.1", "Verification SOP Class", (EXPLICIT_VR_LE, IMPLICIT_VR_LE)
)
VL_WHOLE_SLIDE_MICROSCOPY = SopClass(
    "1.2.840.10008.5.1.4.1.1.77.1.6",
    "VL Whole Slide Microscopy Image Storage",
    _WSM_TRANSFER_SYNTAXES,
)
COMPREHENSIVE_3D_SR = SopClass(
    "1.2.840.10008.5.1.4.1.1.88.34",
    "Comprehensive 3D SR Storage",
    (EXPLICIT_VR_LE, IMPLICIT_VR_LE),
)
# Segmentations are made in JPEG-LS; for a destination that refuses it they are decompressed.
SEGMENTATION = SopClass(
    "1.2.840.10008.5.1.4.1.1.66.4",
    "Segmentation Storage",
    (JPEG_LS_LOSSLESS, EXPLICIT_VR_LE, IMPLICIT_VR_LE),
)
# What is made only where it is asked for.
ENHANCED_SR = SopClass(
    "1.2.840.10008.5.1.4.1.1.88.22", "Enhanced SR Storage", (EXPLICIT_VR_LE, IMPLICIT_VR_LE)
)
BASIC_TEXT_SR = SopClass(
    "1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR Storage", (EXPLICIT_VR_LE, IMPLICIT_VR_LE)
)
ENCAPSULATED_PDF = SopClass(
    "1.2.840.10008.5.1.4.1.1.104.1",
    "Encapsulated PDF Storage",
    (EXPLICIT_VR_LE, IMPLICIT_VR_LE),
)
SECONDARY_CAPTURE = SopClass(
    "1.2.840.10008.5.1.4.1.1.7",
    "Secondary Capture Image Storage",
    (JPEG_BASELINE, EXPLICIT_VR_LE, IMPLICIT_VR_LE),
)
SIMPLE_ANNOTATIONS = SopClass(
    "1.2.840.10008.5.1.4.1.1.91.1",
    "Microscopy Bulk Simple Annotations Storage",
    (EXPLICIT_VR_LE, IMPLICIT_VR_LE),
)
PARAMETRIC_MAP = SopClass(
    "1.2.840.10008.5.1.4.1.1.30", "Parametric Map Storage", (EXPLICIT_VR_LE, IMPLICIT_VR_LE)
)
KEY_OBJECT_SELECTION = SopClass(
    "1.2.840.10008.5.1.4.1.1.88.59",
    "Key Object Selection Document Storage",
    (EXPLICIT_VR_LE, IMPLICIT_VR_LE),
)

STORAGE_COMMITMENT = SopClass(
    "1.2.840.10008.1.20.1",
    "Storage Commitment Push Model SOP Class",
    (EXPLICIT_VR_LE, IMPLICIT_VR_LE),
    both_roles=True,
)
STUDY_ROOT_FIND = SopClass(
    "1.2.840.10008.5.1.4.1.2.2.1",
    "Study Root Query/Retrieve Information Model - FIND",
    (EXPLICIT_VR_LE, IMPLICIT_VR_LE),
)
STUDY_ROOT_GET = SopClass(
    "1.2.840.10008.5.1.4.1.2.2.3",
    "Study Root Query/Retrieve Information Model - GET",
    (EXPLICIT_VR_LE, IMPLICIT_VR_LE),
)

ALL = (
    VERIFICATION,
    VL_WHOLE_SLIDE_MICROSCOPY,
    COMPREHENSIVE_3D_SR,
    SEGMENTATION,
    ENHANCED_SR,
    BASIC_TEXT_SR,
    ENCAPSULATED_PDF,
    SECONDARY_CAPTURE,
    SIMPLE_ANNOTATIONS,
    PARAMETRIC_MAP,
    KEY_OBJECT_SELECTION,
)
"""Every class of objects, and the echo. One is accepted when a service of `dicom_node/services`
names it, and proposed to destinations when a line of `dicom_node/results/kinds.py` does."""
