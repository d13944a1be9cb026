"""The images of a slide, each with all that must be known before a tile is cut.

wsidicom leaves out, with a log line, the files that it cannot open; every file is read here first
so that none can vanish.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from inference.errors import SlideUnreadable
from inference.slide.attributes import BadValue, decimal, decimals, first, items, number, words
from inference.slide.headers import ImageHeader, instance, parse, read_dataset
from inference.slide.terms import flavor_name, is_uid, uid_name
from inference.types import SlideGeometry

_USING_SUBSTANCE = Code("424361007", "SCT", "Using substance")


@dataclass(frozen=True, slots=True)
class Part:
    """One file: a whole image, or a part of a concatenation (PS3.3 C.7.6.16.2.2.4)."""

    path: Path
    sop_instance_uid: str
    frames: int
    first_frame: int
    """Frames of the concatenation that come before this part; 0 for a whole image."""


@dataclass(frozen=True, slots=True, eq=False)
class SlideImage:
    """One image of a slide: its parts in frame order, and what the first one says of all."""

    header: ImageHeader
    parts: tuple[Part, ...]
    dataset: Dataset
    """Header of the first part, up to the per-frame functional groups and without pixels."""
    sop_class: UID
    transfer_syntax: UID
    photometric: str
    bits_stored: int
    """0 where not stated."""
    frames: int
    optical_paths: int
    spacing_mm: tuple[float, float] | None
    """(row, col) spacing of the matrix."""
    spacing_is_derived: bool
    """Spacing from Imaged Volume Width and Height, because Pixel Spacing is missing."""
    geometry: SlideGeometry | None
    """None where it is not fully stated where the matrix lies on the slide."""
    substances: tuple[Code, ...]
    """Coded stains of the specimens."""

    @property
    def kind(self) -> str:
        """The flavor if it is a known one, or the SOP class where the image has none."""
        flavor = self.header.flavor
        return flavor_name(flavor) if flavor else uid_name(self.sop_class)

    @property
    def pixels(self) -> str:
        """Its size, for sentences."""
        return f"{self.header.rows} x {self.header.cols} pixels"

    @property
    def mpp(self) -> float | None:
        """Micrometers per pixel: the geometric mean of row and column spacing."""
        if self.spacing_mm is None:
            return None
        row, col = self.spacing_mm
        return 1000.0 * (row * col) ** 0.5 if row > 0 and col > 0 else 0.0


@dataclass(frozen=True, slots=True)
class _File:
    header: ImageHeader
    dataset: Dataset
    first_frame: int


def read_images(paths: Sequence[Path]) -> list[SlideImage]:
    """The images in the files, largest first; parts of a concatenation are one image.

    Raises SlideUnreadable for a file that is not DICOM, an instance handed in twice, and files of
    different containers (two slides must never be mixed into one answer), OSError for a file that
    cannot be read now.
    """
    if not paths:
        raise SlideUnreadable("Found no files, expected those of one slide: name at least one.")
    by_image: dict[str, list[_File]] = defaultdict(list)
    seen: dict[str, int] = {}
    for position, path in enumerate(paths, start=1):
        file = _read(path, f"File {position} of {len(paths)}")
        uid = file.header.sop_instance_uid
        if uid in seen:
            raise SlideUnreadable(
                f"Found instance {uid} in files {seen[uid]} and {position} of {len(paths)}, "
                "expected each instance once: leave one of them out.",
                path,
            )
        seen[uid] = position
        by_image[file.header.image].append(file)
    images = [_image(files) for files in by_image.values()]
    containers = {i.header.container for i in images} - {""}
    if len(containers) > 1:
        raise SlideUnreadable(
            f"Found images of {len(containers)} containers, expected those of one slide: hand "
            "them in one slide at a time."
        )
    return sorted(images, key=_size_order)


def _size_order(image: SlideImage) -> tuple[int, int, str]:
    header = image.header
    return -header.rows * header.cols, header.rows, header.sop_instance_uid


def _read(path: Path, which: str) -> _File:
    dataset = read_dataset(path, which)
    with instance(str(dataset.SOPInstanceUID), path):
        first_frame = number(dataset, "ConcatenationFrameOffsetNumber") or 0
        return _File(parse(path, dataset), dataset, first_frame)


def _image(files: list[_File]) -> SlideImage:
    files = sorted(files, key=lambda file: file.first_frame)
    parts = tuple(
        Part(f.header.path, f.header.sop_instance_uid, f.header.frames, f.first_frame)
        for f in files
    )
    with instance(parts[0].sop_instance_uid, parts[0].path):
        return _parse(files[0].header, parts, files[0].dataset)


def _parse(header: ImageHeader, parts: tuple[Part, ...], ds: Dataset) -> SlideImage:
    """All facts at once, so that a bad value shows here and nowhere later."""
    stated = _pixel_spacing(ds)
    spacing = stated or _imaged_spacing(ds, header)
    return SlideImage(
        header=header,
        parts=parts,
        dataset=ds,
        sop_class=UID(words(ds, "SOPClassUID")),
        transfer_syntax=UID(str(ds.file_meta.TransferSyntaxUID)),
        photometric=words(ds, "PhotometricInterpretation"),
        bits_stored=number(ds, "BitsStored") or 0,
        frames=sum(part.frames for part in parts),
        optical_paths=max(header.optical_paths, len(items(ds, "OpticalPathSequence"))),
        spacing_mm=spacing,
        spacing_is_derived=spacing is not None and stated is None,
        geometry=_geometry(ds, header, spacing),
        substances=tuple(_staining_substances(ds)),
    )


def _geometry(
    dataset: Dataset, header: ImageHeader, spacing: tuple[float, float] | None
) -> SlideGeometry | None:
    origin = first(dataset, "TotalPixelMatrixOriginSequence")
    x_mm = decimal(origin, "XOffsetInSlideCoordinateSystem")
    y_mm = decimal(origin, "YOffsetInSlideCoordinateSystem")
    orientation = decimals(dataset, "ImageOrientationSlide")
    frame_of_reference = words(dataset, "FrameOfReferenceUID")
    if x_mm is None or y_mm is None or len(orientation) != 6:
        return None
    if not is_uid(frame_of_reference) or spacing is None:
        return None
    a, b, c, d, e, f = orientation
    return SlideGeometry(
        frame_of_reference_uid=frame_of_reference,
        origin_x_mm=x_mm,
        origin_y_mm=y_mm,
        orientation=(a, b, c, d, e, f),
        spacing_row_mm=spacing[0],
        spacing_col_mm=spacing[1],
        rows=header.rows,
        cols=header.cols,
    )


def _staining_substances(dataset: Dataset) -> Iterator[Code]:
    """Coded substances of the specimens' preparation steps (PS3.16 TID 8003)."""
    for specimen in items(dataset, "SpecimenDescriptionSequence"):
        for step in items(specimen, "SpecimenPreparationSequence"):
            for item in items(step, "SpecimenPreparationStepContentItemSequence"):
                name = first(item, "ConceptNameCodeSequence")
                code = first(item, "ConceptCodeSequence")
                if len(code) and _code(name, meaning="") == _USING_SUBSTANCE:
                    yield _code(code, meaning=words(code, "CodeMeaning"))


def _code(item: Dataset, *, meaning: str) -> Code:
    """The code of a sequence item; comparison maps retired SRT values to SCT, whatever it means."""
    values = (words(item, keyword) for keyword in ("CodeValue", "LongCodeValue", "URNCodeValue"))
    value = next(filter(None, values), "")
    return Code(value, words(item, "CodingSchemeDesignator"), meaning)


def _pixel_spacing(dataset: Dataset) -> tuple[float, float] | None:
    """(row, col) spacing in mm from the shared functional groups (PS3.3 C.7.6.16.2.1)."""
    shared = first(dataset, "SharedFunctionalGroupsSequence")
    spacing = decimals(first(shared, "PixelMeasuresSequence"), "PixelSpacing")
    if not spacing:
        return None
    if len(spacing) != 2:
        raise BadValue("PixelSpacing is no pair of numbers")
    return spacing[0], spacing[1]


def _imaged_spacing(dataset: Dataset, header: ImageHeader) -> tuple[float, float] | None:
    """(row, col) spacing in mm from the size of the imaged volume (PS3.3 C.8.12.4)."""
    width_mm = decimal(dataset, "ImagedVolumeWidth")
    height_mm = decimal(dataset, "ImagedVolumeHeight")
    if width_mm is None or height_mm is None or not header.rows or not header.cols:
        return None
    return height_mm / header.rows, width_mm / header.cols
