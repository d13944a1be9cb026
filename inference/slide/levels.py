"""From the images of one size to a level that can be read, or the reason why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from io import BufferedReader
from typing import Any

from upath import UPath
from wsidicom.cache import (  # type: ignore[import-untyped]  # published without types
    DecodedFrameCache,
    EncodedFrameCache,
)
from wsidicom.config import (  # type: ignore[import-untyped]  # published without types
    Settings,
    use_settings,
)
from wsidicom.errors import (  # type: ignore[import-untyped]  # published without types
    WsiDicomError,
    WsiDicomFileError,
    WsiDicomNotFoundError,
    WsiDicomNotSupportedError,
    WsiDicomUidDuplicateError,
)
from wsidicom.file.io import (  # type: ignore[import-untyped]  # published without types
    WsiDicomReader,
)
from wsidicom.file.io.wsidicom_io import (  # type: ignore[import-untyped]  # as above
    WsiDicomReadIO,
)
from wsidicom.file.wsidicom_file_image_data import (  # type: ignore[import-untyped]  # as above
    WsiDicomFileImageData,
)
from wsidicom.file.wsidicom_stream_opener import (  # type: ignore[import-untyped]  # as above
    WsiDicomStreamOpener,
)

from inference.errors import MALFORMED, is_of_the_machine
from inference.slide.claims.rewritten import RewrittenFile, Shifted, needs_rewriting
from inference.slide.codestream.jpeg import JpegReader
from inference.slide.color import ToSrgb
from inference.slide.color_claims import color_fault
from inference.slide.decoding import RgbDecoder
from inference.slide.frames import Level
from inference.slide.images import Part, SlideImage
from inference.slide.rules.color import JPEG, colors_to_convert
from inference.slide.rules.examination import level_refusal
from inference.slide.rules.planes import Plane, middle, planes_of
from inference.slide.stored import StoredFrames
from inference.slide.terms import uid_name
from inference.types import Reason

# Every frame is read once, so wsidicom's caches would only hold memory.
_SETTINGS = Settings(
    decoded_frame_cache_size=0, encoded_frame_cache_size=0, strict_tile_size_check=False
)
_OPEN_ERRORS = (
    WsiDicomError,
    WsiDicomFileError,
    WsiDicomNotFoundError,
    WsiDicomNotSupportedError,
    WsiDicomUidDuplicateError,
    *MALFORMED,
)


class LevelFault(Exception):
    """Why an image cannot serve as a level."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence


def open_level(
    same_size: Sequence[SlideImage], base: SlideImage, color: ToSrgb | None, files: ExitStack
) -> tuple[Level, str]:
    """The level in VOLUME images of one size: their middle focal plane, and what is to be said of
    it, or ''. Raises LevelFault.

    `color` converts what is decoded. The files stay open until `files` is closed.
    """
    for image in same_size:
        fault = level_refusal(image, base)
        if fault:
            raise LevelFault(*fault)
    planes = [plane for image in same_size for plane in planes_of(image)]
    alike = Counter((plane.z_um, plane.image.is_extended) for plane in planes)
    if max(alike.values()) > 1:
        raise LevelFault(
            Reason.PIXEL_FORMAT,
            f"Found {len(planes)} images of {same_size[0].pixels} at "
            "the same focal plane; one is needed.",
        )
    plane, said = middle(planes)
    level = _level(plane, base, color, files)
    if fault_of_color := color_fault(level):
        raise LevelFault(Reason.PHOTOMETRIC_INTERPRETATION, fault_of_color)
    return level, said


def open_picture(image: SlideImage, files: ExitStack) -> Level:
    """A picture beside the levels, whose header broke no rule of colors and positions, as a level
    of its own scale. Raises LevelFault. It stays open until `files` is closed."""
    level = _level(planes_of(image)[0], image, None, files)
    if fault_of_color := color_fault(level):
        raise LevelFault(Reason.PHOTOMETRIC_INTERPRETATION, fault_of_color)
    return level


def _level(plane: Plane, base: SlideImage, color: ToSrgb | None, files: ExitStack) -> Level:
    image = plane.image
    mpp, base_mpp = image.mpp, base.mpp
    if not mpp or not base_mpp:
        raise AssertionError("the rules of scale let no level without spacing pass")
    data, stored = _image_data(image, files)
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
        index=plane.frames,
        is_encapsulated=image.transfer_syntax.is_encapsulated,
        is_baseline=image.transfer_syntax in JPEG,
        decodes_stated_ycbcr=image.photometric == "RGB" and image.transfer_syntax in JPEG,
        decode=RgbDecoder(
            data.decoder,
            image.photometric,
            is_ycbcr=bool(colors_to_convert(image.transfer_syntax, image.photometric)),
        ),
        stored=stored,
        jpegs=JpegReader(),
        color=color,
    )


def _image_data(image: SlideImage, files: ExitStack) -> tuple[Any, StoredFrames]:
    """wsidicom's view of all parts (WsiDicomFileImageData, untyped), for how frames are decoded,
    and their bytes. Which frame lies where is ours to know."""
    try:
        with use_settings(_SETTINGS):
            opened = [_reader(part, files) for part in image.parts]
            data = WsiDicomFileImageData(
                [reader for reader, _ in opened], DecodedFrameCache(0), EncodedFrameCache(0)
            )
            data._readers = [
                reader if file is None else Shifted(reader, file) for reader, file in opened
            ]
            return data, StoredFrames(data, image.transfer_syntax.is_encapsulated, files)
    except _OPEN_ERRORS as error:
        if is_of_the_machine(error):
            raise
        raise LevelFault(
            Reason.FRAMES_UNREADABLE,
            f"The image of {image.pixels} in {uid_name(image.transfer_syntax)} cannot be opened: "
            "its header or pixel data do not have the form that the standard gives them.",
        ) from None


def _reader(part: Part, files: ExitStack) -> tuple[Any, RewrittenFile | None]:
    """wsidicom's reader of a file, and the stream it reads where that is not the file itself."""
    if needs_rewriting(part.path):
        file = files.enter_context(RewrittenFile(part.path))
        return WsiDicomReader(WsiDicomReadIO(BufferedReader(file), UPath("rewritten"))), file
    (stream,) = WsiDicomStreamOpener().open(str(part.path))
    files.callback(stream.close)
    return WsiDicomReader(stream), None
