"""Which files make a slide: the one place where images are grouped.

A slide is one container in one series. Where a container is not named, or named differently in one
level, or levels came in series of their own, `rules.belonging` says what belongs together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from inference.slide.headers import ImageHeader
from inference.slide.rules.belonging import joined, places_of

Parts = tuple[ImageHeader, ...]
"""The files of one image: itself, or the received parts of a concatenation by their numbers."""


@dataclass(frozen=True, slots=True)
class ContainerImages:
    """The images of one container in one series."""

    key: str
    """Names them in every revision of their study, and in the UIDs of what is made of them."""
    study_instance_uid: str
    series_instance_uid: str
    container_identifier: str
    images: tuple[Parts, ...]
    """Largest first."""

    @property
    def volumes(self) -> tuple[ImageHeader, ...]:
        """The levels of a slide among them, by their first parts, largest first."""
        return tuple(parts[0] for parts in self.images if parts[0].is_volume)

    @property
    def has_volume(self) -> bool:
        """Whether any of them is a level of a slide."""
        return bool(self.volumes)


@dataclass(frozen=True, slots=True)
class SlideFiles:
    """One slide: its key, its files, and their SOP Instance UIDs."""

    key: str
    paths: tuple[Path, ...]
    input_uids: tuple[str, ...]
    base_path: Path
    """The largest VOLUME image, or its first part; else the largest image."""

    def path_of(self, sop_instance_uid: str) -> Path:
        """The file of an instance; `base_path` for one that is not among them."""
        paths = dict(zip(self.input_uids, self.paths, strict=True))
        return paths.get(sop_instance_uid, self.base_path)


def files_in(place: Path) -> list[Path]:
    """The files of a folder, to its bottom and in the order of their paths; a file is itself."""
    return sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]


def group(images: Iterable[ImageHeader]) -> tuple[SlideFiles, ...]:
    """The slides of any number of studies, each with all files that belong to it, in a fixed order.

    Labels and overviews that came in a series of their own go with the slide of the same container,
    or with the only slide of their study where they name none. Images that belong to no slide with
    a VOLUME are one of their own, which ends as not assessable: none vanishes.
    """
    slides: list[SlideFiles] = []
    for _, containers in groupby(by_container(images), key=lambda c: c.study_instance_uid):
        slides += [_slide(members) for members in _whole(list(containers))]
    return tuple(slides)


def by_container(images: Iterable[ImageHeader]) -> list[ContainerImages]:
    """The images by study, series and container, in a fixed order; those that name no container by
    where they lie, too."""

    def of_image(image: ImageHeader) -> tuple[str, str, str]:
        return image.study_instance_uid, image.series_instance_uid, image.container

    def of_container(found: ContainerImages) -> tuple[str, str, str]:
        return found.study_instance_uid, found.series_instance_uid, found.container_identifier

    ordered = sorted(images, key=of_image)
    found = []
    for _, group_of_images in groupby(ordered, key=of_image):
        members = list(group_of_images)
        if members[0].container:
            found.append(_container(members))
            continue
        places = places_of(members)
        apart = len(set(places)) > 1
        for place in sorted(set(places)):
            here = [m for m, p in zip(members, places, strict=True) if p == place]
            found.append(_container(here, f"/{place}" if apart else ""))
    return sorted(found, key=of_container)


def _container(members: Sequence[ImageHeader], place: str = "") -> ContainerImages:
    series = members[0].series_instance_uid
    # As it is written, blanks in front included: earlier results are named by it. Where files
    # differ in blanks, the one with fewest sorts last.
    container = max(image.container_identifier for image in members)
    return ContainerImages(
        key=hashlib.sha256(f"{series}/{container}{place}".encode()).hexdigest()[:8],
        study_instance_uid=members[0].study_instance_uid,
        series_instance_uid=series,
        container_identifier=container,
        images=_images(members),
    )


def _images(members: Sequence[ImageHeader]) -> tuple[Parts, ...]:
    ordered = sorted(members, key=lambda m: (m.image, m.concatenation_number or 0))
    images = [tuple(parts) for _, parts in groupby(ordered, key=lambda m: m.image)]
    return tuple(sorted(images, key=_size_order))


def _size_order(parts: Parts) -> tuple[int, tuple[str, ...]]:
    return -parts[0].rows * parts[0].cols, tuple(part.sop_instance_uid for part in parts)


def _whole(containers: Sequence[ContainerImages]) -> list[list[ContainerImages]]:
    """Slides of one study, each with what came in a series of its own, its base level first."""
    with_volume = [c for c in containers if c.has_volume]
    slides = joined([c.volumes for c in with_volume])
    grouped = {with_volume[s[0]].key: [with_volume[n] for n in s] for s in slides}
    for other in (c for c in containers if not c.has_volume):
        container = other.container_identifier.strip(" ")
        owners = [
            key
            for key, members in grouped.items()
            if members[0].has_volume
            and container in {m.container_identifier.strip(" ") for m in members}
        ]
        if not container:
            near = [
                s
                for s in slides
                if with_volume[s[0]].series_instance_uid == other.series_instance_uid
            ]
            only = slides if len(slides) == 1 else near
            owners = [with_volume[only[0][0]].key] if len(only) == 1 else []
        key = owners[0] if len(owners) == 1 else f"no volume of {container or other.key}"
        grouped.setdefault(key, []).append(other)
    return list(grouped.values())


def _slide(members: Sequence[ContainerImages]) -> SlideFiles:
    images = [parts for member in members for parts in member.images]
    # The largest first; a VOLUME is the base even where a LABEL photo has more pixels.
    base = next((parts for parts in images if parts[0].is_volume), images[0])
    files = [part for parts in images for part in parts]
    return SlideFiles(
        key=members[0].key,
        paths=tuple(file.path for file in files),
        input_uids=tuple(file.sop_instance_uid for file in files),
        base_path=base[0].path,
    )
