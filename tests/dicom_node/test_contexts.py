"""The negotiation table: nothing is offered that the slide reader cannot decode."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom.uid
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate_extended
from pydicom.uid import UID, generate_uid
from pydicom.uid import RLELossless as RLE
from pynetdicom import AE, evt
from wsidicom import WsiDicom

from dicom_node import implementation, sop_classes
from dicom_node.association.contexts import proposed_contexts
from dicom_node.association.requestor import request
from dicom_node.spool.incoming import file_header

SIZE = 64
_LOSSLESS = {"JPEG2000Lossless", "HTJ2KLossless", "JPEGXLLossless",
             "JPEGLSLossless", "JPEGLosslessSV1", "JPEGLossless", "RLELossless",
             "ExplicitVRLittleEndian", "ImplicitVRLittleEndian"}  # fmt: skip


def tissue() -> np.ndarray:
    """A smooth pink and purple tile, uint8 RGB [64, 64, 3]."""
    row, col = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    return np.stack([200 - 60 * row, 120 + 50 * col, 190 - 20 * row * col], axis=-1).astype(
        np.uint8
    )


def rle(tile: np.ndarray) -> bytes:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.Rows = ds.Columns = SIZE
    ds.SamplesPerPixel, ds.PlanarConfiguration = 3, 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.PixelRepresentation, ds.PhotometricInterpretation = 0, "RGB"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_classes.VL_WHOLE_SLIDE_MICROSCOPY.uid, generate_uid()
    ds.compress(RLE, tile, encoding_plugin="pydicom", generate_instance_uid=False)
    return next(iter(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)))


def jpeg_lossless(tile: np.ndarray) -> bytes:
    return imagecodecs.jpeg8_encode(tile, lossless=True, predictor=1)


ENCODERS: dict[str, tuple[str, Callable[[np.ndarray], bytes]]] = {
    "JPEGBaseline8Bit": ("YBR_FULL_422", lambda t: imagecodecs.jpeg8_encode(t, level=95)),
    "JPEGExtended12Bit": ("YBR_FULL_422", lambda t: imagecodecs.jpeg8_encode(t, level=95)),
    "JPEG2000": ("YBR_ICT", lambda t: imagecodecs.jpeg2k_encode(t, level=50, codecformat="j2k")),
    "JPEG2000Lossless": (
        "YBR_RCT",
        lambda t: imagecodecs.jpeg2k_encode(t, codecformat="j2k", reversible=True),
    ),
    "HTJ2K": ("YBR_ICT", lambda t: imagecodecs.htj2k_encode(t, level=0.001, reversible=False)),
    "HTJ2KLossless": ("YBR_RCT", lambda t: imagecodecs.htj2k_encode(t, reversible=True)),
    "JPEGXL": ("RGB", lambda t: imagecodecs.jpegxl_encode(t, level=95, lossless=False)),
    "JPEGXLLossless": ("RGB", lambda t: imagecodecs.jpegxl_encode(t, lossless=True)),
    "JPEGLSLossless": ("RGB", lambda t: imagecodecs.jpegls_encode(t)),
    "JPEGLSNearLossless": ("RGB", lambda t: imagecodecs.jpegls_encode(t, level=2)),
    "JPEGLosslessSV1": ("RGB", jpeg_lossless),
    "JPEGLossless": ("RGB", jpeg_lossless),
    "RLELossless": ("RGB", rle),
    "ExplicitVRLittleEndian": ("RGB", lambda t: t.tobytes()),
    "ImplicitVRLittleEndian": ("RGB", lambda t: t.tobytes()),
}


def write_slide(path: Path, syntax: sop_classes.TransferSyntax) -> None:
    """A one-tile whole-slide instance with the least that the slide reader asks for."""
    photometric, encode = ENCODERS[syntax.keyword]
    frame = encode(tissue())
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_classes.VL_WHOLE_SLIDE_MICROSCOPY.uid, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.FrameOfReferenceUID = generate_uid()
    ds.Modality, ds.PatientID, ds.PatientName = "SM", "P", "P"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.Rows = ds.Columns = ds.TotalPixelMatrixRows = ds.TotalPixelMatrixColumns = SIZE
    ds.NumberOfFrames, ds.TotalPixelMatrixFocalPlanes, ds.NumberOfOpticalPaths = 1, 1, 1
    ds.ImagedVolumeWidth = ds.ImagedVolumeHeight = SIZE * 0.0005
    ds.ImagedVolumeDepth = 0.001
    ds.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    ds.DimensionOrganizationType = "TILED_FULL"
    ds.FocusMethod, ds.ExtendedDepthOfField = "AUTO", "NO"
    ds.SpecimenLabelInImage, ds.BurnedInAnnotation = "NO", "NO"
    ds.LossyImageCompression = "00"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, photometric, 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    measures, group, origin, optical = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.0005, 0.0005], 0.001
    group.PixelMeasuresSequence = [measures]
    ds.SharedFunctionalGroupsSequence = [group]
    origin.XOffsetInSlideCoordinateSystem = origin.YOffsetInSlideCoordinateSystem = 20.0
    ds.TotalPixelMatrixOriginSequence = [origin]
    optical.OpticalPathIdentifier = "0"
    ds.OpticalPathSequence = [optical]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax.uid)
    if UID(syntax.uid).is_encapsulated:
        frame += bytes(len(frame) % 2)
        ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(
            [frame]
        )
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    else:
        ds.PixelData = frame
        ds["PixelData"].VR = "OW" if syntax.uid == sop_classes.IMPLICIT_VR_LE.uid else "OB"
    ds.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(
    "syntax",
    sop_classes.VL_WHOLE_SLIDE_MICROSCOPY.transfer_syntaxes,
    ids=lambda s: s.keyword,
)
def test_every_transfer_syntax_we_accept_is_one_we_decode(
    tmp_path: Path, syntax: sop_classes.TransferSyntax
) -> None:
    write_slide(tmp_path / "slide.dcm", syntax)
    with WsiDicom.open(tmp_path) as slide:
        pixels = np.asarray(slide.read_tile(0, (0, 0)).convert("RGB"), dtype=int)
    difference = np.abs(pixels - tissue().astype(int)).max()
    assert difference <= (0 if syntax.keyword in _LOSSLESS else 12)


def all_syntaxes() -> list[Any]:
    return [s for c in sop_classes.ALL for s in c.transfer_syntaxes]


@pytest.mark.parametrize("syntax", sorted(set(all_syntaxes()), key=lambda s: s.uid))
def test_uids_and_keywords_are_those_of_the_standard(syntax: sop_classes.TransferSyntax) -> None:
    uid = UID(syntax.uid)
    # pydicom 3.0 does not know the JPEG XL syntaxes; wsidicom does.
    known = (
        uid.keyword
        or {
            "1.2.840.10008.1.2.4.110": "JPEGXLLossless",
            "1.2.840.10008.1.2.4.111": "JPEGXLJPEGRecompression",
            "1.2.840.10008.1.2.4.112": "JPEGXL",
        }[syntax.uid]
    )
    assert known == syntax.keyword


@pytest.mark.parametrize(
    "sop_class",
    sop_classes.ALL,
    ids=lambda c: c.name,
)
def test_class_uids_carry_their_standard_names(sop_class: sop_classes.SopClass) -> None:
    assert UID(sop_class.uid).name == sop_class.name


def test_compressed_syntaxes_come_before_uncompressed_ones() -> None:
    uids = [UID(s.uid) for s in sop_classes.VL_WHOLE_SLIDE_MICROSCOPY.transfer_syntaxes]
    flags = [u.is_encapsulated if not u.is_private else False for u in uids]
    assert flags == sorted(flags, reverse=True)


def test_a_destination_is_asked_about_each_syntax_by_itself() -> None:
    proposed = proposed_contexts(sop_classes.ALL)
    assert all(len(c.transfer_syntax) == 1 for c in proposed)
    assert len(proposed) == sum(len(c.transfer_syntaxes) for c in sop_classes.ALL)


def test_every_association_says_who_we_are_and_every_file_the_same(tmp_path: Path) -> None:
    said = []
    entity = AE("PEER")
    entity.add_supported_context(sop_classes.VERIFICATION.uid)
    handlers = [(evt.EVT_ACCEPTED, lambda e: said.append(e.assoc.requestor))]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        association = request(
            host="127.0.0.1",
            port=server.server_address[1],
            called_ae="PEER",
            calling_ae="DICOMNODE",
            sop_classes=[sop_classes.VERIFICATION],
        )
        association.release()
    finally:
        server.shutdown()
    (requestor,) = said
    name = requestor.implementation_version_name
    assert requestor.implementation_class_uid == implementation.CLASS_UID
    assert name == implementation.VERSION_NAME
    header = dcmread(BytesIO(file_header("1.2.3", "1.2.4", "1.2.840.10008.1.2.1")), force=True)
    assert header.file_meta.ImplementationClassUID == implementation.CLASS_UID
    assert header.file_meta.ImplementationVersionName == implementation.VERSION_NAME
    assert UID(implementation.CLASS_UID).is_valid
    assert len(implementation.VERSION_NAME) <= 16
