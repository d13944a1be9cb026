"""Pyramid rules: which images are levels of one scan, and which scan of a slide is analyzed.

Images of one scan have one Pyramid UID (PS3.3 C.8.12.4, type 3). Where none is stated, another
Acquisition UID, another time of acquisition, or another image as fine as the base level tells that
a slide was scanned again, or in several regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations

from inference.slide.images import SlideImage
from inference.slide.rules.examination import image_refusal
from inference.slide.rules.geometry import misplaced

SAME_SCAN = timedelta(seconds=30)
"""Times of acquisition that lie no farther apart are of one scan: some writers state when each
level was written."""
AS_FINE = 1.4
"""A level is at least so much coarser than the base; what is finer is a base of its own."""
LEAST_OVERLAP = 0.1
"""Scans whose areas share less of the smaller one are of different regions."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Pyramid:
    """The VOLUME images of one scan, largest first."""

    images: tuple[SlideImage, ...]

    @property
    def base(self) -> SlideImage:
        """Its largest image."""
        return self.images[0]

    def holds(self, sop_instance_uid: str) -> bool:
        """Whether an instance is a part of its largest image."""
        return any(part.sop_instance_uid == sop_instance_uid for part in self.base.parts)

    @property
    def acquired_at(self) -> datetime:
        """When it was scanned; long ago where that is not stated."""
        return max(i.header.acquired_at or datetime.min for i in self.images)


def pyramids(volumes: Sequence[SlideImage]) -> list[Pyramid]:
    """The scans that VOLUME images, largest first, are of; the one of the largest image first."""
    found: list[list[SlideImage]] = []
    for image in sorted(volumes, key=lambda i: not i.header.pyramid_uid):  # stable
        home = next((scan for scan in found if all(_of_one_scan(image, i) for i in scan)), None)
        if home is None:
            found.append([image])
        else:
            home.append(image)
    order = {id(image): n for n, image in enumerate(volumes)}
    scans = [sorted(scan, key=lambda i: order[id(i)]) for scan in found]
    return [Pyramid(tuple(scan)) for scan in sorted(scans, key=lambda s: order[id(s[0])])]


def choose(
    scans: Sequence[Pyramid], coarsest_mpp: float | None, base_uid: str = ""
) -> tuple[Pyramid, tuple[str, ...]]:
    """The scan to analyze, and a sentence that names the others, if there are any.

    That of `base_uid`, or the latest complete one that is fine enough; of several at one time the
    largest. `coarsest_mpp` is what the model needs; without it, scans much coarser than the finest
    do not count.
    """
    named_one = [scan for scan in scans if scan.holds(base_uid)]
    usable = [scan for scan in scans if (scan.base.mpp or 0.0) <= _limit(scans, coarsest_mpp)]
    usable = usable or list(scans)
    complete = [scan for scan in usable if image_refusal(scan.base) is None] or usable
    order = {id(scan): n for n, scan in enumerate(scans)}
    chosen = max(named_one or complete, key=lambda s: (s.acquired_at, -order[id(s)]))
    others = [scan for scan in scans if scan is not chosen]
    if not others:
        return chosen, ()
    named = ", ".join(f"one of {scan.base.pixels}" for scan in others)
    said = (
        f"The slide has {len(scans)} scans. The latest complete one that is fine enough, of "
        f"{chosen.base.pixels}, was analyzed; left aside: {named}."
    )
    return chosen, (said,)


def regions_apart(scans: Sequence[Pyramid], coarsest_mpp: float | None) -> str | None:
    """All scans that could be analyzed show one region; several are no one slide's number."""
    limit = _limit(scans, coarsest_mpp)
    fine = [scan.base for scan in scans if scan.base.mpp and scan.base.mpp <= limit]
    apart = [pair for pair in combinations(fine, 2) if not _overlap(*pair)]
    if not apart:
        return None
    one, other = apart[0]
    return (
        f"The slide was scanned in {len(fine)} images that show different regions, of {one.pixels} "
        f"and of {other.pixels} among them; results of one would not be of the slide. Send the "
        "regions as slides of their own."
    )


def _limit(scans: Sequence[Pyramid], coarsest_mpp: float | None) -> float:
    """The coarsest base level that counts, in um per pixel."""
    finest = min(scan.base.mpp or 0.0 for scan in scans)
    return coarsest_mpp or finest * AS_FINE


def _of_one_scan(one: SlideImage, other: SlideImage) -> bool:
    """Whether nothing says that two images are of different scans."""
    a, b = one.header, other.header
    if a.pyramid_uid and b.pyramid_uid:
        return a.pyramid_uid == b.pyramid_uid
    if a.acquisition_uid and b.acquisition_uid and a.acquisition_uid != b.acquisition_uid:
        return False
    if _is_another_plane(one, other):
        return True
    if a.acquired_at and b.acquired_at and abs(a.acquired_at - b.acquired_at) > SAME_SCAN:
        return False
    as_fine = max(one.mpp or 0, other.mpp or 0) < AS_FINE * min(one.mpp or 0, other.mpp or 0)
    return not (as_fine and misplaced(one, other))


def _is_another_plane(one: SlideImage, other: SlideImage) -> bool:
    """Whether two images show one place at two heights, or one of them computed from several."""
    same_size = (one.header.rows, one.header.cols) == (other.header.rows, other.header.cols)
    if not same_size or misplaced(one, other):
        return False
    heights = one.placement.z_um, other.placement.z_um
    return one.is_extended != other.is_extended or (None not in heights and len(set(heights)) == 2)


def _overlap(one: SlideImage, other: SlideImage) -> bool:
    """Whether two images show one region; unknown, and so taken for one, in two frames of
    reference."""
    if one.geometry is None or other.geometry is None:
        return True
    if one.placement.frame_of_reference != other.placement.frame_of_reference:
        return True
    a, b = _box(one), _box(other)
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(width, 0.0) * max(height, 0.0) >= LEAST_OVERLAP * smaller


def _box(image: SlideImage) -> Box:
    """Least and largest x_mm and y_mm of the corners of an image."""
    geometry = image.geometry
    if geometry is None:
        raise AssertionError("asked of placed images only")
    corners = [
        geometry.to_slide_mm(row, col) for row in (0, geometry.rows) for col in (0, geometry.cols)
    ]
    xs, ys = [corner[0] for corner in corners], [corner[1] for corner in corners]
    return min(xs), min(ys), max(xs), max(ys)
