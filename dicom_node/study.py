"""What makes a study complete: every slide counted, and quiet for long enough.

No attribute says how many levels a slide has (PS3.3 A.32.8), so a study closes on the strongest
evidence its objects carry: frames present against Number of Frames, Number of Frames against the
TILED_FULL arithmetic (PS3.3 C.7.6.17.3), all parts of each concatenation (PS3.3 C.7.6.16.2.2.4);
and then on a quiet time counted from the last byte. What was counted is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import Any

import structlog

from dicom_node.facts import InstanceFacts, Uncountable, read_facts
from dicom_node.ledger import Ledger
from dicom_node.records import Revision, State

log = structlog.get_logger()

_LONGEST_HOLD, _LEAST_HOLD_S = 10, 600.0
"""A study is held for bytes that may not be its own at most this many quiet times, and at least
these seconds: longer than one large instance takes."""


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
    """Slides of a study with what was counted for each image, in a fixed order."""
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
    return tuple(slides)


def close_ready(
    ledger: Ledger, spool: Path, *, quiet_time_s: float, incomplete_after_s: float
) -> list[Revision]:
    """Close every study that is quiet and complete; the revisions that were closed now."""
    closed = []
    for revision in ledger.in_state(State.RECEIVING):
        study = revision.study_instance_uid
        quiet_s = _quiet_s(ledger, study, quiet_time_s)
        if quiet_s < quiet_time_s:
            continue
        rows = ledger.instances(study, revision.revision)
        if _counted_before(revision, rows) and quiet_s < incomplete_after_s:
            continue
        try:
            evidence, missing = _evidence(rows, spool, quiet_s)
        except OSError as error:
            log.error("spool_unreadable", study=study, error=str(error))
            continue  # the next round tries again
        if missing and quiet_s >= incomplete_after_s:
            reason = f"incomplete after {quiet_s:.0f} s: {missing}"
            if ledger.park_incomplete(study, revision.revision, evidence, reason):
                log.warning("study_incomplete", study=study, missing=missing)
        elif missing:
            ledger.note_missing(study, revision.revision, evidence, f"waiting: {missing}")
            log.info("study_waits", study=study, missing=missing)
        elif ledger.close_revision(study, revision.revision, evidence):
            log.info("study_closed", study=study, instances=len(rows), quiet_s=round(quiet_s, 1))
            closed.append(revision)
    return closed


def _quiet_s(ledger: Ledger, study: str, quiet_time_s: float) -> float:
    """Seconds since the last byte for this study.

    Bytes of its senders that are still arriving may be for it, so they count; but a sender that
    never pauses must not hold a study for ever.
    """
    stored_at, arriving_at = ledger.last_byte_at(study)
    since_stored = ledger.now() - stored_at
    if since_stored >= _LONGEST_HOLD * quiet_time_s and since_stored >= _LEAST_HOLD_S:
        return since_stored
    return ledger.now() - max(stored_at, arriving_at)


def _evidence(
    rows: Sequence[dict[str, Any]], spool: Path, quiet_s: float
) -> tuple[dict[str, Any], str]:
    """What was counted, as stored in the ledger, and what is missing in one line."""
    facts: list[InstanceFacts] = []
    missing: list[str] = []
    for row in rows:
        try:
            facts.append(read_facts(spool / row["path"]))
        except Uncountable as error:
            missing.append(f"{row['sop_instance_uid']} cannot be counted: {error}")
    slides = gather_evidence(facts)
    missing += [sentence for slide in slides for sentence in slide.missing]
    evidence = {
        "instances": len(rows),
        "bytes": sum(row["size_bytes"] for row in rows),
        "quiet_s": round(quiet_s, 3),
        "slides": [asdict(slide) for slide in slides],
        "missing": missing,
    }
    return evidence, "; ".join(missing[:3]) + ("; and more" if len(missing) > 3 else "")


def _counted_before(revision: Revision, rows: Sequence[dict[str, Any]]) -> bool:
    return revision.evidence is not None and revision.evidence["instances"] == len(rows)


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
        missing=tuple(missing),
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
    absent = [str(n) for n in range(1, highest + 1) if n not in numbers]
    if not absent:
        return []
    of = f" of {total}" if total else ""
    return [f"concatenation {first.concatenation_uid}: part {', '.join(absent)}{of} missing"]
