"""A header read past what a sparse slide says of its frames, up to the pixel data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO

from pydicom.dataset import FileDataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag

from inference.slide.claims.places import end_of_groups

_PER_FRAME_GROUPS, _PIXELS = 0x52009230, 0x7FE00008


def read_before_pixels(file: BinaryIO, tags: Sequence[BaseTag]) -> FileDataset:
    """These attributes of a file, whose position then is at its pixel data, or its end.

    The per-frame functional groups are passed over: pydicom would build hundreds of thousands of
    items to skip them. Raises what pydicom raises, and BadValue.
    """
    header = read_partial(file, stop_when=_before(_PER_FRAME_GROUPS), specific_tags=[*tags])
    if header.file_meta.TransferSyntaxUID.is_deflated:
        return header  # of which `file` is not
    implicit, little = header.original_encoding
    file.seek(end_of_groups(file, file.tell(), bool(implicit)))
    rest = read_dataset(
        file,
        bool(implicit),
        bool(little),
        stop_when=_before(_PIXELS),
        specific_tags=[*tags],
    )
    header.update(rest)
    return header


def _before(first: int) -> Callable[[BaseTag, str | None, int], bool]:
    return lambda tag, vr, length: int(tag) >= first
