"""What the levels of a slide say of its specimens, read from their headers."""

from __future__ import annotations

from pathlib import Path

from pydicom.tag import Tag

from dicom_node.study.facts import read_facts
from inference.slide.files import SlideFiles
from inference.slide.headers import instance, read_dataset
from inference.specimen.says import TAGS, SlideSays, read_specimens

_TAGS = [Tag(keyword) for keyword in ("SOPInstanceUID", *TAGS)]


def says_of(slide: SlideFiles) -> list[SlideSays]:
    """One for each file of a level, that of the largest first; of a slide without a level, of its
    largest image.

    Raises SlideUnreadable, Uncountable and OSError.
    """
    levels = [path for path in slide.paths if read_facts(path).header.is_volume]
    others = [path for path in levels if path != slide.base_path]
    return [_says(path) for path in (slide.base_path, *others)]


def _says(path: Path) -> SlideSays:
    header = read_dataset(path, "The file", _TAGS)
    with instance(str(header.SOPInstanceUID), path):
        return read_specimens(header)
