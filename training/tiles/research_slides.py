"""SVS and tiled TIFF as the DICOM files that the node's own reader takes.

Research slides come as TIFF; the node reads DICOM. The tiles of such a file are put into DICOM
frames as they are, stream for stream, so that mask, grid and pixels are made by the same code from
the same bytes as after a conversion. What is not encoded as JPEG or JPEG 2000 is encoded without
loss. Label and overview are left out: no feature is made of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import tifffile
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    VLWholeSlideMicroscopyImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from training.errors import TrainingError
from training.tiles.tiff_levels import Level, levels_of

JPEG, JPEG_2000_RGB, JPEG_2000_YCBCR = 7, 33005, 33003
"""TIFF compressions that pass as they are; the third is refused: nothing says how it is sampled."""
RGB, YCBCR = 2, 6
"""TIFF photometric interpretations."""
_ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
"""APP14 that says: three components, no transform. Without it decoders take them for YCbCr."""
_SECTION_MM = 0.004
_ICC_TAG = 34675


def as_dicom(path: Path, folder: Path) -> tuple[Path, ...]:
    """Writes the levels of the TIFF `path` into the new `folder`, the base level first.

    The same file gives the same bytes. Raises TrainingError for what is no tiled RGB pyramid of
    8 bits with a scale.
    """
    folder.mkdir(parents=True)
    try:
        with tifffile.TiffFile(path) as tiff:
            levels = levels_of(path, tiff)
            return tuple(_write(path, level, levels[0], folder) for level in levels)
    except tifffile.TiffFileError as error:
        raise TrainingError(
            f"{path.name}: found no readable TIFF, expected a whole slide; copy the file again."
        ) from error


def _write(path: Path, level: Level, base: Level, folder: Path) -> Path:
    """One level as one file, frame by frame: a level may be larger than memory."""
    page = level.page
    syntax, color = _coding(path, page)
    there = [at for at, size in enumerate(page.databytecounts) if size]
    header = _header(path, level, base, color)
    header.NumberOfFrames = len(there)
    if len(there) < len(page.databytecounts):  # a tile that is not there is not glass
        across = -(-page.shape[1] // page.tilewidth)
        header.DimensionOrganizationType = "TILED_SPARSE"
        header.PerFrameFunctionalGroupsSequence = [
            _place(at // across * page.tilelength, at % across * page.tilewidth) for at in there
        ]
    header.file_meta.TransferSyntaxUID = syntax
    out = folder / f"level-{level.index}.dcm"
    with out.open("wb") as file:
        _write_front(file, header)
        for frame in _frames(page, there):
            padded = frame + b"\0" * (len(frame) % 2)
            file.write(struct.pack("<HHL", 0xFFFE, 0xE000, len(padded)) + padded)
        file.write(struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))
    return out


def _write_front(file: BinaryIO, header: Dataset) -> None:
    """Everything before the first frame, with an empty table of offsets."""
    front = DicomBytesIO()
    front.is_implicit_VR, front.is_little_endian = False, True
    front.write(bytes(128) + b"DICM")
    write_file_meta_info(front, header.file_meta, enforce_standard=True)
    write_dataset(front, header)
    file.write(front.getvalue())
    file.write(struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF))
    file.write(struct.pack("<HHL", 0xFFFE, 0xE000, 0))


def _coding(path: Path, page: Any) -> tuple[UID, str]:
    """Transfer syntax and photometric interpretation of the frames."""
    compression, color = int(page.compression), int(page.photometric)
    if compression == JPEG_2000_YCBCR:
        raise TrainingError(
            f"{path.name}: found JPEG 2000 in YCbCr, expected JPEG 2000 in RGB, JPEG or a "
            "lossless compression; convert it to DICOM."
        )
    if color not in ((RGB, YCBCR) if compression in (JPEG, JPEG_2000_RGB) else (RGB,)):
        raise TrainingError(
            f"{path.name}: found colors that TIFF numbers {color} (PhotometricInterpretation), "
            "expected RGB, or YCbCr in JPEG; convert it to DICOM."
        )
    if compression == JPEG_2000_RGB:
        return JPEG2000, "RGB"
    if compression != JPEG:
        return JPEG2000Lossless, "RGB"
    return JPEGBaseline8Bit, "RGB" if color == RGB else "YBR_FULL_422"


def _frames(page: Any, there: list[int]) -> Iterator[bytes]:
    file = page.parent.filehandle
    for at in there:
        file.seek(page.dataoffsets[at])
        data = file.read(page.databytecounts[at])
        if int(page.compression) == JPEG:
            yield _whole_jpeg(data, page.jpegtables, rgb=int(page.photometric) == RGB)
        elif int(page.compression) == JPEG_2000_RGB:
            yield data
        else:
            yield _encoded(page, data, at)


def _encoded(page: Any, data: bytes, at: int) -> bytes:
    """A tile of another compression, whole to its edge, without loss."""
    pixels = page.decode(data, at)[0].reshape(-1, page.tilewidth, 3)
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", mct=False))


def _whole_jpeg(data: bytes, tables: bytes | None, *, rgb: bool) -> bytes:
    """The stream of a tile with the tables that TIFF keeps beside it (TIFF Technical Note 2)."""
    start = data[:2] + (_ADOBE_RGB if rgb else b"")
    return start + (tables[2:-2] if tables else b"") + data[2:]


def _place(row: int, col: int) -> Dataset:
    place, groups = Dataset(), Dataset()
    place.RowPositionInTotalImagePixelMatrix = row + 1
    place.ColumnPositionInTotalImagePixelMatrix = col + 1
    groups.PlanePositionSlideSequence = [place]
    return groups


def _header(path: Path, level: Level, base: Level, color: str) -> Dataset:
    """The Whole Slide Microscopy Image module (PS3.3 C.8.12.4), as far as a reader asks."""

    def made(what: str) -> UID:
        return generate_uid(entropy_srcs=[path.name, str(path.stat().st_size), what])

    page = level.page
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    meta.MediaStorageSOPInstanceUID = made(f"level {level.index}")
    ds = Dataset()
    ds.file_meta = meta
    ds.SOPClassUID = meta.MediaStorageSOPClassUID
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = made("study"), made("series")
    ds.FrameOfReferenceUID, ds.PyramidUID = made("frame of reference"), made("pyramid")
    ds.ImageType = ["DERIVED" if level.index else "ORIGINAL", "PRIMARY", "VOLUME",
                    "RESAMPLED" if level.index else "NONE"]  # fmt: skip
    ds.Modality, ds.ContainerIdentifier = "SM", "RESEARCH"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, color, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.Rows, ds.Columns = page.tilelength, page.tilewidth
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = page.shape[:2]
    ds.TotalPixelMatrixFocalPlanes = ds.NumberOfOpticalPaths = 1
    ds.DimensionOrganizationType = "TILED_FULL"
    ds.FocusMethod, ds.ExtendedDepthOfField = "AUTO", "NO"
    ds.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    height, width = (size * base.mpp / 1000 for size in base.page.shape[:2])
    ds.ImagedVolumeWidth, ds.ImagedVolumeHeight = width, height
    ds.ImagedVolumeDepth = _SECTION_MM * 1000
    origin, light, measures, shared = Dataset(), Dataset(), Dataset(), Dataset()
    origin.XOffsetInSlideCoordinateSystem = origin.YOffsetInSlideCoordinateSystem = 20
    ds.TotalPixelMatrixOriginSequence = [origin]
    light.OpticalPathIdentifier = "1"
    profile = base.page.tags.get(_ICC_TAG)
    if profile is not None:
        light.ICCProfile = bytes(profile.value)
    ds.OpticalPathSequence = [light]
    spacing = [height / page.shape[0], width / page.shape[1]]
    measures.PixelSpacing = [DSfloat(value, auto_format=True) for value in spacing]
    measures.SliceThickness = _SECTION_MM
    shared.PixelMeasuresSequence = [measures]
    ds.SharedFunctionalGroupsSequence = [shared]
    return ds
