"""VL Whole Slide Microscopy instances of the test patient (PS3.3 A.32.8)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime

from PIL import ImageCms
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID
from pydicom.valuerep import DSfloat

from conformance.slides.encodings import JPEG_BASELINE, PixelData, encode
from conformance.slides.picture import Pixels

WSM = "1.2.840.10008.5.1.4.1.1.77.1.6"
PATIENT_NAME, PATIENT_ID = "CONFORMANCE^TEST^^^", "CONFORMANCE-TEST"
_SECTION_MM = 0.004

Edit = Callable[[Dataset], None]


def new_uid() -> UID:
    """A UID from a random UUID (PS3.5 B.2)."""
    return UID(f"2.25.{uuid.uuid4().int}")


@dataclass(frozen=True, slots=True)
class Study:
    """What the instances of one slide share; its UIDs are fresh."""

    patient_name: str = PATIENT_NAME
    patient_id: str = PATIENT_ID
    character_set: str = "ISO_IR 192"
    accession_number: str = "CONFORM-1"
    uid: str = field(default_factory=new_uid)
    series_uid: str = field(default_factory=new_uid)
    frame_of_reference_uid: str = field(default_factory=new_uid)
    pyramid_uid: str = field(default_factory=new_uid)
    container: str = field(default_factory=lambda: f"CONFORM-{uuid.uuid4().hex[:8]}")
    written: datetime = field(default_factory=datetime.now)


@dataclass(frozen=True, slots=True)
class Level:
    """One level: its pixels [H, W, 3], and how large a pixel is."""

    pixels: Pixels
    mpp: float
    index: int = 0


def instance(
    study: Study,
    level: Level,
    *,
    tile: int = 256,
    syntax: str = JPEG_BASELINE,
    edit: Edit | None = None,
) -> Dataset:
    """One TILED_FULL image with file meta information, changed by `edit` at the end."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.SOPClassUID, ds.SOPInstanceUID = WSM, new_uid()
    ds.SpecificCharacterSet = study.character_set
    _patient_and_study(ds, study)
    _series_and_equipment(ds, study)
    _specimen(ds, study)
    _optical_path(ds)
    _image(ds, study, level)
    _functional_groups(ds, level)
    _pixels(ds, encode(level.pixels, tile=tile, syntax=syntax), tile)
    if edit is not None:
        edit(ds)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", WSM)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", new_uid())
    return ds


def concatenated(whole: Dataset, parts: int) -> list[Dataset]:
    """The frames of a native image in several instances (PS3.3 C.7.6.16.2.2.4)."""
    frames = int(whole.NumberOfFrames)
    size = whole.Rows * whole.Columns * whole.SamplesPerPixel
    uid, found = new_uid(), []
    for n in range(parts):
        first, stop = n * frames // parts, (n + 1) * frames // parts
        part = Dataset()
        part.update({e.tag: deepcopy(e) for e in whole if e.keyword != "PixelData"})
        part.file_meta = FileMetaDataset()
        part.file_meta.update(deepcopy(whole.file_meta))
        part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = new_uid()
        part.SOPInstanceUIDOfConcatenationSource = whole.SOPInstanceUID
        part.ConcatenationUID = uid
        part.InConcatenationNumber, part.InConcatenationTotalNumber = n + 1, parts
        part.ConcatenationFrameOffsetNumber = first
        part.NumberOfFrames = stop - first
        part.add_new("PixelData", "OB", whole.PixelData[first * size : stop * size])
        found.append(part)
    return found


def _patient_and_study(ds: Dataset, study: Study) -> None:
    ds.PatientName, ds.PatientID = study.patient_name, study.patient_id
    ds.PatientBirthDate, ds.PatientSex = "19000101", "O"
    ds.StudyInstanceUID, ds.StudyID = study.uid, "CONFORM"
    ds.StudyDate = study.written.strftime("%Y%m%d")
    ds.StudyTime = study.written.strftime("%H%M%S")
    ds.StudyDescription = "Conformance test, not a patient"
    ds.AccessionNumber = study.accession_number
    ds.ReferringPhysicianName = "NOBODY^REFERRING"


def _series_and_equipment(ds: Dataset, study: Study) -> None:
    ds.Modality, ds.SeriesInstanceUID, ds.SeriesNumber = "SM", study.series_uid, 1
    ds.SeriesDescription = "Drawn for a conformance test"
    ds.FrameOfReferenceUID = study.frame_of_reference_uid
    ds.PositionReferenceIndicator = "SLIDE_CORNER"
    ds.Manufacturer, ds.ManufacturerModelName = "CONFORMANCE", "Drawn slide"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "0", "1"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _specimen(ds: Dataset, study: Study) -> None:
    """Container, specimen and an H&E staining step (PS3.3 C.7.6.22, TID 8001 and 8003)."""
    ds.ContainerIdentifier = study.container
    ds.IssuerOfTheContainerIdentifierSequence = Sequence()
    ds.ContainerTypeCodeSequence = [_code("433466003", "SCT", "Microscope slide")]
    specimen, step = Dataset(), Dataset()
    specimen.SpecimenIdentifier = f"{study.container}-S"
    specimen.SpecimenUID = new_uid()
    specimen.IssuerOfTheSpecimenIdentifierSequence = Sequence()
    step.SpecimenPreparationStepContentItemSequence = [
        _content("TEXT", _code("121041", "DCM", "Specimen Identifier"), f"{study.container}-S"),
        _content(
            "CODE",
            _code("111701", "DCM", "Processing type"),
            _code("127790008", "SCT", "Staining"),
        ),
        *(
            _content("CODE", _code("424361007", "SCT", "Using substance"), stain)
            for stain in (
                _code("12710003", "SCT", "hematoxylin stain"),
                _code("36879007", "SCT", "water soluble eosin stain"),
            )
        ),
    ]
    specimen.SpecimenPreparationSequence = [step]
    ds.SpecimenDescriptionSequence = [specimen]


def _content(kind: str, name: Dataset, value: str | Dataset) -> Dataset:
    item = Dataset()
    item.ValueType = kind
    item.ConceptNameCodeSequence = [name]
    if isinstance(value, Dataset):
        item.ConceptCodeSequence = [value]
    else:
        item.TextValue = value
    return item


def _optical_path(ds: Dataset) -> None:
    path = Dataset()
    path.OpticalPathIdentifier, path.OpticalPathDescription = "1", "Brightfield"
    path.IlluminationTypeCodeSequence = [_code("111744", "DCM", "Brightfield illumination")]
    path.IlluminationColorCodeSequence = [_code("414298005", "SCT", "Full Spectrum")]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path.ICCProfile = profile + b"\0" * (len(profile) % 2)
    path.ColorSpace, path.ObjectiveLensPower = "SRGB", 20
    ds.OpticalPathSequence = [path]
    ds.NumberOfOpticalPaths = 1


def _image(ds: Dataset, study: Study, level: Level) -> None:
    ds.ImageType = _image_type(level)
    ds.InstanceNumber = level.index + 1
    ds.ContentDate, ds.ContentTime = ds.StudyDate, ds.StudyTime
    ds.AcquisitionDateTime = ds.StudyDate + ds.StudyTime
    ds.AcquisitionContextSequence = Sequence()
    ds.PyramidUID = study.pyramid_uid
    rows, cols = level.pixels.shape[:2]
    ds.ImagedVolumeWidth, ds.ImagedVolumeHeight = cols * level.mpp / 1000, rows * level.mpp / 1000
    ds.ImagedVolumeDepth = _SECTION_MM * 1000
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = rows, cols
    ds.TotalPixelMatrixFocalPlanes = 1
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 20.0, 50.0
    ds.TotalPixelMatrixOriginSequence = [origin]
    ds.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    ds.VolumetricProperties, ds.SpecimenLabelInImage = "VOLUME", "NO"
    ds.BurnedInAnnotation, ds.FocusMethod, ds.ExtendedDepthOfField = "NO", "AUTO", "NO"


def _image_type(level: Level) -> list[str]:
    own = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    return ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"] if level.index else own


def _functional_groups(ds: Dataset, level: Level) -> None:
    measures, kind, path, shared = Dataset(), Dataset(), Dataset(), Dataset()
    measures.SliceThickness = _SECTION_MM
    measures.PixelSpacing = [DSfloat(level.mpp / 1000, auto_format=True)] * 2
    kind.FrameType = _image_type(level)
    path.OpticalPathIdentifier = "1"
    shared.PixelMeasuresSequence = [measures]
    shared.WholeSlideMicroscopyImageFrameTypeSequence = [kind]
    shared.OpticalPathIdentificationSequence = [path]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.DimensionOrganizationType = "TILED_FULL"
    organization, row, col = Dataset(), Dataset(), Dataset()
    organization.DimensionOrganizationUID = new_uid()
    ds.DimensionOrganizationSequence = [organization]
    for index, pointer in ((col, 0x0048021E), (row, 0x0048021F)):
        index.DimensionOrganizationUID = organization.DimensionOrganizationUID
        index.DimensionIndexPointer = pointer
        index.FunctionalGroupPointer = 0x0048021A  # Plane Position (Slide) Sequence
    ds.DimensionIndexSequence = [col, row]


def _pixels(ds: Dataset, data: PixelData, tile: int) -> None:
    ds.Rows = ds.Columns = tile
    ds.NumberOfFrames = data.frames
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 3, data.photometric
    ds.PlanarConfiguration, ds.PixelRepresentation = 0, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.LossyImageCompression = "01" if data.lossy_method else "00"
    if data.lossy_method:
        ds.LossyImageCompressionMethod = data.lossy_method
        ds.LossyImageCompressionRatio = 10
    ds.add_new("PixelData", "OB", data.value)
    ds["PixelData"].is_undefined_length = data.is_encapsulated
