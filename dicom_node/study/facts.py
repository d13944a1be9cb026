"""What one received instance says of itself and what is really in it, read without decoding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import FileDataset

from dicom_node.observe.log import place_of
from inference.errors import MALFORMED, is_of_the_machine
from inference.slide.attributes import BadValue
from inference.slide.budget import TooMuch, require_bounded
from inference.slide.counting import COUNTED_BY, count_frames, read_before_pixels
from inference.slide.headers import TAGS, ImageHeader, parse

_TAGS = [*TAGS, *COUNTED_BY]


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """Attributes that decide completeness, and the frames counted in the file."""

    header: ImageHeader
    frames_counted: int


class Uncountable(Exception):
    """A file so malformed that its frames cannot be counted; the message names the file and, where
    it is one, the attribute, and quotes no value."""


def read_facts(path: Path) -> InstanceFacts:
    """Facts of a file; read once for as long as it is the same file.

    A damaged file of the spool is replaced under its path when a sender repeats the instance.
    Raises Uncountable for a malformed file and OSError for one that cannot be read now.
    """
    state = path.stat()
    return _facts(path, (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=4096)
def _facts(path: Path, _state: tuple[int, ...]) -> InstanceFacts:
    file = f"file {path.parent.name}/{path.name}"
    try:
        return _read(path)
    except (BadValue, TooMuch) as error:
        raise Uncountable(f"{file}: {error}") from None
    except Exception as error:  # whatever a malformed file makes the parser raise
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the operating system; the parser's own have no number
        raise Uncountable(f"{file}: {place_of(error)} while its frames were counted") from error


def _read(path: Path) -> InstanceFacts:
    require_bounded(path)
    with path.open("rb") as file:
        dataset = read_before_pixels(file, _TAGS)
        header = parse(path, dataset)
        return InstanceFacts(header, _count(file, dataset, header))


def _count(file: BinaryIO, dataset: FileDataset, header: ImageHeader) -> int:
    """Frames in the file; none where only a label or the like cannot be counted."""
    try:
        return count_frames(file, dataset, header)
    except (BadValue, *MALFORMED) as error:
        if is_of_the_machine(error) or not header.is_beside:
            raise
        return 0
