"""The slides in the folders and files that a researcher names, and their ids."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.errors import SlideUnreadable
from inference.slide import files
from inference.slide.headers import ImageHeader, read_header
from training.errors import TrainingError

_TIFF_NAMES = (".svs", ".tif", ".tiff")
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAGIC_AT, _MAGIC = 128, b"DICM"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BY_MACHINE = re.compile(r".*\d(\.\d+){4,}|[0-9A-Fa-f-]{32,36}|[A-Z]{2}\d+|DICOM")
"""Folders named by a UID, a UUID, or a counter (SE000001)."""
_NO_NAMES = {"unknown", "none", "na"}
"""What converters write into Container Identifier when they know none."""


@dataclass(frozen=True)
class SlideFiles:
    """The DICOM files of one slide, or the one SVS or TIFF that it is."""

    slide: str
    """Its id, and the name of its feature file."""
    paths: tuple[Path, ...]


def find_slides(sources: Sequence[Path], *, tiff: bool = False) -> tuple[SlideFiles, ...]:
    """The slides in folders (searched to the bottom) and DICOM files, by id; `tiff`: SVS, TIFF too.

    They are grouped as in the node. The id of a slide is the name of its folder where it is alone
    there and no machine named the folder, else the Container Identifier where that says something,
    else its series UID: never a matter of what other folders hold, so that a later run finds what
    an earlier one finished. An SVS or TIFF is a slide of the name that its file has.
    A DICOM file that cannot be read is a slide of its own, to be refused with the reason. Raises
    TrainingError for a path that is not there, no slide at all, and two slides of one id.
    """
    slides = [slide for source in sources for slide in _slides_of(source, tiff)]
    if not slides:
        raise TrainingError(
            f"found no slide in {', '.join(str(s) for s in sources) or 'nothing'}, expected DICOM "
            f"whole-slide images{', SVS or TIFF' if tiff else ''}; name folders or files that hold "
            "some."
        )
    by_id: dict[str, SlideFiles] = {}
    for slide in slides:
        if slide.slide in by_id:
            raise TrainingError(
                f"found two slides {slide.slide}: {by_id[slide.slide].paths[0]} and "
                f"{slide.paths[0]}, expected ids that differ; name each slide's folder after it."
            )
        by_id[slide.slide] = slide
    return tuple(by_id[name] for name in sorted(by_id))


def _slides_of(source: Path, tiff: bool) -> Iterator[SlideFiles]:
    if not source.exists():
        raise TrainingError(f"{source}: found nothing, expected a folder or a slide.")
    headers: dict[Path, ImageHeader] = {}
    for path in files.files_in(source):
        if tiff and is_research_slide(path):
            yield SlideFiles(_clean(path.stem), (path,))
            continue
        if not _is_dicom(path):
            continue
        try:
            headers[path] = read_header(path)
        except SlideUnreadable:  # said again, and counted, when its features are wanted
            yield SlideFiles(_clean(path.stem), (path,))
    slides = [_as_found(slide, headers) for slide in files.group(headers.values())]
    folders = [paths[0].resolve().parent for paths in slides]
    for paths, folder in zip(slides, folders, strict=True):
        alone = folders.count(folder) == 1
        yield SlideFiles(_name(headers[paths[0]], folder, alone), paths)


def _as_found(slide: files.SlideFiles, headers: Mapping[Path, ImageHeader]) -> tuple[Path, ...]:
    """Its files by path, those of the base image's series first: features are of a digest of the
    files in this order."""
    base = headers[slide.base_path]

    def order(path: Path) -> tuple[bool, Path]:
        one = headers[path]
        is_base = one.series_instance_uid, one.container
        return is_base != (base.series_instance_uid, base.container), path

    return tuple(sorted(slide.paths, key=order))


def _name(header: ImageHeader, folder: Path, alone: bool) -> str:
    container = header.container
    if alone and not _BY_MACHINE.fullmatch(folder.name):
        return _clean(folder.name)
    if _NAME.fullmatch(container) and container.lower() not in _NO_NAMES:
        return container
    return _clean(header.series_instance_uid or header.path.stem)


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._-") or "slide"


def _is_dicom(path: Path) -> bool:
    """Whether a file claims to be DICOM; other files of a study folder are none of ours."""
    if path.name == "DICOMDIR":
        return False
    if path.suffix.lower() == ".dcm":
        return True
    with path.open("rb") as file:
        file.seek(_MAGIC_AT)
        return file.read(len(_MAGIC)) == _MAGIC


def is_research_slide(path: Path) -> bool:
    """Whether the name says SVS, or says TIFF and the file begins as one.

    An SVS that is broken is a slide to be refused with the reason, not one to be missed.
    """
    return path.suffix.lower() == ".svs" or (
        path.suffix.lower() in _TIFF_NAMES and _start(path) in _TIFF_STARTS
    )


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)
