"""What the headers of a slide's files say, read with pydicom and without pixels.

wsidicom leaves out, with a log line, the files that it cannot open; every file is read here first
so that none can vanish.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.filereader import read_partial
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag
from pydicom.uid import UID, VLWholeSlideMicroscopyImageStorage

from inference.errors import MALFORMED, SlideUnreadable, is_of_the_machine
from inference.slide.terms import flavor_name, is_uid, uid_name
from inference.types import SlideGeometry

_PER_FRAME_GROUPS = 0x52009230
_USING_SUBSTANCE = Code("424361007", "SCT", "Using substance")
_WHAT_TO_DO = "send the instance again or leave it out"


@dataclass(frozen=True, slots=True)
class Part:
    """One file: a whole image, or a part of a concatenation (PS3.3 C.7.6.16.2.2.4)."""

    path: Path
    sop_instance_uid: str
    frames: int
    first_frame: int
    """Frames of the concatenation that come before this part; 0 for a whole image."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageHeader:
    """One image of a slide: its parts in frame order, and what the first one says of all."""

    parts: tuple[Part, ...]
    dataset: Dataset
    """Header of the first part, up to the per-frame functional groups and without pixels."""
    is_whole_slide_image: bool
    flavor: str
    """ImageType value 3 (PS3.3 C.8.12.4.1.1) if it is a known one, or the SOP class where the
    object has none."""
    container: str
    transfer_syntax: UID
    photometric: str
    samples: tuple[int, int, int]
    """Samples per pixel, bits allocated, bits stored; 0 where not stated."""
    rows: int
    cols: int
    """Total pixel matrix; 0 where it is not stated."""
    frame_rows: int
    frame_cols: int
    frames: int
    is_tiled_full: bool
    focal_planes: int
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
    def mpp(self) -> float | None:
        """Micrometers per pixel: the geometric mean of row and column spacing."""
        if self.spacing_mm is None:
            return None
        row, col = self.spacing_mm
        return 1000.0 * (row * col) ** 0.5 if row > 0 and col > 0 else 0.0


def read_images(paths: Sequence[Path]) -> list[ImageHeader]:
    """The images in the files, largest first; parts of a concatenation are one image.

    Raises SlideUnreadable for a file that is not DICOM, an instance handed in twice, and files of
    different containers (two slides must never be mixed into one answer), OSError for a file that
    cannot be read now.
    """
    if not paths:
        raise SlideUnreadable("Found no files, expected those of one slide: name at least one.")
    by_image: dict[str, list[tuple[Part, Dataset]]] = defaultdict(list)
    seen: dict[str, int] = {}
    for number, path in enumerate(paths, start=1):
        dataset = _read_header(path, f"File {number} of {len(paths)}")
        uid = str(dataset.SOPInstanceUID)
        if uid in seen:
            raise SlideUnreadable(
                f"Found instance {uid} in files {seen[uid]} and {number} of {len(paths)}, expected "
                "each instance once: leave one of them out.",
                path,
            )
        seen[uid] = number
        with _instance(uid, path):
            image = _text(dataset, "ConcatenationUID") or uid
            by_image[image].append((_part(path, dataset), dataset))
    images = [_image(files) for files in by_image.values()]
    containers = {i.container for i in images} - {""}
    if len(containers) > 1:
        raise SlideUnreadable(
            f"Found images of {len(containers)} containers, expected those of one slide: hand "
            "them in one slide at a time."
        )
    return sorted(images, key=_size_order)


def _size_order(image: ImageHeader) -> tuple[int, int, str]:
    return -image.rows * image.cols, image.rows, image.parts[0].sop_instance_uid


def _read_header(path: Path, which: str) -> Dataset:
    try:
        with path.open("rb") as file:
            dataset = read_partial(file, stop_when=_stop)
        uids = str(dataset.SOPInstanceUID or ""), str(dataset.file_meta.TransferSyntaxUID or "")
    except MALFORMED as error:
        if is_of_the_machine(error):
            raise
        raise SlideUnreadable(
            f"{which}: expected a DICOM image, found what cannot be read as one "
            f"({type(error).__name__}); {_WHAT_TO_DO}.",
            path,
        ) from None
    for name, uid in zip(("SOP Instance UID", "Transfer Syntax UID"), uids, strict=True):
        if not is_uid(uid):
            found = "no UID" if uid else "empty"
            raise SlideUnreadable(f"{which}: {name} is {found}; {_WHAT_TO_DO}.", path)
    return dataset


def _stop(tag: BaseTag, vr: str | None, length: int) -> bool:
    # A sparse slide can have 180,000 per-frame items; pydicom would build each of them.
    return int(tag) >= _PER_FRAME_GROUPS


class _BadValue(Exception):
    """An attribute whose value is not of its kind, by keyword; pydicom's words would quote it."""


@contextmanager
def _reading(keyword: str) -> Iterator[None]:
    """Raises _BadValue for what is raised on reading the attribute."""
    try:
        yield
    except MALFORMED as error:
        raise _BadValue(f"{keyword} ({type(error).__name__})") from None


@contextmanager
def _instance(uid: str, path: Path) -> Iterator[None]:
    """Raises SlideUnreadable, which names the instance, for a _BadValue in it."""
    try:
        yield
    except _BadValue as bad:
        raise SlideUnreadable(
            f"Instance {uid}: the header holds a value that cannot be read: {bad}; {_WHAT_TO_DO}.",
            path,
        ) from None


def _part(path: Path, dataset: Dataset) -> Part:
    return Part(
        path=path,
        sop_instance_uid=str(dataset.SOPInstanceUID),
        frames=_integer(dataset, "NumberOfFrames", 1),
        first_frame=_integer(dataset, "ConcatenationFrameOffsetNumber"),
    )


def _image(files: list[tuple[Part, Dataset]]) -> ImageHeader:
    files = sorted(files, key=lambda file: file[0].first_frame)
    first, dataset = files[0]
    with _instance(first.sop_instance_uid, first.path):
        return _parse(tuple(part for part, _ in files), dataset)


def _parse(parts: tuple[Part, ...], ds: Dataset) -> ImageHeader:
    """All facts at once, so that a bad value shows here and nowhere later."""
    rows, cols = _integer(ds, "TotalPixelMatrixRows"), _integer(ds, "TotalPixelMatrixColumns")
    stated = _pixel_spacing(ds)
    spacing = stated or _imaged_spacing(ds, rows, cols)
    sop_class = UID(_text(ds, "SOPClassUID"))
    return ImageHeader(
        parts=parts,
        dataset=ds,
        is_whole_slide_image=sop_class == VLWholeSlideMicroscopyImageStorage,
        flavor=_flavor(ds) or uid_name(sop_class),
        container=_text(ds, "ContainerIdentifier"),
        transfer_syntax=UID(str(ds.file_meta.TransferSyntaxUID)),
        photometric=_text(ds, "PhotometricInterpretation"),
        samples=(
            _integer(ds, "SamplesPerPixel"),
            _integer(ds, "BitsAllocated"),
            _integer(ds, "BitsStored"),
        ),
        rows=rows,
        cols=cols,
        frame_rows=_integer(ds, "Rows"),
        frame_cols=_integer(ds, "Columns"),
        frames=sum(part.frames for part in parts),
        is_tiled_full=_text(ds, "DimensionOrganizationType") == "TILED_FULL",
        focal_planes=_integer(ds, "TotalPixelMatrixFocalPlanes", 1),
        optical_paths=max(
            _integer(ds, "NumberOfOpticalPaths", 1), len(_items(ds, "OpticalPathSequence"))
        ),
        spacing_mm=spacing,
        spacing_is_derived=spacing is not None and stated is None,
        geometry=_geometry(ds, rows, cols, spacing),
        substances=tuple(_staining_substances(ds)),
    )


def _text(dataset: Dataset, keyword: str) -> str:
    with _reading(keyword):
        return str(dataset.get(keyword) or "")


def _integer(dataset: Dataset, keyword: str, default: int = 0) -> int:
    with _reading(keyword):
        return int(dataset.get(keyword) or default)


def _number(dataset: Dataset, keyword: str) -> float | None:
    with _reading(keyword):
        value = dataset.get(keyword)
        return None if value is None else float(value)


def _numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    with _reading(keyword):
        return tuple(float(value) for value in dataset.get(keyword) or ())


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    with _reading(keyword):
        items = list(dataset.get(keyword) or ())
        if not all(isinstance(item, Dataset) for item in items):
            raise TypeError
        return items


def _first(dataset: Dataset, keyword: str) -> Dataset:
    """First item of a sequence, or an empty one where there is none."""
    items = _items(dataset, keyword)
    return items[0] if items else Dataset()


def _flavor(dataset: Dataset) -> str:
    """Image Type value 3, or '' where it has none."""
    with _reading("ImageType"):
        values: Any = dataset.get("ImageType") or ()
        is_one = isinstance(values, str)
        return "" if is_one or len(values) < 3 else flavor_name(str(values[2]))


def _geometry(
    dataset: Dataset, rows: int, cols: int, spacing: tuple[float, float] | None
) -> SlideGeometry | None:
    origin = _first(dataset, "TotalPixelMatrixOriginSequence")
    x_mm = _number(origin, "XOffsetInSlideCoordinateSystem")
    y_mm = _number(origin, "YOffsetInSlideCoordinateSystem")
    orientation = _numbers(dataset, "ImageOrientationSlide")
    frame_of_reference = _text(dataset, "FrameOfReferenceUID")
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
        rows=rows,
        cols=cols,
    )


def _staining_substances(dataset: Dataset) -> Iterator[Code]:
    """Coded substances of the specimens' preparation steps (PS3.16 TID 8003)."""
    for specimen in _items(dataset, "SpecimenDescriptionSequence"):
        for step in _items(specimen, "SpecimenPreparationSequence"):
            for item in _items(step, "SpecimenPreparationStepContentItemSequence"):
                name = _first(item, "ConceptNameCodeSequence")
                value = _first(item, "ConceptCodeSequence")
                if len(value) and _code(name) == _USING_SUBSTANCE:
                    yield _code(value)


def _code(item: Dataset) -> Code:
    """The code of a sequence item; comparison maps retired SRT values to SCT."""
    values = (_text(item, keyword) for keyword in ("CodeValue", "LongCodeValue", "URNCodeValue"))
    value = next(filter(None, values), "")
    return Code(value, _text(item, "CodingSchemeDesignator"), _text(item, "CodeMeaning"))


def _pixel_spacing(dataset: Dataset) -> tuple[float, float] | None:
    """(row, col) spacing in mm from the shared functional groups (PS3.3 C.7.6.16.2.1)."""
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    spacing = _numbers(_first(shared, "PixelMeasuresSequence"), "PixelSpacing")
    if not spacing:
        return None
    with _reading("PixelSpacing"):
        row, col = spacing
        return row, col


def _imaged_spacing(dataset: Dataset, rows: int, cols: int) -> tuple[float, float] | None:
    """(row, col) spacing in mm from the size of the imaged volume (PS3.3 C.8.12.4)."""
    width_mm = _number(dataset, "ImagedVolumeWidth")
    height_mm = _number(dataset, "ImagedVolumeHeight")
    if width_mm is None or height_mm is None or not rows or not cols:
        return None
    with _reading("TotalPixelMatrixRows or TotalPixelMatrixColumns"):
        return height_mm / rows, width_mm / cols
