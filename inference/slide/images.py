"""The images of a slide, each with all that must be known before a tile is cut.

wsidicom leaves out, with a log line, the files that it cannot open; every file is read here first
so that none can vanish.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from inference.errors import SlideUnreadable
from inference.slide.attributes import first, items, number, words
from inference.slide.claims.patient import Owner
from inference.slide.claims.placement import Placement, read_placement
from inference.slide.claims.places import NOWHERE, FramePlaces, joined, read_places
from inference.slide.claims.spacing import Spacings, read_spacings
from inference.slide.counting import frames_beside
from inference.slide.headers import ImageHeader, instance, parse, read_front
from inference.slide.terms import flavor_name, uid_name
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
    found: int
    """Frames that are in the file; of VOLUME images they are counted when they are read."""


@dataclass(frozen=True, slots=True, eq=False)
class SlideImage:
    """One image of a slide: its parts in frame order, and what the first one says of all."""

    header: ImageHeader
    parts: tuple[Part, ...]
    owners: Mapping[str, Owner] = field(repr=False)
    """Whose each part is, by SOP Instance UID."""
    dataset: Dataset
    """Header of the first part, up to the per-frame functional groups and without pixels."""
    sop_class: UID
    transfer_syntax: UID
    photometric: str
    bits_stored: int
    """0 where not stated."""
    frames: int
    parts_differ: bool
    """Whether parts of a concatenation contradict each other in what they share."""
    optical_paths: int
    spacings: Spacings
    placement: Placement
    places: FramePlaces
    """Of all frames, the parts in order; only VOLUME images are asked."""
    is_extended: bool
    """Whether it is one picture made of several focal planes (Extended Depth of Field)."""
    geometry: SlideGeometry | None
    """None where it is not stated, or not soundly, where the matrix lies on the slide."""
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
    def spacing_mm(self) -> tuple[float, float] | None:
        """(row, col) spacing of the matrix."""
        return self.spacings.best

    @property
    def spacing_is_derived(self) -> bool:
        """Spacing from Imaged Volume Width and Height, because Pixel Spacing is missing."""
        return self.spacings.stated is None and self.spacings.imaged is not None

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
    places: FramePlaces
    found: int


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
    dataset, end = read_front(path, which)
    with instance(str(dataset.SOPInstanceUID), path):
        header = parse(path, dataset)
        first_frame = number(dataset, "ConcatenationFrameOffsetNumber") or 0
        is_asked = header.is_volume and not dataset.file_meta.TransferSyntaxUID.is_deflated
        places = read_places(path, end, dataset, header.frames) if is_asked else NOWHERE
        found = frames_beside(path, header) if header.is_beside else header.frames
        return _File(header, dataset, first_frame, places, found)


def _image(files: list[_File]) -> SlideImage:
    files = sorted(files, key=lambda file: file.first_frame)
    parts = tuple(
        Part(f.header.path, f.header.sop_instance_uid, f.header.frames, f.first_frame, f.found)
        for f in files
    )
    with instance(parts[0].sop_instance_uid, parts[0].path):
        places = joined([file.places for file in files])
        differ = len({_shared_by_parts(file) for file in files}) > 1
        return _parse(files, parts, places, differ=differ)


def _shared_by_parts(file: _File) -> tuple[object, ...]:
    """What is the same in all parts of a concatenation (PS3.3 C.7.6.16.1.1)."""
    header, dataset = file.header, file.dataset
    return (
        (header.rows, header.cols, header.frame_rows, header.frame_cols, header.organization),
        (header.samples, header.bits_allocated, header.flavor, header.focal_planes),
        (header.frame_of_reference, header.series_instance_uid, header.pyramid_uid),
        str(dataset.file_meta.TransferSyntaxUID),
        words(dataset, "PhotometricInterpretation"),
    )


def _parse(
    files: Sequence[_File], parts: tuple[Part, ...], places: FramePlaces, *, differ: bool
) -> SlideImage:
    """All facts at once, so that a bad value shows here and nowhere later."""
    header, ds = files[0].header, files[0].dataset
    spacings, placement = Spacings(), Placement()
    if header.is_volume:  # whatever a label says of itself, it is not asked
        spacings = read_spacings(ds, header, places.spacings_mm)
        placement = read_placement(ds, header)
    return SlideImage(
        header=header,
        parts=parts,
        owners={file.header.sop_instance_uid: file.header.owner for file in files},
        dataset=ds,
        sop_class=UID(words(ds, "SOPClassUID")),
        transfer_syntax=UID(str(ds.file_meta.TransferSyntaxUID)),
        photometric=words(ds, "PhotometricInterpretation"),
        bits_stored=number(ds, "BitsStored") or 0,
        frames=sum(part.frames for part in parts),
        parts_differ=differ,
        optical_paths=max(header.optical_paths, len(items(ds, "OpticalPathSequence"))),
        spacings=spacings,
        placement=placement,
        places=places,
        is_extended=words(ds, "ExtendedDepthOfField") == "YES",
        geometry=placement.geometry(header, spacings.best),
        substances=tuple(_staining_substances(ds)) if header.is_volume else (),
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
