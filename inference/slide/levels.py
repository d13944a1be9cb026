"""From the images of one size to a level that can be read, or the reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pydicom.uid import JPEGBaseline8Bit
from wsidicom.config import (  # type: ignore[import-untyped]  # published without types
    Settings,
    use_settings,
)
from wsidicom.errors import (  # type: ignore[import-untyped]  # published without types
    WsiDicomError,
    WsiDicomNotFoundError,
    WsiDicomUidDuplicateError,
)
from wsidicom.file import (  # type: ignore[import-untyped]  # published without types
    WsiDicomFileSource,
)

from inference.errors import MALFORMED, is_of_the_machine
from inference.slide.codestream.jpeg import JpegReader
from inference.slide.color import ToSrgb
from inference.slide.color_claims import color_fault
from inference.slide.decoding import RgbDecoder
from inference.slide.frames import Level
from inference.slide.images import SlideImage
from inference.slide.rules import JPEG, colors_to_convert, header_refusal
from inference.slide.stored import StoredFrames
from inference.slide.terms import uid_name
from inference.types import Reason

SAME_ORIGIN_MM = 0.02
"""Levels whose origins differ by less (and by less than a pixel) show the same place: writers
differ in whether the origin is the corner or the center of the first pixel."""

# Every frame is read once, so wsidicom's caches would only hold memory.
_SETTINGS = Settings(
    decoded_frame_cache_size=0, encoded_frame_cache_size=0, strict_tile_size_check=False
)
_OPEN_ERRORS = (WsiDicomError, WsiDicomNotFoundError, WsiDicomUidDuplicateError, *MALFORMED)


class LevelFault(Exception):
    """Why an image cannot serve as a level."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class _Opened:
    """An image as wsidicom sees it."""

    image: SlideImage
    image_data: Any  # wsidicom.instance.WsiDicomImageData, untyped
    planes: tuple[float, ...]
    optical_paths: tuple[str, ...]


def open_level(
    same_size: Sequence[SlideImage],
    base: SlideImage,
    color: ToSrgb | None,
    files: ExitStack,
    warnings: list[str],
) -> Level:
    """The level in VOLUME images of one size: their middle focal plane. Raises LevelFault.

    `color` converts what is decoded. The files stay open until `files` is closed. A sentence goes
    to `warnings` where planes of the base level were left out.
    """
    for image in same_size:
        fault = header_refusal(image) or _misplaced(image, base) or _frames_missing(image)
        if fault:
            raise LevelFault(*fault)
    opened = [_open_image(image, files) for image in same_size]
    planes = sorted((z, n) for n, one in enumerate(opened) for z in one.planes)
    if len({z for z, _ in planes}) < len(planes):
        raise LevelFault(
            Reason.PIXEL_FORMAT,
            f"Found {len(planes)} images of {same_size[0].pixels} at "
            "the same focal plane; one is needed.",
        )
    plane, n = planes[(len(planes) - 1) // 2]
    if len(planes) > 1 and same_size[0] is base:
        warnings.append(
            f"The slide has {len(planes)} focal planes; the middle one ({plane:g} um) was analyzed."
        )
    level = _level(opened[n], plane, base, color, files)
    fault_of_color = color_fault(level)
    if fault_of_color:
        raise LevelFault(Reason.PHOTOMETRIC_INTERPRETATION, fault_of_color)
    return level


def _open_image(image: SlideImage, files: ExitStack) -> _Opened:
    """wsidicom's view of all parts; LevelFault where it left one out."""
    what = f"The image of {image.pixels} in {uid_name(image.transfer_syntax)}"
    try:
        with use_settings(_SETTINGS):
            paths = [str(part.path) for part in image.parts]
            source = files.enter_context(WsiDicomFileSource.open(paths))
            instances = list(source.level_instances)
            found = {str(d.uids.instance) for instance in instances for d in instance.datasets}
            data = instances[0].image_data
            opened = _Opened(image, data, tuple(data.focal_planes), tuple(data.optical_paths))
    except _OPEN_ERRORS as error:
        if is_of_the_machine(error):
            raise
        raise LevelFault(
            Reason.FRAMES_UNREADABLE, f"{what} cannot be opened: its data is broken or unusual."
        ) from None
    missing = [p.sop_instance_uid for p in image.parts if p.sop_instance_uid not in found]
    if missing or len(instances) != 1:
        raise LevelFault(
            Reason.FRAMES_UNREADABLE,
            f"{what} cannot be opened: {', '.join(missing) or 'its parts'} do not fit together.",
        )
    if len(opened.optical_paths) > 1:
        raise LevelFault(Reason.PIXEL_FORMAT, f"{what} has several optical paths.")
    return opened


def _level(
    opened: _Opened, plane: float, base: SlideImage, color: ToSrgb | None, files: ExitStack
) -> Level:
    image = opened.image
    mpp, base_mpp = image.mpp, base.mpp
    if not mpp or not base_mpp:
        raise AssertionError("rules.header_refusal lets no level without spacing pass")
    return Level(
        rows=image.header.rows,
        cols=image.header.cols,
        # Spacing, not matrix sizes: a level's last row and column may be partly empty.
        downsample=mpp / base_mpp,
        mpp=mpp,
        frame_rows=image.header.frame_rows,
        frame_cols=image.header.frame_cols,
        frames=image.frames,
        parts=image.parts,
        is_encapsulated=image.transfer_syntax.is_encapsulated,
        is_baseline=image.transfer_syntax == JPEGBaseline8Bit,
        decodes_stated_ycbcr=image.photometric == "RGB" and image.transfer_syntax in JPEG,
        image_data=opened.image_data,
        decode=RgbDecoder(
            opened.image_data.decoder,
            image.photometric,
            is_ycbcr=bool(colors_to_convert(image.transfer_syntax, image.photometric)),
        ),
        stored=StoredFrames(opened.image_data, image.transfer_syntax.is_encapsulated, files),
        jpegs=JpegReader(),
        plane=plane,
        optical_path=opened.optical_paths[0],
        color=color,
    )


def _misplaced(image: SlideImage, base: SlideImage) -> tuple[Reason, str] | None:
    """Why a level shows another place than the base level."""
    here, there = image.geometry, base.geometry
    if here is None or there is None:
        return Reason.GEOMETRY_MISSING, "It does not state where it lies."
    if here.frame_of_reference_uid != there.frame_of_reference_uid:
        return Reason.GEOMETRY_MISSING, "It has another frame of reference than the base level."
    near = max(SAME_ORIGIN_MM, here.spacing_row_mm)
    shift = max(
        abs(here.origin_x_mm - there.origin_x_mm), abs(here.origin_y_mm - there.origin_y_mm)
    )
    turn = max(abs(a - b) for a, b in zip(here.orientation, there.orientation, strict=True))
    if shift > near or turn > 1e-3:
        return Reason.GEOMETRY_MISSING, "It shows another place of the slide than the base level."
    for own, all_of_it, spacing in (
        (here.rows * here.spacing_row_mm, there.rows * there.spacing_row_mm, here.spacing_row_mm),
        (here.cols * here.spacing_col_mm, there.cols * there.spacing_col_mm, here.spacing_col_mm),
    ):
        if abs(own - all_of_it) > 2 * spacing + 0.005 * all_of_it:
            return Reason.GEOMETRY_MISSING, (
                f"It covers {own:.3f} mm where the base level covers {all_of_it:.3f} mm."
            )
    return None


def _frames_missing(image: SlideImage) -> tuple[Reason, str] | None:
    """Frames that TILED_FULL promises and the parts do not hold (PS3.3 C.7.6.17.3)."""
    expected = image.header.tiled_full_frames
    if expected is None or image.frames == expected:
        return None
    return Reason.FRAMES_UNREADABLE, (
        f"The image of {image.pixels} has {image.frames} frames; its tiling needs {expected}."
    )
