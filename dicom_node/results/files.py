"""Results on disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pydicom import Dataset, dcmwrite


def write(dataset: Dataset, path: Path) -> None:
    """Writes `dataset` as a DICOM file that is at `path` whole and durable, or not at all.

    The file meta information is the one the dataset was built with. An existing file is replaced.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            dcmwrite(file, dataset, enforce_file_format=True)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the new name, too, survives a power cut
    finally:
        os.close(directory)
