"""Which studies the files that a person names belong to."""

from __future__ import annotations

import filecmp
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.implementation import MANUFACTURER
from dicom_node.observe.log import place_of
from dicom_node.sop_classes import VL_WHOLE_SLIDE_MICROSCOPY
from inference.slide.files import files_in

_IDENTIFYING = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "Manufacturer"]
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


class Unusable(Exception):
    """Input that cannot be analyzed; the message is for the person who gave it."""


@dataclass(frozen=True, slots=True)
class Found:
    """Whole-slide files, and what became of the others."""

    studies: dict[str, dict[str, Path]]
    """Files by Study and SOP Instance UID."""
    skipped: tuple[tuple[Path, str], ...]
    """What is no whole-slide image, and why."""
    troubles: tuple[str, ...]
    """What should be one and cannot be used, one sentence each."""


def find_studies(paths: Sequence[Path]) -> Found:
    """The studies of files and folders. Raises Unusable when there is none."""
    studies: dict[str, dict[str, Path]] = defaultdict(dict)
    skipped: list[tuple[Path, str]] = []
    troubles: list[str] = []
    refused: set[str] = set()
    for path in sorted(p for given in paths for p in _files(given)):
        try:
            study, instance = _identity(path)
        except InvalidDicomError:
            skipped.append((path, "not a DICOM file"))
            continue
        except _NoSlide:
            skipped.append((path, "not a whole-slide image"))
            continue
        except _OwnResult:
            skipped.append((path, "a result of a dicom-node"))
            continue
        except Unusable as error:
            troubles.append(str(error))
            continue
        known = studies[study].setdefault(instance, path)
        if known is not path and not filecmp.cmp(known, path, shallow=False):
            refused.add(study)
            troubles.append(
                f"study {study}: {known} and {path} have one SOP Instance UID and differ; "
                "leave the wrong one out"
            )
    usable = {study: files for study, files in studies.items() if study not in refused}
    if not usable and not troubles:
        raise Unusable(f"no DICOM whole-slide image found in {', '.join(map(str, paths))}")
    return Found(usable, tuple(skipped), tuple(troubles))


class _NoSlide(Exception):
    """A DICOM file of another class."""


class _OwnResult(Exception):
    """A picture that a dicom-node drew."""


def _identity(path: Path) -> tuple[str, str]:
    """Study and SOP Instance UID of a whole-slide file."""
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=_IDENTIFYING)
        sop_class, instance, study, maker = (header.get(keyword) for keyword in _IDENTIFYING)
        announced = header.file_meta.get("MediaStorageSOPClassUID")
    except InvalidDicomError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a malformed file makes the parser raise
        raise Unusable(f"{path}: cannot be read: {place_of(error)}") from None
    if VL_WHOLE_SLIDE_MICROSCOPY.uid not in (sop_class, announced):
        raise _NoSlide
    if maker == MANUFACTURER:
        raise _OwnResult
    if sop_class != announced:
        raise Unusable(f"{path}: SOPClassUID differs from the file's own header, or is cut off")
    for keyword, value in (("SOPInstanceUID", instance), ("StudyInstanceUID", study)):
        if not isinstance(value, str) or not _UID.fullmatch(value):
            raise Unusable(f"{path}: {keyword} is missing or no UID")
    return str(study), str(instance)


def _files(given: Path) -> list[Path]:
    if not given.exists():
        raise Unusable(f"{given}: no such file or folder")
    return files_in(given)
