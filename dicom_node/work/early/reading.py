"""What the numbers of a slide are a function of, as text: numbers that are kept under another text
are not taken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from dicom_node import __version__
from dicom_node.study.facts import read_facts
from dicom_node.work.students.jobs import Job, made_for
from dicom_node.work.students.roster import Known
from inference.slide.files import SlideFiles


def levels_read(slide: SlideFiles) -> str:
    """Digest of what its tiles are cut from: the files of its levels, as they are now.

    A label or the like that comes later changes no tile. Raises Uncountable and OSError.
    """
    levels = (path for path in slide.paths if read_facts(path).header.is_volume)
    return _digest([__version__, *_states(levels)])


def all_read(slide: SlideFiles, job: Job, known: Known) -> str:
    """Digest of what its result says: all its files as they are now, and who computes. Raises
    OSError."""
    return _digest(
        [
            __version__,
            job.text,
            known.bundle.digest,
            known.engine,
            known.precision,
            made_for(known).model_dump_json(),
            *_states(slide.paths),
        ]
    )


def _states(paths: Iterable[Path]) -> list[list[object]]:
    """A damaged file is replaced under its path by another one: that has another number."""
    found: list[list[object]] = []
    for path in paths:
        state = path.stat()
        found.append([str(path), state.st_ino, state.st_size, state.st_mtime_ns])
    return found


def _digest(values: list[object]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
