"""Drawn slides of a letter F whose every tile has a color of its own: what is misplaced shows.

A slide is changed as `Drawn` in memory, then written. `judge` says in what a prediction disagrees
with what was drawn: outline, cells, the value of every cell, and the score.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw
from pydicom import DataElement, Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate_extended
from pydicom.sequence import Sequence
from pydicom.uid import UID, JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage, generate_uid
from pydicom.valuerep import DSfloat
from tiny_slides import jpeg

from inference.types import Prediction

Pixels = NDArray[np.uint8]
Encode = Callable[[Pixels], bytes]

ROWS, COLS, MPP, CELL_PX = 448, 576, 4.0, 32
"""A cell is a tile of the tiny student at MPP; the letter covers 1.4 mm2."""
GLASS = 243
STEP = 2
"""The lower level is so many times smaller: at the scale of the tissue mask."""
ORIGIN_MM, ORIENTATION = (20.0, 40.0), (0.0, -1.0, 0.0, -1.0, 0.0, 0.0)
LEAST_IOU, MOST_OFF, MOST_SCORE_OFF = 0.9, 0.06, 0.03
"""Outline against the letter; value of a cell (0 to 1) and score (0 to 3) against the colors."""
MOST_FILLED = 4
"""Cells of a hole that the mask fills or of a speck that it drops, where the view was altered:
0.05 mm2 and a rim."""
_STROKES = ((48, 64, 400, 208), (48, 64, 160, 480), (208, 64, 288, 320))


def letter(rows: int = ROWS, cols: int = COLS) -> NDArray[np.bool_]:
    """Where the tissue is: an F, which no turn and no mirror leaves as it is."""
    mask = np.zeros((rows, cols), np.bool_)
    for top, left, bottom, right in _STROKES:
        mask[top:bottom, left:right] = True
    return mask


def drawn_pixels() -> Pixels:
    """RGB of the letter on glass, each cell of another red and green."""
    rng = np.random.default_rng(11)
    by_cell = np.empty((ROWS // CELL_PX, COLS // CELL_PX, 3), np.uint8)
    by_cell[..., 0] = rng.integers(120, 235, by_cell.shape[:2])
    by_cell[..., 1] = rng.integers(40, 90, by_cell.shape[:2])
    by_cell[..., 2] = 150
    colors = by_cell.repeat(CELL_PX, 0).repeat(CELL_PX, 1)
    return np.where(letter()[..., None], colors, np.uint8(GLASS))


def outline_iou(outline: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of a closed outline [K, 2] (row, col) and a mask, by pixels."""
    canvas = Picture.new("1", truth.shape[::-1])
    points = [(float(col) - 0.5, float(row) - 0.5) for row, col in outline]
    ImageDraw.Draw(canvas).polygon(points, fill=1)
    found = np.asarray(canvas)
    return float((found & truth).sum() / max(1, (found | truth).sum()))


@dataclass(frozen=True)
class Truth:
    """What a slide shows, as far as anybody can know it from its files."""

    pixels: Pixels
    mask: NDArray[np.bool_]
    has_outline: bool = True
    """False where the view of the mask was altered: cells are compared, not the outline."""
    is_partial: bool = False
    """Whether it was said that tissue was left out: then some of it may be missing."""


@dataclass(eq=False)
class Image:
    """One image before it is written: its header, and its frames in the order of the file."""

    header: FileDataset
    pixels: Pixels
    frame: tuple[int, int] = (96, 96)
    syntax: UID = JPEGBaseline8Bit
    cells: list[tuple[int, int]] = field(default_factory=list)
    """Tile (row, column) of each frame."""
    frames: list[bytes] = field(default_factory=list)
    table: str = "basic"
    """'basic', 'empty', 'extended' or 'both'."""
    fragments: int = 1
    rewrite: Callable[[bytes], bytes] | None = None
    """What is done to the bytes of the written file."""

    def tile(self, cell: tuple[int, int]) -> Pixels:
        """Pixels of a tile, white outside of the matrix."""
        rows, cols = self.frame
        top, left = cell[0] * rows, cell[1] * cols
        inside = self.pixels[top : top + rows, left : left + cols]
        tile = np.full((rows, cols, 3), 255, np.uint8)
        tile[: inside.shape[0], : inside.shape[1]] = inside
        return tile

    def encode(
        self,
        encode: Encode = jpeg,
        *,
        syntax: UID = JPEGBaseline8Bit,
        photometric: str = "YBR_FULL_422",
        frame: tuple[int, int] | None = None,
    ) -> None:
        """Cut the picture into tiles of `frame`, in raster order, and encode them."""
        self.frame = frame or self.frame
        rows, cols = (
            -(-side // f) for side, f in zip(self.pixels.shape[:2], self.frame, strict=True)
        )
        self.cells = [(row, col) for row in range(rows) for col in range(cols)]
        self.frames = [encode(self.tile(cell)) for cell in self.cells]
        self.syntax = syntax
        self.header.Rows, self.header.Columns = self.frame
        self.header.PhotometricInterpretation = photometric
        self.header.NumberOfFrames = len(self.frames)

    def keep(self, frames: list[int]) -> None:
        """Only these frames, in this order."""
        self.frames = [self.frames[n] for n in frames]
        self.cells = [self.cells[n] for n in frames]
        self.header.NumberOfFrames = len(frames)

    def state_positions(self, organization: str = "TILED_SPARSE") -> None:
        """Plane Position (Slide) of every frame (PS3.3 C.8.12.6.1)."""
        if organization:
            self.header.DimensionOrganizationType = organization
        elif "DimensionOrganizationType" in self.header:
            del self.header.DimensionOrganizationType
        measures = self.header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        self.header.PerFrameFunctionalGroupsSequence = Sequence(
            _position(self.header, cell, self.frame, [float(v) for v in measures.PixelSpacing])
            for cell in self.cells
        )

    @property
    def positions(self) -> list[Dataset]:
        """Plane Position (Slide) items, as they are in the header."""
        groups = self.header.PerFrameFunctionalGroupsSequence
        return [group.PlanePositionSlideSequence[0] for group in groups]

    @property
    def measures(self) -> Dataset:
        """Pixel Measures of the shared functional groups."""
        shared: Dataset = self.header.SharedFunctionalGroupsSequence[0]
        measures: Dataset = shared.PixelMeasuresSequence[0]
        return measures

    def save(self, path: Path) -> Path:
        """Write it; a header that contradicts itself is written as it is."""
        header = self.header
        header.file_meta.TransferSyntaxUID = self.syntax
        header["PixelData"] = self._pixel_data()
        header.file_meta.MediaStorageSOPInstanceUID = header.get("SOPInstanceUID", "")
        header.save_as(path, enforce_file_format=True)
        if self.rewrite is not None:
            path.write_bytes(self.rewrite(path.read_bytes()))
        return path

    def _pixel_data(self) -> DataElement:
        if not self.syntax.is_encapsulated:
            data = b"".join(self.frames)
            return DataElement("PixelData", "OB", data + b"\0" * (len(data) % 2))
        frames = [f + b"\0" * (len(f) % 2) for f in self.frames]
        if self.table in ("extended", "both"):
            _, offsets, lengths = encapsulate_extended([f or b"\0\0" for f in frames])
            self.header.ExtendedOffsetTable = offsets
            self.header.ExtendedOffsetTableLengths = lengths
        data = _items(frames, self.fragments, with_table=self.table in ("basic", "both"))
        element = DataElement("PixelData", "OB", data)
        element.is_undefined_length = True
        return element


@dataclass
class Drawn:
    """A slide of the letter: its images, largest first, and where its tissue is."""

    images: list[Image]
    truth: Truth

    @property
    def base(self) -> Image:
        return self.images[0]

    @property
    def lower(self) -> Image:
        return self.images[1]

    def copy(self) -> Drawn:
        """One of its own to change."""
        return copy.deepcopy(self)

    def save(self, folder: Path) -> list[Path]:
        """The files, in the order of the images."""
        folder.mkdir(parents=True, exist_ok=True)
        return [image.save(folder / f"{n}.dcm") for n, image in enumerate(self.images)]


def drawn(*, levels: int = 2) -> Drawn:
    """The untouched slide: JPEG, TILED_FULL, one file a level."""
    pixels = drawn_pixels()
    smaller = np.asarray(Picture.fromarray(pixels).reduce(STEP))
    images = []
    for n, shown in enumerate((pixels, smaller)[:levels]):
        image = Image(_header(n, shown.shape, MPP * STEP**n), shown)
        image.encode()
        images.append(image)
    return Drawn(images, Truth(pixels, letter()))


def flavored(base: Image, flavor: str, *, n: int) -> Image:
    """A LABEL, OVERVIEW, THUMBNAIL or LOCALIZER beside the levels: a gray card of one frame."""
    header = copy.deepcopy(base.header)
    header.ImageType = ["ORIGINAL", "PRIMARY", flavor, "NONE"]
    header.SOPInstanceUID = generate_uid(entropy_srcs=[flavor])
    header.InstanceNumber = n
    header.TotalPixelMatrixRows, header.TotalPixelMatrixColumns = 60, 60
    image = Image(header, np.full((60, 60, 3), 128, np.uint8))
    image.encode()
    return image


def judge(found: Prediction, truth: Truth) -> list[str]:
    """In what a prediction of the tiny student disagrees with the slide, one sentence each."""
    faults = []
    if not truth.is_partial and truth.has_outline:
        best = max((outline_iou(o, truth.mask) for o in found.tissue_outlines), default=0.0)
        faults += [f"outline IoU {best:.2f}"] if best < LEAST_IOU else []
    side = found.stride_px
    if abs(side - CELL_PX) > 1:
        return [*faults, f"cells of {side} px"]
    values = found.heatmaps[0].values
    means = _cell_means(truth.pixels, side, values.shape)
    shares = _cell_means(truth.mask[..., None].astype(np.float64), side, values.shape)[..., 0]
    analyzed = np.isfinite(values)
    most = 0 if truth.has_outline else MOST_FILLED
    on_glass = int((analyzed & (np.nan_to_num(shares) < 0.05)).sum())
    if on_glass > most:
        faults.append(f"{on_glass} cells of glass analyzed")
    left_out = int((~analyzed & (shares > 0.6)).sum())
    if left_out > most and not truth.is_partial:
        faults.append(f"{left_out} cells of tissue left out")
    if not analyzed.any():
        return [*faults, "no cell has a value"]
    wrong = ~(np.abs(values - means[..., 0] / 255)[analyzed] <= MOST_OFF)
    if wrong.any():
        faults.append(f"{int(wrong.sum())} of {wrong.size} cells of another color")
    expected = float((means[analyzed].mean(0) / 255).sum())
    if not abs(found.scores["risk"] - expected) <= MOST_SCORE_OFF:
        faults.append(f"score {found.scores['risk']:.3f}, expected {expected:.3f}")
    return faults


def tiny_at_letter_scale(values: dict[str, Any]) -> None:
    """The change that makes the tiny student take these slides."""
    values["input"]["mpp"] = MPP
    # Its curve is green, then blue: these colors would let it rise.
    values["outputs"] = [o for o in values["outputs"] if o["kind"] != "survival"]
    for output in values["outputs"]:
        if output["kind"] == "heatmap":
            output["top_patches"] = 1  # each costs time to write


def _cell_means(values: NDArray[Any], side: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """[R, C, n] means of [H, W, n] over cells; NaN where a cell has nothing."""
    means = np.full((*shape, values.shape[2]), np.nan)
    for row in range(min(shape[0], -(-values.shape[0] // side))):
        for col in range(min(shape[1], -(-values.shape[1] // side))):
            cell = values[row * side : (row + 1) * side, col * side : (col + 1) * side]
            means[row, col] = cell.mean((0, 1))
    return means


def _items(frames: list[bytes], fragments: int, *, with_table: bool) -> bytes:
    """Encapsulated pixel data (PS3.5 A.4); a frame may have no bytes, which no library writes."""
    offsets, items = [], bytearray()
    for frame in frames:
        offsets.append(len(items))
        size = max(2, -(-len(frame) // fragments) // 2 * 2)
        parts = [frame[at : at + size] for at in range(0, len(frame), size)] or [b""]
        for part in parts:
            items += b"\xfe\xff\x00\xe0" + struct.pack("<I", len(part)) + part
    table = struct.pack(f"<{len(offsets)}I", *offsets) if with_table else b""
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(table)) + table + bytes(items)


def _position(
    header: Dataset, cell: tuple[int, int], frame: tuple[int, int], spacing: list[float]
) -> Dataset:
    row, col = cell[0] * frame[0], cell[1] * frame[1]
    origin = header.TotalPixelMatrixOriginSequence[0]
    turn = [float(v) for v in header.ImageOrientationSlide]
    at = [
        a * col * spacing[1] + b * row * spacing[0] for a, b in zip(turn[:3], turn[3:], strict=True)
    ]
    position = Dataset()
    position.ColumnPositionInTotalImagePixelMatrix = col + 1
    position.RowPositionInTotalImagePixelMatrix = row + 1
    x_mm, y_mm = origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem
    position.XOffsetInSlideCoordinateSystem = DSfloat(float(x_mm) + at[0], auto_format=True)
    position.YOffsetInSlideCoordinateSystem = DSfloat(float(y_mm) + at[1], auto_format=True)
    position.ZOffsetInSlideCoordinateSystem = 0
    groups = Dataset()
    groups.PlanePositionSlideSequence = [position]
    return groups


def _header(n: int, size: tuple[int, ...], mpp: float) -> FileDataset:
    """Everything that a scanner states of a level (PS3.3 A.32.8)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["letter", str(n)])
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PyramidUID"):
        setattr(ds, keyword, generate_uid(entropy_srcs=["letter", keyword]))
    derived = ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
    ds.ImageType = derived if n else ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Letter^F", "F", "", ""
    ds.StudyDate = ds.ContentDate = "20260101"
    ds.StudyTime = ds.ContentTime = "120000"
    ds.AcquisitionDateTime = "20260101120000"
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "1", "A1", ""
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "SM", 1, n + 1
    ds.Manufacturer, ds.ManufacturerModelName = "Tests", "Letters"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "0", "1"
    ds.PositionReferenceIndicator = "SLIDE_CORNER"
    ds.VolumetricProperties, ds.SpecimenLabelInImage, ds.BurnedInAnnotation = "VOLUME", "NO", "NO"
    ds.FocusMethod, ds.ExtendedDepthOfField = "AUTO", "NO"
    ds.ContainerIdentifier = "S1"
    ds.LossyImageCompression = "01"
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = size[:2]
    ds.TotalPixelMatrixFocalPlanes = ds.NumberOfOpticalPaths = 1
    ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PixelRepresentation = 3, 0, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.ImagedVolumeWidth, ds.ImagedVolumeHeight = size[1] * mpp / 1000, size[0] * mpp / 1000
    ds.ImagedVolumeDepth = 4.0
    ds.DimensionOrganizationType = "TILED_FULL"
    ds.ImageOrientationSlide = list(ORIENTATION)
    ds.TotalPixelMatrixOriginSequence = [
        _item(
            XOffsetInSlideCoordinateSystem=ORIGIN_MM[0], YOffsetInSlideCoordinateSystem=ORIGIN_MM[1]
        )
    ]
    ds.SpecimenDescriptionSequence = [
        _item(SpecimenIdentifier="S1", SpecimenUID=generate_uid(entropy_srcs=["specimen"]))
    ]
    ds.OpticalPathSequence = [_item(OpticalPathIdentifier="1")]
    measures = _item(PixelSpacing=[mpp / 1000, mpp / 1000], SliceThickness=0.004)
    ds.SharedFunctionalGroupsSequence = [_item(PixelMeasuresSequence=[measures])]
    return ds


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item
