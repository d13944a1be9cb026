"""What the headers of a slide's files say, read with pydicom and without pixels.

wsidicom leaves out, with a log line, the files that it cannot open; every file is read here first
so that none can vanish.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.filereader import read_partial
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag
from pydicom.uid import UID, VLWholeSlideMicroscopyImageStorage

from inference.errors import MALFORMED, SlideUnreadable
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
    """ImageType value 3 (PS3.3 C.8.12.4.1.1), or the SOP class of another object."""
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
    different containers (two slides must never be mixed into one answer).
    """
    if not paths:
        raise SlideUnreadable("Found no files, expected those of one slide: name at least one.")
    by_image: dict[str, list[tuple[Path, Dataset]]] = defaultdict(list)
    seen: dict[str, Path] = {}
    for path in paths:
        dataset = _read_header(path)
        uid = str(dataset.SOPInstanceUID)
        if uid in seen:
            raise SlideUnreadable(
                f"Found instance {uid} in {seen[uid].name} and in {path.name}, expected each "
                "instance once: leave one of them out."
            )
        seen[uid] = path
        by_image[str(dataset.get("ConcatenationUID") or uid)].append((path, dataset))
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


def _read_header(path: Path) -> Dataset:
    try:
        with path.open("rb") as file:
            dataset = read_partial(file, stop_when=_stop)
        is_whole = bool(dataset.SOPInstanceUID and dataset.file_meta.TransferSyntaxUID)
    except MALFORMED as error:
        raise SlideUnreadable(
            f"{path.name}: expected a DICOM image, found what cannot be read as one ({error}); "
            f"{_WHAT_TO_DO}."
        ) from error
    if not is_whole:
        raise SlideUnreadable(
            f"{path.name}: SOP Instance UID or Transfer Syntax UID is empty; {_WHAT_TO_DO}."
        )
    return dataset


def _stop(tag: BaseTag, vr: str | None, length: int) -> bool:
    # A sparse slide can have 180,000 per-frame items; pydicom would build each of them.
    return int(tag) >= _PER_FRAME_GROUPS


def _image(files: list[tuple[Path, Dataset]]) -> ImageHeader:
    try:
        return _parse(sorted(files, key=lambda f: _integer(f[1], "ConcatenationFrameOffsetNumber")))
    except MALFORMED as error:  # a value that is not of its kind
        raise SlideUnreadable(
            f"{files[0][0].name}: the header holds a value that cannot be read ({error}); "
            f"{_WHAT_TO_DO}."
        ) from error


def _parse(files: list[tuple[Path, Dataset]]) -> ImageHeader:
    """All facts at once, so that a bad value shows here and nowhere later."""
    ds = files[0][1]
    parts = tuple(
        Part(
            path=path,
            sop_instance_uid=str(part.SOPInstanceUID),
            frames=_integer(part, "NumberOfFrames", 1),
            first_frame=_integer(part, "ConcatenationFrameOffsetNumber"),
        )
        for path, part in files
    )
    image_type = ds.get("ImageType") or []
    rows, cols = _integer(ds, "TotalPixelMatrixRows"), _integer(ds, "TotalPixelMatrixColumns")
    stated = _pixel_spacing(ds)
    spacing = stated or _imaged_spacing(ds, rows, cols)
    sop_class = UID(ds.get("SOPClassUID") or "")
    return ImageHeader(
        parts=parts,
        dataset=ds,
        is_whole_slide_image=sop_class == VLWholeSlideMicroscopyImageStorage,
        flavor=str(image_type[2]) if len(image_type) > 2 else sop_class.name,
        container=str(ds.get("ContainerIdentifier") or ""),
        transfer_syntax=UID(ds.file_meta.TransferSyntaxUID),
        photometric=str(ds.get("PhotometricInterpretation") or ""),
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
        is_tiled_full=ds.get("DimensionOrganizationType") == "TILED_FULL",
        focal_planes=_integer(ds, "TotalPixelMatrixFocalPlanes", 1),
        optical_paths=max(
            _integer(ds, "NumberOfOpticalPaths", 1), len(ds.get("OpticalPathSequence") or ())
        ),
        spacing_mm=spacing,
        spacing_is_derived=spacing is not None and stated is None,
        geometry=_geometry(ds, rows, cols, spacing),
        substances=tuple(_staining_substances(ds)),
    )


def _integer(dataset: Dataset, keyword: str, default: int = 0) -> int:
    return int(dataset.get(keyword) or default)


def _geometry(
    dataset: Dataset, rows: int, cols: int, spacing: tuple[float, float] | None
) -> SlideGeometry | None:
    origin = _first(dataset, "TotalPixelMatrixOriginSequence")
    x_mm = origin.get("XOffsetInSlideCoordinateSystem")
    y_mm = origin.get("YOffsetInSlideCoordinateSystem")
    orientation = dataset.get("ImageOrientationSlide")
    frame_of_reference = dataset.get("FrameOfReferenceUID")
    stated = x_mm is not None and y_mm is not None and orientation and len(orientation) == 6
    if not stated or not frame_of_reference or spacing is None:
        return None
    a, b, c, d, e, f = (float(v) for v in orientation)
    return SlideGeometry(
        frame_of_reference_uid=str(frame_of_reference),
        origin_x_mm=float(x_mm),
        origin_y_mm=float(y_mm),
        orientation=(a, b, c, d, e, f),
        spacing_row_mm=spacing[0],
        spacing_col_mm=spacing[1],
        rows=rows,
        cols=cols,
    )


def _staining_substances(dataset: Dataset) -> Iterator[Code]:
    """Coded substances of the specimens' preparation steps (PS3.16 TID 8003)."""
    for specimen in dataset.get("SpecimenDescriptionSequence") or ():
        for step in specimen.get("SpecimenPreparationSequence") or ():
            for item in step.get("SpecimenPreparationStepContentItemSequence") or ():
                name = _first(item, "ConceptNameCodeSequence")
                value = _first(item, "ConceptCodeSequence")
                if len(value) and _code(name) == _USING_SUBSTANCE:
                    yield _code(value)


def _code(item: Dataset) -> Code:
    """The code of a sequence item; comparison maps retired SRT values to SCT."""
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    scheme = item.get("CodingSchemeDesignator") or ""
    return Code(str(value), str(scheme), str(item.get("CodeMeaning") or ""))


def _pixel_spacing(dataset: Dataset) -> tuple[float, float] | None:
    """(row, col) spacing in mm from the shared functional groups (PS3.3 C.7.6.16.2.1)."""
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    spacing = _first(shared, "PixelMeasuresSequence").get("PixelSpacing")
    if not spacing:
        return None
    row, col = spacing
    return float(row), float(col)


def _imaged_spacing(dataset: Dataset, rows: int, cols: int) -> tuple[float, float] | None:
    """(row, col) spacing in mm from the size of the imaged volume (PS3.3 C.8.12.4)."""
    width_mm, height_mm = dataset.get("ImagedVolumeWidth"), dataset.get("ImagedVolumeHeight")
    if width_mm is None or height_mm is None or not rows or not cols:
        return None
    return float(height_mm) / rows, float(width_mm) / cols


def _first(dataset: Dataset, keyword: str) -> Dataset:
    """First item of a sequence, or an empty one where there is none."""
    items = dataset.get(keyword)
    return items[0] if items else Dataset()
