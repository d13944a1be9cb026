"""A slide from the files of one slide: its VOLUME levels, where they lie, and what became of each
file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Literal, NoReturn

from pydicom import Dataset
from pydicom.sr.coding import Code

from inference.errors import Refused, SlideUnreadable
from inference.slide.color import to_srgb
from inference.slide.frames import Level
from inference.slide.images import SlideImage, read_images
from inference.slide.levels import LevelFault, open_level
from inference.slide.rules import flavors, identity, pyramids, scale
from inference.slide.rules.pyramids import Pyramid
from inference.types import NOT_NEEDED, LevelAccount, NotAssessable, Reason, SlideGeometry

__all__ = ["Level", "Refused", "Slide", "SlideUnreadable", "open_slide"]


@dataclass(frozen=True, slots=True, eq=False)
class Slide:
    """The levels of a slide, finest first; a context manager that closes its files."""

    levels: tuple[Level, ...]
    geometry: SlideGeometry
    base_header: Dataset
    """Header of the base level's first instance, up to the per-frame functional groups."""
    stains: tuple[Code, ...]
    """Coded stains of the specimens; empty where none is stated."""
    warnings: tuple[str, ...]
    base_uid: str
    """SOP Instance UID of the image that has this geometry, or of its first part."""
    _images: tuple[SlideImage, ...]
    _left_aside: Mapping[str, str]
    _files: ExitStack = field(repr=False)

    @property
    def mpp(self) -> float:
        """Micrometers per pixel of the base level."""
        return self.levels[0].mpp

    @property
    def scanned(self) -> tuple[SlideGeometry | None, ...]:
        """Where its VOLUME images lie, of other scans too; None for one that does not say."""
        return tuple(image.geometry for image in self._images if image.header.is_volume)

    def images_of(self, flavor: str) -> tuple[SlideImage, ...]:
        """Its images of one flavor, largest first."""
        of_slide = (image for image in self._images if image.header.is_whole_slide_image)
        return tuple(image for image in of_slide if image.header.flavor == flavor)

    @property
    def accounts(self) -> tuple[LevelAccount, ...]:
        """What became of each instance, before anything was analyzed."""
        return self.accounts_for(tiles=(), tissue=None)

    def accounts_for(
        self, *, tiles: Sequence[Level], tissue: Level | None
    ) -> tuple[LevelAccount, ...]:
        """What became of each instance when these levels gave the tiles and the tissue mask."""
        uses = {
            uid: _use(level in tiles, level is tissue)
            for level in self.levels
            for uid in level.sop_instance_uids
        }
        return _accounts(self._images, uses | dict(self._left_aside))

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; levels cannot be read afterwards."""
        self._files.close()


def open_slide(
    paths: Sequence[Path],
    icc: Literal["ignore", "srgb"] = "ignore",
    *,
    coarsest_mpp: float | None = None,
    base_uid: str = "",
) -> Slide:
    """The slide in these files: VOLUME levels, and maybe label, overview, thumbnail.

    With `icc` "srgb" its colors are converted by its ICC profile; a warning says where it has none.
    Of several scans the one of `base_uid` is opened, or the latest complete one of `coarsest_mpp`
    or finer, which is what a model needs. Raises SlideUnreadable for files that are broken or not
    of one slide, Refused, with the NotAssessable that becomes the report, for a slide that must not
    be judged, and OSError for files that cannot be read now.
    """
    images = read_images(paths)
    scan, said = examined(images, coarsest_mpp, base_uid)
    base = scan.base
    left_aside = _uses((i for i in images if not i.header.is_volume), None)
    other_scans = (i for i in images if i.header.is_volume and i not in scan.images)
    left_aside |= _uses(other_scans, "left aside: another scan was analyzed")
    warnings = list(said)
    color, warning = to_srgb(base.dataset) if icc == "srgb" else (None, "")
    warnings += [warning] if warning else []
    levels: list[Level] = []
    with ExitStack() as files:
        for _, group in groupby(scan.images, key=lambda i: (i.header.rows, i.header.cols)):
            same_size = list(group)
            try:
                level, plane = open_level(same_size, base, color, files)
            except LevelFault as fault:
                if same_size[0] is base:
                    _refuse(images, base, fault.reason, fault.sentence)
                left_aside |= _uses(same_size, f"left aside: {fault.sentence}")
                warnings.append(
                    f"The level of {same_size[0].pixels} was left aside: {fault.sentence}"
                )
                continue
            if plane and same_size[0] is base:
                warnings.append(plane)
            others = (i for i in same_size if i.parts != level.parts)
            left_aside |= _uses(others, "left aside: another focal plane was analyzed")
            levels.append(level)
        if base.geometry is None:
            raise AssertionError("the rules of geometry let no slide without a place pass")
        return Slide(
            levels=tuple(levels),
            geometry=base.geometry,
            base_header=base.dataset,
            stains=base.substances,
            warnings=tuple(warnings),
            base_uid=base.parts[0].sop_instance_uid,
            _images=tuple(images),
            _left_aside=left_aside,
            _files=files.pop_all(),
        )


def examined(
    images: Sequence[SlideImage], coarsest_mpp: float | None, base_uid: str
) -> tuple[Pyramid, tuple[str, ...]]:
    """The scan of a slide that is analyzed, and what is to be said of the slide.

    Raises SlideUnreadable and Refused, as `open_slide`.
    """
    differ = identity.images_of_several_owners(images)
    if differ:
        raise SlideUnreadable(f"Found {differ}.")
    volumes = [i for i in images if i.header.is_volume]
    nameless = identity.unnamed(image.header for image in volumes)
    if nameless:
        raise SlideUnreadable(f"Found that {nameless}: send the slide again with it.")
    if not volumes:
        _refuse(images, None, Reason.NO_VOLUME_LEVEL, flavors.no_volume(images))
    scans = pyramids.pyramids(volumes)
    scan, others = pyramids.choose(scans, coarsest_mpp, base_uid)
    apart = pyramids.regions_apart(scans, coarsest_mpp)
    if apart:
        _refuse(images, scan.base, Reason.SEVERAL_REGIONS, apart)
    return scan, (*scale.scale_cautions(scan.base), *others, *flavors.broken_beside(images))


def _refuse(
    images: Sequence[SlideImage], base: SlideImage | None, reason: Reason, sentence: str
) -> NoReturn:
    raise Refused(
        NotAssessable(
            reason=reason,
            detail=sentence,
            geometry=base.geometry if base else None,
            levels=_accounts(images, _uses((i for i in images if not i.header.is_volume), None)),
            base=base.parts[0].sop_instance_uid if base else "",
        )
    )


def _uses(images: Iterable[SlideImage], why: str | None) -> dict[str, str]:
    """`used_as` of images that are left aside, by instance; None stands for their flavor."""
    return {
        part.sop_instance_uid: why or f"left aside: {image.kind}"
        for image in images
        for part in image.parts
    }


def _accounts(images: Iterable[SlideImage], uses: Mapping[str, str]) -> tuple[LevelAccount, ...]:
    return tuple(
        LevelAccount(
            sop_instance_uid=part.sop_instance_uid,
            flavor=image.kind,
            rows=image.header.rows,
            cols=image.header.cols,
            mpp=image.mpp,
            frames=part.frames,
            used_as=uses.get(part.sop_instance_uid, "left aside: the slide is not assessable"),
        )
        for image in images
        for part in image.parts
    )


def _use(gave_tiles: bool, gave_tissue: bool) -> str:
    names = [n for n, gave in (("tiles", gave_tiles), ("tissue", gave_tissue)) if gave]
    return " and ".join(names) or NOT_NEEDED
