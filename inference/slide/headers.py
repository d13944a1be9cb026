"""What the header of one file says: the one parser for whoever counts, groups or judges slides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from pydicom import Dataset
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from inference.errors import MALFORMED, SlideUnreadable, is_of_the_machine
from inference.slide.attributes import BadValue, number, text, uid, value
from inference.slide.patient import IDENTIFYING, Patient, read_patient
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
    *IDENTIFYING,
)
TAGS = tuple(Tag(keyword) for keyword in _KEYWORDS)
"""Attributes to read for `parse`."""
WHAT_TO_DO = "send the instance again or leave it out"

_PER_FRAME_GROUPS = 0x52009230
_FLAVORS = {"VOLUME", "LABEL", "OVERVIEW", "THUMBNAIL", "LOCALIZER"}
_ORGANIZATIONS = {"TILED_FULL", "TILED_SPARSE", "3D", "3D_TEMPORAL"}
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
    patient: Patient = field(repr=False)

    @property
    def is_volume(self) -> bool:
        """Whether it is a level of a slide, and no picture of its label or of its glass."""
        return self.is_whole_slide_image and self.flavor == "VOLUME"

    @property
    def container(self) -> str:
        """Container Identifier without the blanks that do not count (PS3.5 6.2, LO)."""
        return self.container_identifier.strip(" ")

    @property
    def image(self) -> str:
        """The same for all parts of one image."""
        return self.concatenation_uid or self.sop_instance_uid

    @property
    def tiled_full_frames(self) -> int | None:
        """Frames of a complete TILED_FULL raster, all parts of a concatenation together (PS3.3
        C.7.6.17.3); None where the header does not say: TILED_SPARSE may leave tiles out."""
        if self.organization != "TILED_FULL" or not self.frame_rows or not self.frame_cols:
            return None
        tiles = ceil(self.rows / self.frame_rows) * ceil(self.cols / self.frame_cols)
        return tiles * self.focal_planes * self.optical_paths


def read_header(path: Path) -> ImageHeader:
    """The header of one file. Raises SlideUnreadable for a file that is malformed, and OSError for
    one that cannot be read now."""
    dataset = read_dataset(path, "The file", TAGS)
    with instance(str(dataset.SOPInstanceUID), path):
        return parse(path, dataset)


def parse(path: Path, dataset: Dataset) -> ImageHeader:
    """What a header says; TAGS of it are enough. Raises BadValue."""
    return ImageHeader(
        path=path,
        sop_instance_uid=uid(dataset, "SOPInstanceUID"),
        study_instance_uid=uid(dataset, "StudyInstanceUID"),
        series_instance_uid=uid(dataset, "SeriesInstanceUID"),
        container_identifier=text(dataset, "ContainerIdentifier"),
        is_whole_slide_image=value(dataset, "SOPClassUID") == VLWholeSlideMicroscopyImageStorage,
        flavor=_flavor(dataset),
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
        patient=read_patient(dataset),
    )


def read_dataset(path: Path, which: str, tags: Sequence[BaseTag | int] | None = None) -> Dataset:
    """All attributes, or these, before the per-frame functional groups, of a file that is DICOM.

    `which` names the file in the sentence of SlideUnreadable. Raises OSError too.
    """
    try:
        with path.open("rb") as file:
            wanted = list(tags) if tags else None
            dataset = read_partial(file, stop_when=_stop, specific_tags=wanted)
        uids = str(dataset.SOPInstanceUID or ""), str(dataset.file_meta.TransferSyntaxUID or "")
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
    return dataset


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


def _flavor(dataset: Dataset) -> str:
    found = value(dataset, "ImageType")
    image_type = list(found) if isinstance(found, MultiValue) else []
    return _term(image_type[2], _FLAVORS) if len(image_type) > 2 else ""


def _term(found: object, defined: set[str]) -> str:
    return found if isinstance(found, str) and found in defined else _OTHER
