"""A worker that dies of a fault in native code while it counts the files of one study.

    python tests/support/dying.py STUDY worker --config node.toml

It takes a second for every batch of tiles, so that another study is under analysis meanwhile.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import slow
from pydicom.dataset import FileDataset

from dicom_node.cli import main
from dicom_node.study import facts
from engines.runtime import Runtime


def arm(study: str) -> None:
    """Make the counting of this study's frames the last thing the process does."""
    count = facts.count_frames

    def deadly(file: Any, dataset: FileDataset, header: Any) -> int:
        if dataset.StudyInstanceUID == study:
            ctypes.string_at(0)
        return count(file, dataset, header)

    facts.count_frames = deadly


if __name__ == "__main__":
    arm(sys.argv[1])
    setattr(Runtime, "run", slow.slowly)  # noqa: B010  # a plain assignment is refused by mypy
    sys.exit(main(sys.argv[2:]))
