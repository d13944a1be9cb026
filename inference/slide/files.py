"""Which files make a slide: the one place where images are grouped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from inference.slide.headers import ImageHeader

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
    def has_volume(self) -> bool:
        """Whether any of them is a level of a slide."""
        return any(parts[0].is_volume for parts in self.images)


@dataclass(frozen=True, slots=True)
class SlideFiles:
    """One slide: its key, its files, and their SOP Instance UIDs."""

    key: str
    paths: tuple[Path, ...]
    input_uids: tuple[str, ...]
    base_path: Path
    """The largest VOLUME image, or its first part; else the largest image."""


def files_in(place: Path) -> list[Path]:
    """The files of a folder, to its bottom and in the order of their paths; a file is itself."""
    return sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]


def group(images: Iterable[ImageHeader]) -> tuple[SlideFiles, ...]:
    """The slides of any number of studies, each with all files that belong to it, in a fixed order.

    A slide is one container in one series. Labels and overviews that came in a series of their own
    go with the slide of the same container, or with the only slide of their study where they name
    none. Images that belong to no slide with a VOLUME are one of their own, which ends as not
    assessable: none vanishes.
    """
    slides: list[SlideFiles] = []
    for _, containers in groupby(by_container(images), key=lambda c: c.study_instance_uid):
        slides += [_slide(members) for members in _whole(list(containers))]
    return tuple(slides)


def by_container(images: Iterable[ImageHeader]) -> list[ContainerImages]:
    """The images by study, series and container, in a fixed order."""

    def of_image(image: ImageHeader) -> tuple[str, str, str]:
        return image.study_instance_uid, image.series_instance_uid, image.container

    def of_container(found: ContainerImages) -> tuple[str, str, str]:
        return found.study_instance_uid, found.series_instance_uid, found.container_identifier

    ordered = sorted(images, key=of_image)
    found = [_container(list(members)) for _, members in groupby(ordered, key=of_image)]
    return sorted(found, key=of_container)


def _container(members: Sequence[ImageHeader]) -> ContainerImages:
    series = members[0].series_instance_uid
    # As it is written, blanks in front included: earlier results are named by it. Where files
    # differ in blanks, the one with fewest sorts last.
    container = max(image.container_identifier for image in members)
    return ContainerImages(
        key=hashlib.sha256(f"{series}/{container}".encode()).hexdigest()[:8],
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
    """Slides of one study, each with what came in a series of its own."""
    with_volume = [c for c in containers if c.has_volume]
    grouped = {c.key: [c] for c in with_volume}
    for other in (c for c in containers if not c.has_volume):
        container = other.container_identifier.strip(" ")
        owners = [c for c in with_volume if c.container_identifier.strip(" ") == container]
        if not container and len(with_volume) == 1:
            owners = with_volume
        key = owners[0].key if len(owners) == 1 else f"no volume of {container or other.key}"
        grouped.setdefault(key, []).append(other)
    return list(grouped.values())


def _slide(members: Sequence[ContainerImages]) -> SlideFiles:
    images = [parts for member in members for parts in member.images]
    # Images come largest first; a VOLUME is the base even where a LABEL photo has more pixels.
    base = next((parts for parts in images if parts[0].is_volume), images[0])
    files = [part for parts in images for part in parts]
    return SlideFiles(
        key=members[0].key,
        paths=tuple(file.path for file in files),
        input_uids=tuple(file.sop_instance_uid for file in files),
        base_path=base[0].path,
    )
