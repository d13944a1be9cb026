"""Belonging rules: which groups of VOLUME images, by series and container, are of one slide.

A lower level alone must never get a report beside that of its base, and two slides never one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from inference.slide.headers import ImageHeader

LEAST_STEP = 1.4
"""A lower level is at least so many times smaller than its base."""
_TOLERANCE = 0.03

Volumes = Sequence[ImageHeader]
"""VOLUME images of a group, largest first."""


def places_of(images: Sequence[ImageHeader]) -> list[str]:
    """For images of one series that name no container, which slide each is of.

    By frame of reference, which is a slide's own; a lower level in a frame of reference of its own
    stays with its base, to be left aside with a word. Labels and the like go with the slide whose
    frame of reference they have, or with the only one; '' is that of no slide.
    """
    volumes = sorted((i for i in images if i.is_volume), key=_size)
    by_frame: dict[str, list[ImageHeader]] = {i.frame_of_reference: [] for i in volumes}
    for image in volumes:
        by_frame[image.frame_of_reference].append(image)
    slide_of = {frame: frame for frame in by_frame}
    for frame, group in by_frame.items():
        others = ((f, other) for f, other in by_frame.items() if f != frame)
        bases = [f for f, other in others if is_level_of(group, other)]
        if len(bases) == 1:
            slide_of[frame] = bases[0]
    slides = set(slide_of.values())
    only = next(iter(slides)) if len(slides) == 1 else ""
    return [slide_of.get(i.frame_of_reference, only) for i in images]


def joined(groups: Sequence[Volumes]) -> list[list[int]]:
    """Indices of the groups of each slide of a study; in each the group of the base first, the
    slides in the order of these."""
    base_of = list(range(len(groups)))
    for n, group in enumerate(groups):
        owners = list(_owners(n, group, groups))
        if len(owners) == 1:
            base_of[n] = owners[0]
    slides: dict[int, list[int]] = {}
    for n in sorted(range(len(groups)), key=lambda n: base_of[n] != n):  # bases first
        slides.setdefault(_root(base_of, n), []).append(n)
    return [slides[base] for base in sorted(slides)]


def is_level_of(group: Volumes, base: Volumes) -> bool:
    """Whether the images of a group, by all that they say, are lower levels of a base in another.

    One Pyramid UID says so. Without: they were computed from other images, are smaller by one
    factor in rows and columns, of sizes that the other group does not have, and show as much.
    """
    if not _is_smaller(group[0], base[0]):
        return False
    shared = _share_pyramid(group, base)
    if shared is not None:
        return shared
    sizes = [{(i.rows, i.cols) for i in one} for one in (group, base)]
    widths = group[0].width_mm, base[0].width_mm
    known = [width for width in widths if width]
    show_as_much = len(known) < 2 or abs(known[0] - known[1]) <= _TOLERANCE * max(known)
    return all(i.is_resampled for i in group) and not sizes[0] & sizes[1] and show_as_much


def _is_smaller(image: ImageHeader, base: ImageHeader) -> bool:
    """By one factor in rows and columns, but for rounding."""
    if not (image.rows and image.cols and base.rows and base.cols):
        return False
    down, across = base.rows / image.rows, base.cols / image.cols
    rounding = 1 / image.rows + 1 / image.cols
    is_even = abs(down - across) <= (_TOLERANCE + rounding) * min(down, across)
    return min(down, across) >= LEAST_STEP and is_even


def _owners(n: int, group: Volumes, groups: Sequence[Volumes]) -> Iterator[int]:
    """Groups that have the base level of a group of levels, or other images of the same scan."""
    for m, other in enumerate(groups):
        if m == n or not _may_be_one_slide(group, other):
            continue
        of_one_scan = _share_pyramid(group, other) and (_size(other[0]), m) < (_size(group[0]), n)
        if of_one_scan or is_level_of(group, other):
            yield m


def _may_be_one_slide(one: Volumes, other: Volumes) -> bool:
    """Whether frame of reference and container do not say that two groups are two slides.

    Levels in one series and frame of reference, or with one Pyramid UID, that name another
    container than their base are no slide of their own: the files of one slide contradict each
    other, and nothing is made of them.
    """
    if len({i.frame_of_reference for i in (*one, *other)}) > 1:
        return False
    containers = {i.container for i in (*one, *other)} - {""}
    in_one_series = len({i.series_instance_uid for i in (*one, *other)}) == 1
    return len(containers) < 2 or in_one_series or bool(_share_pyramid(one, other))


def _share_pyramid(one: Volumes, other: Volumes) -> bool | None:
    """Whether two groups have a Pyramid UID in common; None where one of them states none."""
    mine, theirs = ({i.pyramid_uid for i in group} - {""} for group in (one, other))
    return bool(mine & theirs) if mine and theirs else None


def _size(image: ImageHeader) -> int:
    return -image.rows * image.cols


def _root(base_of: Sequence[int], n: int) -> int:
    while base_of[n] != n:
        n = base_of[n]
    return n
