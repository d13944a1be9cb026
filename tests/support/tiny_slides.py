"""Small whole slide images written straight with pydicom, and ways to spoil them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import DataElement, Dataset, dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    VLWholeSlideMicroscopyImageStorage,
    generate_uid,
)

Pixels = NDArray[np.uint8]
Edit = Callable[[Dataset], None]
FRAME_OF_REFERENCE = "1.2.826.0.1.3680043.8.498.1"


def noise(rows: int, cols: int, seed: int = 1) -> Pixels:
    """RGB pixels in which every place differs from every other."""
    return np.random.default_rng(seed).integers(0, 256, (rows, cols, 3), np.uint8)


def ramp(rows: int, cols: int, downsample: float = 1.0) -> Pixels:
    """A level of a slide whose red says the base row / 4 and whose green the base column / 4."""
    row = (np.arange(rows) + 0.5) * downsample / 4
    col = (np.arange(cols) + 0.5) * downsample / 4
    pixels = np.zeros((rows, cols, 3))
    pixels[..., 0], pixels[..., 1] = row[:, None], col[None]
    return np.round(np.clip(pixels, 0, 255)).astype(np.uint8)


def write_level(
    path: Path,
    pixels: Pixels,
    *,
    frame: tuple[int, int] = (32, 48),
    mpp: float = 0.5,
    flavor: str = "VOLUME",
    syntax: UID = ExplicitVRLittleEndian,
    absent: Collection[tuple[int, int]] | None = None,
    short_edges: bool = False,
    planes: int = 1,
    edit: Edit | None = None,
) -> Path:
    """One image with the given RGB pixels in frames of (rows, columns).

    `absent` makes it TILED_SPARSE without those tiles; `short_edges` stores edge frames without
    the part outside of the matrix; plane n of `planes` is the picture plus n in every channel.
    """
    tiles = _tiles(pixels, frame, short_edges=short_edges)
    kept = {at: tile for at, tile in tiles.items() if at not in (absent or ())}
    header = _header(pixels.shape[:2], frame, mpp, flavor)
    header.NumberOfFrames = len(kept) * planes
    header.TotalPixelMatrixFocalPlanes = planes
    if absent is not None:
        header.DimensionOrganizationType = "TILED_SPARSE"
        header.PerFrameFunctionalGroupsSequence = Sequence(_position(at, frame) for at in kept)
    frames = [_encode(tile + np.uint8(n), syntax) for n in range(planes) for tile in kept.values()]
    _set_pixels(header, frames, syntax)
    if edit is not None:
        edit(header)
    header.save_as(path, enforce_file_format=True)
    return path


def split(path: Path, parts: int) -> list[Path]:
    """The image as a concatenation of several files (PS3.3 C.7.6.16.2.2.4)."""
    whole = dcmread(path)
    size = whole.Rows * whole.Columns * 3
    bounds = np.linspace(0, int(whole.NumberOfFrames), parts + 1).astype(int).tolist()
    found = []
    concatenation = generate_uid(entropy_srcs=[str(path), "concatenation"])
    for n, (first, stop) in enumerate(pairwise(bounds)):
        part = dcmread(path)
        part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = generate_uid(
            entropy_srcs=[str(path), str(n)]
        )
        part.SOPInstanceUIDOfConcatenationSource = whole.SOPInstanceUID
        part.ConcatenationUID = concatenation
        part.InConcatenationNumber = n + 1
        part.InConcatenationTotalNumber = parts
        part.ConcatenationFrameOffsetNumber = first
        part.NumberOfFrames = stop - first
        part.PixelData = whole.PixelData[first * size : stop * size]
        found.append(path.with_name(f"{path.stem}-{n}.dcm"))
        part.save_as(found[-1])
    path.unlink()
    return found


def jpeg(tile: Pixels, *, subsampling: int = 2) -> bytes:
    """A JFIF stream, YCbCr as JFIF demands."""
    buffer = BytesIO()
    Image.fromarray(tile).save(buffer, "JPEG", quality=95, subsampling=subsampling)
    return buffer.getvalue()


def _tiles(
    pixels: Pixels, frame: tuple[int, int], *, short_edges: bool
) -> dict[tuple[int, int], Pixels]:
    """Tiles by (row, col); what an edge tile has outside of the matrix is black."""
    rows, cols = frame
    tiles = {}
    for row in range(-(-pixels.shape[0] // rows)):
        for col in range(-(-pixels.shape[1] // cols)):
            inside = pixels[row * rows : (row + 1) * rows, col * cols : (col + 1) * cols]
            tile = np.zeros((rows, cols, 3), np.uint8)
            tile[: inside.shape[0], : inside.shape[1]] = inside
            tiles[row, col] = inside.copy() if short_edges else tile
    return tiles


def _encode(tile: Pixels, syntax: UID) -> bytes:
    if syntax == JPEGBaseline8Bit:
        return jpeg(tile)
    if syntax == JPEGLSLossless:
        return bytes(imagecodecs.jpegls_encode(tile))
    if syntax in (JPEG2000, JPEG2000Lossless):  # the first with a color transform, YBR_RCT
        with_transform = syntax == JPEG2000
        return bytes(
            imagecodecs.jpeg2k_encode(tile, level=0, codecformat="j2k", mct=with_transform)
        )
    if syntax == RLELossless:
        return RLELosslessEncoder.encode(
            tile.tobytes(),
            rows=tile.shape[0],
            columns=tile.shape[1],
            samples_per_pixel=3,
            bits_allocated=8,
            bits_stored=8,
            pixel_representation=0,
            photometric_interpretation="RGB",
            number_of_frames=1,
            planar_configuration=0,
        )
    return tile.tobytes()


def _set_pixels(header: FileDataset, frames: list[bytes], syntax: UID) -> None:
    header.file_meta.TransferSyntaxUID = syntax
    if syntax.is_encapsulated:
        data = encapsulate([f + b"\0" * (len(f) % 2) for f in frames])
    else:
        data = b"".join(frames)
        data += b"\0" * (len(data) % 2)
    element = DataElement("PixelData", "OB", data)
    element.is_undefined_length = syntax.is_encapsulated
    header["PixelData"] = element


def _position(at: tuple[int, int], frame: tuple[int, int]) -> Dataset:
    position = Dataset()
    position.RowPositionInTotalImagePixelMatrix = at[0] * frame[0] + 1
    position.ColumnPositionInTotalImagePixelMatrix = at[1] * frame[1] + 1
    position.XOffsetInSlideCoordinateSystem = 0
    position.YOffsetInSlideCoordinateSystem = 0
    position.ZOffsetInSlideCoordinateSystem = 0
    groups = Dataset()
    groups.PlanePositionSlideSequence = [position]
    return groups


def _header(size: tuple[int, ...], frame: tuple[int, int], mpp: float, flavor: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(size), str(mpp), flavor])
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = meta.MediaStorageSOPClassUID
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["series"])
    ds.FrameOfReferenceUID = FRAME_OF_REFERENCE
    ds.ImageType = ["ORIGINAL", "PRIMARY", flavor, "NONE"]
    ds.Modality = "SM"
    ds.ContainerIdentifier = "S1"
    ds.Rows, ds.Columns = frame
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = size[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.NumberOfOpticalPaths = 1
    ds.DimensionOrganizationType = "TILED_FULL"
    ds.FocusMethod, ds.ExtendedDepthOfField = "AUTO", "NO"
    ds.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 20, 40
    ds.TotalPixelMatrixOriginSequence = [origin]
    path = Dataset()
    path.OpticalPathIdentifier = "1"
    ds.OpticalPathSequence = [path]
    measures = Dataset()
    measures.PixelSpacing = [mpp / 1000, mpp / 1000]
    measures.SliceThickness = 0.001
    measures.SpacingBetweenSlices = 0.001
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.ImagedVolumeWidth = size[1] * mpp / 1000
    ds.ImagedVolumeHeight = size[0] * mpp / 1000
    ds.ImagedVolumeDepth = 0.001
    return ds


def planted(path: Path, places: tuple[str | int, ...], vr: str, text: str) -> None:
    """Writes a text in the place of an attribute, said to be of that VR whatever it is.

    `places` leads to the attribute: keywords, and numbers of items of sequences. Explicit VR
    Little Endian; pydicom would not write such a thing, so the VR is changed in the bytes.
    """
    dataset = dcmread(path)
    holder = dataset
    for keyword, item in zip(places[:-1:2], places[1::2], strict=True):
        holder = holder[keyword].value[item]
    tag = holder[places[-1]].tag
    is_long = vr in ("OB", "SQ", "UN", "UT")
    written = b"UT" if is_long else b"LO"
    holder[tag] = DataElement(tag, written.decode(), text)
    dataset.save_as(path)
    data = path.read_bytes()
    head = struct.pack("<HH", tag.group, tag.element)
    padded = text.encode() + b" " * (len(text) % 2)
    length = struct.pack("<HI" if is_long else "<H", *([0] * is_long), len(padded))
    at = data.index(head + written + length + padded)
    path.write_bytes(data[:at] + head + vr.encode() + data[at + 6 :])


def spacing(*values: float) -> Edit:
    """Writes other Pixel Spacing values (row, col), in mm."""

    def edit(ds: Dataset) -> None:
        measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.PixelSpacing = list(values)

    return edit


def without(*keywords: str) -> Edit:
    """Removes attributes, from the shared pixel measures too."""

    def edit(ds: Dataset) -> None:
        measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        for keyword in keywords:
            for holder in (ds, measures):
                if keyword in holder:
                    delattr(holder, keyword)

    return edit


def setting(**values: object) -> Edit:
    """Writes other values of top-level attributes."""

    def edit(ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return edit
