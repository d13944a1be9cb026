"""What makes a study complete: every slide counted, and quiet for long enough.

No attribute says how many levels a slide has (PS3.3 A.32.8), so a study closes on the strongest
evidence its objects carry: frames present against Number of Frames, Number of Frames against the
TILED_FULL arithmetic (PS3.3 C.7.6.17.3), all parts of each concatenation (PS3.3 C.7.6.16.2.2.4);
and then on a quiet time counted from the last byte. What was counted is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dicom_node.ledger.counted import LevelEvidence, SlideEvidence
from dicom_node.study.facts import InstanceFacts, read_facts
from inference.slide.claims.patient import Order
from inference.slide.files import Parts, SlideFiles, by_container, group
from inference.slide.headers import ImageHeader
from inference.slide.rules.identity import owners_differ

_MOST_NAMED = 5
"""Of many things that are missing, so many are named and the rest is counted: what one study lacks
must not fill the database."""


class PatientsDiffer(Exception):
    """The files of one slide name different patients; the message says in which attributes."""


def gather_evidence(facts: Iterable[InstanceFacts]) -> tuple[SlideEvidence, ...]:
    """Slides of a study with what was counted for each image, in a fixed order.

    Raises PatientsDiffer when the files of one slide are of more than one patient.
    """
    facts = list(facts)
    slides_of(facts)  # for the patients
    counted = {f.header.path: f.frames_counted for f in facts}
    return tuple(
        SlideEvidence(
            key=container.key,
            series_instance_uid=container.series_instance_uid,
            container_identifier=container.container_identifier,
            levels=tuple(_level(parts, counted, container.images) for parts in container.images),
        )
        for container in by_container(f.header for f in facts)
    )


def slides_of(facts: Iterable[InstanceFacts]) -> tuple[SlideFiles, ...]:
    """The slides that get a report. Raises PatientsDiffer."""
    headers = [f.header for f in facts]
    owners = {h.path: (h.sop_instance_uid, h.owner) for h in headers}
    slides = group(headers)
    for slide in slides:
        differ = owners_differ(dict(owners[path] for path in slide.paths))
        if differ:
            raise PatientsDiffer(f"slide {slide.key} has {differ}")
    return slides


def patients_differ(slides: Iterable[SlideFiles]) -> str | None:
    """Why slides are not of one patient; None where they are. Raises Uncountable and OSError."""
    headers = [read_facts(path).header for slide in slides for path in slide.paths]
    return owners_differ({h.sop_instance_uid: replace(h.owner, order=Order()) for h in headers})


def first_of(sentences: Sequence[str]) -> list[str]:
    """The first of many sentences, and how many more there are."""
    more = len(sentences) - _MOST_NAMED
    return [*sentences[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])]


def missing_of(slide: SlideFiles, counted: Iterable[SlideEvidence]) -> tuple[str, ...]:
    """What one slide lacks, of all that was counted."""
    mine = set(slide.input_uids)
    levels = [level for evidence in counted for level in evidence.levels]
    return tuple(s for v in levels if mine & set(v.sop_instance_uids) for s in v.missing)


def _level(parts: Parts, counted: Mapping[Path, int], images: Sequence[Parts]) -> LevelEvidence:
    first = parts[0]
    frames = sum(counted[p.path] for p in parts)
    expected_parts = first.concatenation_total if first.concatenation_uid else 1
    expected = first.tiled_full_frames
    missing = [
        f"{p.flavor} {p.sop_instance_uid}: {counted[p.path]} of {p.frames} frames present"
        for p in parts
        if counted[p.path] < p.frames
    ]
    missing += _missing_parts(parts, expected_parts)
    missing += [] if missing else _missing_frames(parts, images)
    return LevelEvidence(
        sop_instance_uids=tuple(p.sop_instance_uid for p in parts),
        flavor=first.flavor,
        rows=first.rows,
        cols=first.cols,
        organization=first.organization,
        frames=frames,
        expected_frames=expected,
        parts=len(parts),
        expected_parts=expected_parts,
        missing=() if first.is_beside else tuple(first_of(missing)),
    )


def _missing_frames(parts: Parts, images: Sequence[Parts]) -> list[str]:
    """Frames that the tiling of a level needs and none of its files declares.

    Focal planes may come in an instance each, of one plane's frames: then they are counted over all
    images of that size.
    """
    first, expected = parts[0], parts[0].tiled_full_frames
    if first.flavor != "VOLUME":
        return []
    declared, told = _declared(parts), f"{first.flavor} {first.sop_instance_uid}"
    if expected is not None and not first.is_whole(declared):
        matrix = f"{first.rows} x {first.cols}"
        return [f"{told}: {declared} frames, TILED_FULL of {matrix} needs {expected}"]
    if expected is not None and declared < expected:
        alike = [i for i in images if i[0].is_volume and _stack(i[0]) == _stack(first)]
        planes, found = first.focal_planes, sum(map(_declared, alike)) // (declared or 1)
        if found < planes:
            return [f"{told}: {found} of {planes} focal planes are there"]
    is_open = first.concatenation_uid and first.concatenation_total is None
    if is_open and expected is None and declared < first.cells:
        return [
            f"{told}: {declared} of {first.cells} tiles, and concatenation "
            f"{first.concatenation_uid} does not say of how many parts it is"
        ]
    return []


def _declared(parts: Parts) -> int:
    return sum(p.frames for p in parts)


def _stack(image: ImageHeader) -> tuple[object, ...]:
    """The same for images that show the focal planes of one level."""
    return image.rows, image.cols, image.focal_planes, image.pyramid_uid


def _missing_parts(parts: Parts, total: int | None) -> list[str]:
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
