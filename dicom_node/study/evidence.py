"""What makes a study complete: every slide counted, and quiet for long enough.

No attribute says how many levels a slide has (PS3.3 A.32.8), so a study closes on the strongest
evidence its objects carry: frames present against Number of Frames, Number of Frames against the
TILED_FULL arithmetic (PS3.3 C.7.6.17.3), all parts of each concatenation (PS3.3 C.7.6.16.2.2.4);
and then on a quiet time counted from the last byte. What was counted is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil

from dicom_node.study.facts import InstanceFacts
from inference.slide.patient import first_difference

_MOST_NAMED = 5
"""Of many things that are missing, so many are named and the rest is counted: what one study lacks
must not fill the database."""


class PatientsDiffer(Exception):
    """The files of one slide name different patients; the message says in which attributes."""


@dataclass(frozen=True, slots=True)
class LevelEvidence:
    """One image of a slide: a single instance, or all received parts of a concatenation."""

    sop_instance_uids: tuple[str, ...]
    flavor: str
    rows: int
    cols: int
    organization: str
    frames: int
    expected_frames: int | None
    """None where the object does not say: TILED_SPARSE may leave tiles out."""
    parts: int
    expected_parts: int | None
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SlideEvidence:
    """The instances of one slide: one container in one series."""

    key: str
    """Names the slide in every revision of its study."""
    series_instance_uid: str
    container_identifier: str
    levels: tuple[LevelEvidence, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """What this slide lacks, one sentence each; empty when it is complete."""
        return tuple(sentence for level in self.levels for sentence in level.missing)


def gather_evidence(facts: Iterable[InstanceFacts]) -> tuple[SlideEvidence, ...]:
    """Slides of a study with what was counted for each image, in a fixed order.

    Raises PatientsDiffer when the files of one slide are of more than one patient.
    """
    ordered = sorted(facts, key=_slide_key)
    slides: list[SlideEvidence] = []
    for (series, container), members in groupby(ordered, key=_slide_key):
        slides.append(
            SlideEvidence(
                key=hashlib.sha256(f"{series}/{container}".encode()).hexdigest()[:8],
                series_instance_uid=series,
                container_identifier=container,
                levels=_levels(list(members)),
            )
        )
    _require_one_patient(slides, ordered)
    return tuple(slides)


def whole_slides(slides: Sequence[SlideEvidence]) -> list[list[SlideEvidence]]:
    """Slides with what came in a series of its own: labels and overviews go with the slide of the
    same container, or with the only slide where they name none. Images that belong to no slide
    with a VOLUME are one of their own, which gets a report that says so: none vanishes."""
    with_volume = [s for s in slides if _has_volume(s)]
    grouped: dict[str, list[SlideEvidence]] = {s.key: [s] for s in with_volume}
    for other in (s for s in slides if not _has_volume(s)):
        container = other.container_identifier
        owners = [s for s in with_volume if s.container_identifier == container]
        if not container and len(with_volume) == 1:
            owners = with_volume
        key = owners[0].key if len(owners) == 1 else f"no volume of {container or other.key}"
        grouped.setdefault(key, []).append(other)
    return list(grouped.values())


def first_of(sentences: Sequence[str]) -> list[str]:
    """The first of many sentences, and how many more there are."""
    more = len(sentences) - _MOST_NAMED
    return [*sentences[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])]


def _require_one_patient(slides: Sequence[SlideEvidence], facts: Sequence[InstanceFacts]) -> None:
    by_uid = {f.sop_instance_uid: f.patient for f in facts}
    for members in whole_slides(slides):
        levels = [level for member in members for level in member.levels]
        uids = [uid for level in levels for uid in level.sop_instance_uids]
        found = first_difference({uid: by_uid[uid] for uid in uids})
        if found is not None:
            raise PatientsDiffer(
                f"slide {members[0].key} has files of different patients: "
                f"{', '.join(found.attributes)} differ between {found.one} and {found.other}. "
                "Nothing is made of it; correct the study at its source and send it again"
            )


def _has_volume(slide: SlideEvidence) -> bool:
    return any(level.flavor == "VOLUME" for level in slide.levels)


def _slide_key(facts: InstanceFacts) -> tuple[str, str]:
    return facts.series_instance_uid, facts.container_identifier


def _levels(members: Sequence[InstanceFacts]) -> tuple[LevelEvidence, ...]:
    """Images of one slide, concatenation parts joined, largest first."""

    def image_key(facts: InstanceFacts) -> str:
        return facts.concatenation_uid or facts.sop_instance_uid

    ordered = sorted(members, key=lambda f: (image_key(f), f.concatenation_number or 0))
    levels = [_level(list(parts)) for _, parts in groupby(ordered, key=image_key)]
    return tuple(sorted(levels, key=lambda v: (-v.rows * v.cols, v.sop_instance_uids)))


def _level(parts: Sequence[InstanceFacts]) -> LevelEvidence:
    first = parts[0]
    frames = sum(p.frames_counted for p in parts)
    expected_parts = first.concatenation_total if first.concatenation_uid else 1
    expected = _tiled_full_frames(first)
    missing = [
        f"{p.flavor} {p.sop_instance_uid}: {p.frames_counted} of {p.frames_declared} frames present"
        for p in parts
        if p.frames_counted < p.frames_declared
    ]
    missing += _missing_parts(parts, expected_parts)
    declared = sum(p.frames_declared for p in parts)
    if not missing and expected is not None and first.flavor == "VOLUME" and declared != expected:
        missing.append(
            f"{first.flavor} {first.sop_instance_uid}: {declared} frames, TILED_FULL of "
            f"{first.matrix_rows} x {first.matrix_cols} needs {expected}"
        )
    return LevelEvidence(
        sop_instance_uids=tuple(p.sop_instance_uid for p in parts),
        flavor=first.flavor,
        rows=first.matrix_rows,
        cols=first.matrix_cols,
        organization=first.organization,
        frames=frames,
        expected_frames=expected,
        parts=len(parts),
        expected_parts=expected_parts,
        missing=tuple(first_of(missing)),
    )


def _tiled_full_frames(facts: InstanceFacts) -> int | None:
    """Frames of a complete TILED_FULL raster, the whole concatenation included."""
    if facts.organization != "TILED_FULL" or not facts.tile_rows or not facts.tile_cols:
        return None
    tiles = ceil(facts.matrix_rows / facts.tile_rows) * ceil(facts.matrix_cols / facts.tile_cols)
    return tiles * facts.focal_planes * facts.optical_paths


def _missing_parts(parts: Sequence[InstanceFacts], total: int | None) -> list[str]:
    """Concatenation parts that have not come, by number where the total is known."""
    first = parts[0]
    if not first.concatenation_uid:
        return []
    numbers = {p.concatenation_number for p in parts}
    highest = total or max(n or 0 for n in numbers)
    absent = [n for n in range(1, highest + 1) if n not in numbers]
    if not absent:
        return []
    of = f" of {total}" if total else ""
    named = ", ".join(map(str, absent[:_MOST_NAMED]))
    more = f" and {len(absent) - _MOST_NAMED} more" if len(absent) > _MOST_NAMED else ""
    return [f"concatenation {first.concatenation_uid}: part {named}{more}{of} missing"]
