"""Results on disk."""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset

from dicom_node.results.encoded import encoded
from dicom_node.results.making import BuiltObject
from inference.durable import whole


def write(dataset: Dataset, path: Path) -> None:
    """Writes `dataset` as a DICOM file that is at `path` whole and durable, or not at all.

    The file meta information is the one the dataset was built with. An existing file is replaced.
    """
    _write(encoded(dataset), path)


def write_built(built: BuiltObject, path: Path) -> None:
    """Writes an object as it was encoded when it was settled, in the same way."""
    _write(file_of(built), path)


def file_of(built: BuiltObject) -> bytes:
    """The file of an object."""
    return built.file or encoded(built.dataset)


def _write(file: bytes, path: Path) -> None:
    with whole(path) as stream:
        stream.write(file)
