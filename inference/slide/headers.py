"""What the header of one file says: the one parser for whoever counts, groups or judges slides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from pathlib import Path

from pydicom import Dataset
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from inference.errors import MALFORMED, SlideUnreadable, is_of_the_machine
from inference.slide import attributes
from inference.slide.attributes import BadValue, text, uid, value, words
from inference.slide.budget import TooMuch, require_bounded
from inference.slide.claims.patient import (
    IDENTIFYING,
    Order,
    Owner,
    Patient,
    read_order,
    read_patient,
)
from inference.slide.claims.scan import acquired_at, matrix_width_mm
from inference.slide.terms import is_uid

_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "ImageType",
    "ContainerIdentifier",
    "DimensionOrganizationType",
    "TotalPixelMatrixRows",
    "TotalPixelMatrixColumns",
    "TotalPixelMatrixFocalPlanes",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "NumberOfOpticalPaths",
    "SamplesPerPixel",
    "BitsAllocated",
    "ConcatenationUID",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "PyramidUID",
    "FrameOfReferenceUID",
    "AcquisitionUID",
    "AcquisitionDateTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "ImagedVolumeWidth",
    "SharedFunctionalGroupsSequence",
    *IDENTIFYING,
)
TAGS = tuple(Tag(keyword) for keyword in _KEYWORDS)
"""Attributes to read for `parse`."""
WHAT_TO_DO = "send the instance again or leave it out"

_PER_FRAME_GROUPS = 0x52009230
_FLAVORS = {"VOLUME", "LABEL", "OVERVIEW", "THUMBNAIL", "LOCALIZER"}
_ORGANIZATIONS = {"TILED_FULL", "TILED_SPARSE", "3D", "3D_TEMPORAL"}
_LONGEST_REFERENCE = 128
"""Of what is compared and never repeated; twice what a UID may have."""
_OTHER = "OTHER"
"""Stands for a value that is none of the defined terms: any text may stand there."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The image in one file, or the part of one (concatenation, PS3.3 C.7.6.16.2.2.4)."""

    path: Path
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    container_identifier: str
    is_whole_slide_image: bool
    flavor: str
    """ImageType value 3 (PS3.3 C.8.12.4.1.1): OTHER when it is none of the defined terms, '' when
    there is none."""
    is_resampled: bool
    """ImageType value 4: computed from another image, not from the scanner."""
    organization: str
    rows: int
    cols: int
    """Total pixel matrix; 0 where it is not stated."""
    frame_rows: int
    frame_cols: int
    frames: int
    """As stated: of this file, which may hold fewer."""
    focal_planes: int
    optical_paths: int
    samples: int
    bits_allocated: int
    """Samples per pixel and their bits; 0 where not stated."""
    concatenation_uid: str
    concatenation_number: int | None
    concatenation_total: int | None
    frame_of_reference: str
    """As it stands there: a UID or not; '' when absent."""
    width_mm: float | None
    """Of the whole matrix, along a row; None where it is not stated."""
    pyramid_uid: str
    acquisition_uid: str
    acquired_at: datetime | None
    """When it was scanned, in whatever time zone; None where that is not stated."""
    patient: Patient = field(repr=False)
    order: Order = field(repr=False)

    @property
    def owner(self) -> Owner:
        """Whose it is; the same for all files of a slide."""
        return Owner(self.patient, self.order)

    @property
    def is_volume(self) -> bool:
        """Whether it is a level of a slide, and no picture of its label or of its glass."""
        return self.is_whole_slide_image and self.flavor == "VOLUME"

    @property
    def is_beside(self) -> bool:
        """Whether it is a picture of the label, of the glass or the like, which decides nothing."""
        return self.is_whole_slide_image and self.flavor in _FLAVORS - {"VOLUME"}

    @property
    def container(self) -> str:
        """Container Identifier without the blanks that do not count (PS3.5 6.2, LO)."""
        return self.container_identifier.strip(" ")

    @property
    def image(self) -> str:
        """The same for all parts of one image."""
        return self.concatenation_uid or self.sop_instance_uid

    @property
    def cells(self) -> int:
        """Tiles of one plane; 0 where a size is not stated."""
        if not self.frame_rows or not self.frame_cols:
            return 0
        return ceil(self.rows / self.frame_rows) * ceil(self.cols / self.frame_cols)

    @property
    def tiled_full_frames(self) -> int | None:
        """Frames of a complete TILED_FULL raster, all parts of a concatenation together (PS3.3
        C.7.6.17.3); None where the header does not say: TILED_SPARSE may leave tiles out."""
        if self.organization != "TILED_FULL" or not self.cells:
            return None
        return self.cells * self.focal_planes * self.optical_paths

    def is_whole(self, frames: int) -> bool:
        """Whether so many frames are a complete image, as far as its header says.

        Number of Frames is that of the instance, Total Pixel Matrix Focal Planes that of the slide:
        planes may have come in an instance each, of one plane's frames.
        """
        expected = self.tiled_full_frames
        return expected is None or frames in (expected, self.cells * self.optical_paths)


def read_header(path: Path) -> ImageHeader:
    """The header of one file. Raises SlideUnreadable for a file that is malformed, and OSError for
    one that cannot be read now."""
    dataset = read_dataset(path, "The file", TAGS)
    with instance(str(dataset.SOPInstanceUID), path):
        return parse(path, dataset)


def parse(path: Path, dataset: Dataset) -> ImageHeader:
    """What a header says; TAGS of it are enough. Raises BadValue.

    A number that is none counts as not stated in a picture of the label or the like: it must not
    hold back its slide.
    """
    flavor = _image_type(dataset, 2, _FLAVORS)
    number = _number if flavor in _FLAVORS - {"VOLUME"} else attributes.number
    return ImageHeader(
        path=path,
        sop_instance_uid=uid(dataset, "SOPInstanceUID"),
        study_instance_uid=uid(dataset, "StudyInstanceUID"),
        series_instance_uid=uid(dataset, "SeriesInstanceUID"),
        container_identifier=text(dataset, "ContainerIdentifier"),
        is_whole_slide_image=value(dataset, "SOPClassUID") == VLWholeSlideMicroscopyImageStorage,
        flavor=flavor,
        is_resampled=_image_type(dataset, 3, {"RESAMPLED"}) == "RESAMPLED",
        organization=_term(
            text(dataset, "DimensionOrganizationType") or "TILED_SPARSE", _ORGANIZATIONS
        ),
        rows=number(dataset, "TotalPixelMatrixRows") or 0,
        cols=number(dataset, "TotalPixelMatrixColumns") or 0,
        frame_rows=number(dataset, "Rows") or 0,
        frame_cols=number(dataset, "Columns") or 0,
        frames=number(dataset, "NumberOfFrames") or 1,
        focal_planes=number(dataset, "TotalPixelMatrixFocalPlanes") or 1,
        optical_paths=number(dataset, "NumberOfOpticalPaths") or 1,
        samples=number(dataset, "SamplesPerPixel") or 0,
        bits_allocated=number(dataset, "BitsAllocated") or 0,
        concatenation_uid=uid(dataset, "ConcatenationUID"),
        concatenation_number=number(dataset, "InConcatenationNumber"),
        concatenation_total=number(dataset, "InConcatenationTotalNumber"),
        frame_of_reference=words(dataset, "FrameOfReferenceUID").strip()[:_LONGEST_REFERENCE],
        width_mm=matrix_width_mm(dataset),
        pyramid_uid=words(dataset, "PyramidUID").strip()[:_LONGEST_REFERENCE],
        acquisition_uid=words(dataset, "AcquisitionUID").strip()[:_LONGEST_REFERENCE],
        acquired_at=acquired_at(dataset),
        patient=read_patient(dataset),
        order=read_order(dataset),
    )


def read_dataset(path: Path, which: str, tags: Sequence[BaseTag | int] | None = None) -> Dataset:
    """`read_front` without the place where it stopped."""
    return read_front(path, which, tags)[0]


def read_front(
    path: Path, which: str, tags: Sequence[BaseTag | int] | None = None
) -> tuple[Dataset, int]:
    """All attributes, or these, before the per-frame functional groups, of a file that is DICOM,
    and where in the file the next element begins.

    `which` names the file in the sentence of SlideUnreadable. Raises OSError too.
    """
    try:
        require_bounded(path)
        with path.open("rb") as file:
            wanted = list(tags) if tags else None
            dataset = read_partial(file, stop_when=_stop, specific_tags=wanted)
            end = file.tell()
        uids = str(dataset.SOPInstanceUID or ""), str(dataset.file_meta.TransferSyntaxUID or "")
    except TooMuch as error:
        raise SlideUnreadable(f"{which}: {error}; {WHAT_TO_DO}.", path) from None
    except MALFORMED as error:
        if is_of_the_machine(error):
            raise
        raise SlideUnreadable(
            f"{which}: expected a DICOM image, found what cannot be read as one "
            f"({type(error).__name__}); {WHAT_TO_DO}.",
            path,
        ) from None
    for name, found in zip(("SOP Instance UID", "Transfer Syntax UID"), uids, strict=True):
        if not is_uid(found):
            how = "no UID" if found else "empty"
            raise SlideUnreadable(f"{which}: {name} is {how}; {WHAT_TO_DO}.", path)
    return dataset, end


@contextmanager
def instance(sop_instance_uid: str, path: Path) -> Iterator[None]:
    """Raises SlideUnreadable, which names the instance, for a BadValue in it."""
    try:
        yield
    except BadValue as bad:
        raise SlideUnreadable(f"Instance {sop_instance_uid}: {bad}; {WHAT_TO_DO}.", path) from None


def _stop(tag: BaseTag, vr: str | None, length: int) -> bool:
    # A sparse slide can have 180,000 per-frame items; pydicom would build each of them.
    return int(tag) >= _PER_FRAME_GROUPS


def _number(dataset: Dataset, keyword: str) -> int | None:
    try:
        return attributes.number(dataset, keyword)
    except BadValue:
        return None


def _image_type(dataset: Dataset, n: int, defined: set[str]) -> str:
    """Value n of ImageType (0-based); '' where there is none."""
    found = value(dataset, "ImageType")
    image_type = list(found) if isinstance(found, MultiValue) else []
    return _term(image_type[n], defined) if len(image_type) > n else ""


def _term(found: object, defined: set[str]) -> str:
    return found if isinstance(found, str) and found in defined else _OTHER
