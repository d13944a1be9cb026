"""VL Whole Slide Microscopy studies written from pixels in memory (PS3.3 A.32.8).

For slides that no scanner made: the drawn phantom of the demo and the composed slides of the tests.
"""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage
from pydicom.valuerep import DSfloat

from inference.phantom.draw import DRAWN

_ORIGIN_MM = (25.0, 50.0)
_ORIENTATION = [0, -1, 0, -1, 0, 0]
"""Columns run to -y, rows to -x: as scanners write a slide whose label is to the left."""
_SECTION_MM = 0.004
_HEMATOXYLIN = Code("12710003", "SCT", "hematoxylin stain")
_EOSIN = Code("36879007", "SCT", "water soluble eosin stain")
COLON = Code("71854001", "SCT", "Colon")
_SEEDED_TIME = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SlideLabel:
    """Who and what the slide says it is."""

    patient_name: str = "Phantom^Drawn"
    patient_id: str = "PHANTOM"
    accession_number: str = "PHANTOM"
    container_id: str = "PHANTOM-A-1"
    study_description: str = DRAWN
    organ: Code | None = None
    """What the specimen says that it is of; None: nothing."""


@dataclass(frozen=True, slots=True)
class _Study:
    """What the levels of one slide share."""

    label: SlideLabel
    description: str
    seed: str | None
    study_uid: str
    written: datetime
    uids: dict[str, str]

    def uid(self, what: str) -> str:
        """A UUID-derived UID (PS3.5 B.2), the same for the same seed, otherwise fresh."""
        if what not in self.uids:
            name = (
                uuid.uuid5(uuid.NAMESPACE_OID, f"{self.seed}/{what}") if self.seed else uuid.uuid4()
            )
            self.uids[what] = f"2.25.{name.int}"
        return self.uids[what]


@dataclass(frozen=True, slots=True)
class _Level:
    """One level: pixels uint8 [H, W, 3] and its place in the pyramid."""

    index: int
    pixels: NDArray[np.uint8]
    mpp: float
    base_shape: tuple[int, int]
    base_mpp: float


def write_slide(
    pixels: NDArray[np.uint8],
    folder: Path,
    *,
    mpp: float,
    description: str = DRAWN,
    label: SlideLabel | None = None,
    levels: int = 4,
    step: int = 2,
    tile: int = 256,
    quality: int = 85,
    seed: str | None = None,
    study_uid: str | None = None,
) -> list[Path]:
    """Writes one H&E slide, one file per level, largest first; returns the files.

    `pixels` uint8 RGB [H, W, 3] at `mpp` um per pixel; each level is `step` times smaller than the
    one before. Frames are JPEG Baseline, TILED_FULL. With `seed` all UIDs and times are a function
    of it, otherwise UIDs are fresh and times are now. Another slide of the same study takes its
    `study_uid`. Raises ValueError when `pixels` is not uint8 [H, W, 3].
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels {pixels.dtype} {pixels.shape}: expected uint8 [H, W, 3]")
    folder.mkdir(parents=True, exist_ok=True)
    written = _SEEDED_TIME if seed else datetime.now(UTC)
    study = _Study(label or SlideLabel(), description, seed, study_uid or "", written, {})
    study = replace(study, study_uid=study_uid or study.uid("study"))
    files = []
    level = _Level(0, pixels, mpp, pixels.shape[:2], mpp)
    for index in range(levels):
        if index:
            smaller = np.asarray(Image.fromarray(level.pixels).reduce(step))
            level = replace(level, index=index, pixels=smaller, mpp=level.mpp * step)
        path = folder / f"level-{index}.dcm"
        _dataset(study, level, tile, quality).save_as(path, enforce_file_format=True)
        files.append(path)
    return files


def jpeg_frames(pixels: NDArray[np.uint8], *, tile: int, quality: int) -> list[bytes]:
    """JPEG streams (4:2:2) of the tiles of [H, W, 3] in raster order, padded with white."""
    rows, cols = pixels.shape[:2]
    frames = []
    for top in range(0, rows, tile):
        for left in range(0, cols, tile):
            part = pixels[top : top + tile, left : left + tile]
            if part.shape[:2] != (tile, tile):
                full = np.full((tile, tile, 3), 255, np.uint8)
                full[: part.shape[0], : part.shape[1]] = part
                part = full
            stream = io.BytesIO()
            image = Image.fromarray(np.ascontiguousarray(part))
            image.save(stream, "JPEG", quality=quality, subsampling="4:2:2")
            frames.append(stream.getvalue())
    return frames


def _dataset(study: _Study, level: _Level, tile: int, quality: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    ds.SOPInstanceUID = study.uid(f"level-{level.index}")
    _patient_study_series(ds, study)
    _equipment(ds)
    _specimen(ds, study)
    _optical_path(ds)
    _image(ds, study, level)
    _functional_groups(ds, study, level)
    _pixel_data(ds, level.pixels, tile, quality)
    return ds


def _patient_study_series(ds: Dataset, study: _Study) -> None:
    ds.PatientName = study.label.patient_name
    ds.PatientID = study.label.patient_id
    ds.PatientBirthDate = ""
    ds.PatientSex = ""
    ds.StudyInstanceUID = study.study_uid
    ds.StudyDate = study.written.strftime("%Y%m%d")
    ds.StudyTime = study.written.strftime("%H%M%S")
    ds.StudyID = "1"
    ds.StudyDescription = study.label.study_description
    ds.AccessionNumber = study.label.accession_number
    ds.ReferringPhysicianName = ""
    ds.Modality = "SM"
    ds.SeriesInstanceUID = study.uid("series")
    ds.SeriesNumber = 1
    ds.SeriesDescription = study.description
    ds.FrameOfReferenceUID = study.uid("frame of reference")
    ds.PositionReferenceIndicator = "SLIDE_CORNER"


def _equipment(ds: Dataset) -> None:
    ds.Manufacturer = "dicom-node"
    ds.ManufacturerModelName = "Slide written by dicom-node"
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = "1"


def _specimen(ds: Dataset, study: _Study) -> None:
    """Container and specimen with its staining steps (PS3.3 C.7.6.22)."""
    ds.ContainerIdentifier = study.label.container_id
    ds.IssuerOfTheContainerIdentifierSequence = Sequence()
    ds.ContainerTypeCodeSequence = _code(Code("433466003", "SCT", "Microscope slide"))
    specimen_id = f"{study.label.container_id}-S"
    staining = hd.SpecimenPreparationStep(specimen_id, hd.SpecimenStaining([_HEMATOXYLIN, _EOSIN]))
    specimen = hd.SpecimenDescription(
        specimen_id=specimen_id,
        specimen_uid=study.uid("specimen"),
        specimen_preparation_steps=[staining],
        primary_anatomic_structures=[study.label.organ] if study.label.organ else None,
    )
    ds.SpecimenDescriptionSequence = Sequence([specimen])


def _optical_path(ds: Dataset) -> None:
    path = Dataset()
    path.OpticalPathIdentifier = "1"
    path.OpticalPathDescription = "Brightfield"
    path.IlluminationTypeCodeSequence = _code(codes.DCM.BrightfieldIllumination)
    path.IlluminationColorCodeSequence = _code(Code("414298005", "SCT", "Full Spectrum"))
    path.ICCProfile = _srgb_profile()
    path.ColorSpace = "SRGB"
    path.ObjectiveLensPower = 20
    ds.OpticalPathSequence = Sequence([path])
    ds.NumberOfOpticalPaths = 1


def _srgb_profile() -> bytes:
    """An ICC profile of even length whose creation date is fixed: same seed, same file."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = np.array([2020, 1, 1, 0, 0, 0], ">u2").tobytes()  # ICC.1:2022 7.2.8
    return bytes(profile) + b"\0" * (len(profile) % 2)


def _image(ds: Dataset, study: _Study, level: _Level) -> None:
    """Whole Slide Microscopy Image module (PS3.3 C.8.12.4)."""
    ds.ImageType = _image_type(level)
    ds.InstanceNumber = level.index + 1
    ds.ContentDate = ds.StudyDate
    ds.ContentTime = ds.StudyTime
    ds.AcquisitionDateTime = study.written.strftime("%Y%m%d%H%M%S")
    ds.AcquisitionContextSequence = Sequence()
    ds.PyramidUID = study.uid("pyramid")
    height, width = level.base_shape
    # Width is the extent along columns of pixels, height along rows (C.8.12.4.1.1).
    ds.ImagedVolumeWidth = width * level.base_mpp / 1000
    ds.ImagedVolumeHeight = height * level.base_mpp / 1000
    ds.ImagedVolumeDepth = _SECTION_MM * 1000
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = level.pixels.shape[:2]
    ds.TotalPixelMatrixFocalPlanes = 1
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = _ORIGIN_MM
    ds.TotalPixelMatrixOriginSequence = Sequence([origin])
    ds.ImageOrientationSlide = _ORIENTATION
    ds.VolumetricProperties = "VOLUME"
    ds.SpecimenLabelInImage = "NO"
    ds.BurnedInAnnotation = "NO"
    ds.FocusMethod = "AUTO"
    ds.ExtendedDepthOfField = "NO"


def _image_type(level: _Level) -> list[str]:
    if level.index == 0:
        return ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    return ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]


def _functional_groups(ds: Dataset, study: _Study, level: _Level) -> None:
    """Shared groups and the dimensions of a TILED_FULL image (PS3.3 C.7.6.16, C.7.6.17)."""
    measures, kind, path = Dataset(), Dataset(), Dataset()
    measures.SliceThickness = _SECTION_MM
    measures.PixelSpacing = [DSfloat(level.mpp / 1000, auto_format=True)] * 2
    kind.FrameType = _image_type(level)
    path.OpticalPathIdentifier = "1"
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.WholeSlideMicroscopyImageFrameTypeSequence = Sequence([kind])
    shared.OpticalPathIdentificationSequence = Sequence([path])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    ds.DimensionOrganizationType = "TILED_FULL"
    organization, by_col, by_row = Dataset(), Dataset(), Dataset()
    organization.DimensionOrganizationUID = study.uid("dimensions")
    by_col.DimensionIndexPointer = 0x0048021E  # Column Position In Total Image Pixel Matrix
    by_row.DimensionIndexPointer = 0x0048021F  # Row Position In Total Image Pixel Matrix
    for dimension in (by_col, by_row):
        dimension.DimensionOrganizationUID = organization.DimensionOrganizationUID
        dimension.FunctionalGroupPointer = 0x0048021A  # Plane Position (Slide) Sequence
    ds.DimensionOrganizationSequence = Sequence([organization])
    ds.DimensionIndexSequence = Sequence([by_row, by_col])


def _pixel_data(ds: Dataset, pixels: NDArray[np.uint8], tile: int, quality: int) -> None:
    frames = jpeg_frames(pixels, tile=tile, quality=quality)
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.PlanarConfiguration = 0
    ds.Rows = ds.Columns = tile
    ds.NumberOfFrames = len(frames)
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    ds.LossyImageCompression = "01"
    ratio = len(frames) * tile * tile * 3 / sum(map(len, frames))
    ds.LossyImageCompressionRatio = DSfloat(round(ratio, 2))
    ds.LossyImageCompressionMethod = "ISO_10918_1"
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].VR = "OB"


def _code(code: Code) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
    item.CodeMeaning = code.meaning
    return Sequence([item])
