"""Results on disk."""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset, dcmwrite

from inference.durable import whole


def write(dataset: Dataset, path: Path) -> None:
    """Writes `dataset` as a DICOM file that is at `path` whole and durable, or not at all.

    The file meta information is the one the dataset was built with. An existing file is replaced.
    """
    with whole(path) as file:
        dcmwrite(file, dataset, enforce_file_format=True)
