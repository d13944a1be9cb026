"""The slides of a study: which files make each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.study.evidence import SlideEvidence, whole_slides


@dataclass(frozen=True, slots=True)
class SlideFiles:
    """One slide of a study: its key in the evidence, its files, and their SOP Instance UIDs."""

    key: str
    paths: tuple[Path, ...]
    input_uids: tuple[str, ...]
    base_path: Path
    """The largest VOLUME image, or its first part; else the largest image."""


def slides_to_analyze(
    slides: Sequence[SlideEvidence], paths: Mapping[str, Path]
) -> list[SlideFiles]:
    """The slides that get a report, each with all files that belong to it.

    Labels and overviews that came in a series of their own go with the slide of the same
    container; images that belong to no VOLUME image make a slide that will be not assessable.
    """
    return [_slide_files(members, paths) for members in whole_slides(slides)]


def _slide_files(members: Sequence[SlideEvidence], paths: Mapping[str, Path]) -> SlideFiles:
    levels = [level for member in members for level in member.levels]
    # Levels come largest first; a VOLUME is the base even where a LABEL photo has more pixels.
    base = next((v for v in levels if v.flavor == "VOLUME"), levels[0])
    uids = tuple(uid for level in levels for uid in level.sop_instance_uids)
    return SlideFiles(
        key=members[0].key,
        paths=tuple(paths[uid] for uid in uids),
        input_uids=uids,
        base_path=paths[base.sop_instance_uids[0]],
    )
