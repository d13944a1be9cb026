"""The steps of mutants of headers: every attribute that decides, absent, empty, wrong or absurd."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from letters import Image
from mutants import Mutant, NotHere, Step
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.uid import generate_uid
from tiny_slides import planted

_MEASURES = ("SharedFunctionalGroupsSequence", 0, "PixelMeasuresSequence", 0)
_ORIGIN = ("TotalPixelMatrixOriginSequence", 0)
Place = tuple[Any, ...]

PLACES: tuple[Place, ...] = (
    *((keyword,) for keyword in (
        "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
        "FrameOfReferenceUID", "PyramidUID", "ContainerIdentifier", "ImageType",
        "AcquisitionDateTime", "PatientID", "PatientName", "PatientBirthDate",
        "SpecificCharacterSet", "DimensionOrganizationType", "TotalPixelMatrixRows",
        "TotalPixelMatrixColumns", "TotalPixelMatrixFocalPlanes", "Rows", "Columns",
        "NumberOfFrames", "NumberOfOpticalPaths", "SamplesPerPixel", "PhotometricInterpretation",
        "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
        "ImageOrientationSlide", "ImagedVolumeWidth", "ImagedVolumeHeight", "ImagedVolumeDepth",
        "TotalPixelMatrixOriginSequence", "OpticalPathSequence", "SharedFunctionalGroupsSequence",
        "SpecimenDescriptionSequence", "ExtendedDepthOfField", "FocusMethod", "ConcatenationUID",
        "InConcatenationNumber", "InConcatenationTotalNumber", "ConcatenationFrameOffsetNumber",
        "LossyImageCompression", "StudyDate", "StudyTime", "Modality", "AccessionNumber",
    )),
    (*_ORIGIN, "XOffsetInSlideCoordinateSystem"),
    (*_ORIGIN, "YOffsetInSlideCoordinateSystem"),
    (*_MEASURES, "PixelSpacing"),
    (*_MEASURES, "SliceThickness"),
    ("SharedFunctionalGroupsSequence", 0, "PixelMeasuresSequence"),
    ("OpticalPathSequence", 0, "OpticalPathIdentifier"),
)  # fmt: skip
"""Attributes that the rules read, or that the results repeat."""
_NUMBERS: dict[str, tuple[object, ...]] = {
    "US": (0, 1, 2, 3, 4, 8, 16, 32, 63, 65, 128, 256, 65535),
    "UL": (0, 1, 2, 3, 5, 440, 449, 576, 1024, 2**31, 2**32 - 1),
    "IS": ("0", "1", "9", "29", "31", "60", "2147483647", "-1"),
    "FL": (0.0, -1.0, 1e-6, 0.9, 1.5, 15.0, 896.0, float("nan"), float("inf"), 1e38),
    "DS": ("0", "-1", "0.5", "1e-9", "25000", "1e300", "nan", "inf", "0,004", ""),
}
_SPACINGS = (
    ["0.004", "0.0041"], ["0.0041", "0.004"], ["0.002", "0.002"], ["0.008", "0.008"],
    ["0.00404", "0.00404"], ["0", "0"], ["-0.004", "-0.004"], ["4", "4"], ["0.004"], ["nan", "nan"],
    ["0.004", "0.004", "0.004"], ["inf", "inf"], ["1e-300", "1e-300"],
)  # fmt: skip
_TURNS = (
    [0.0] * 6, [1, 0, 0, 1, 0, 0], [1, 0, 0, 0.5, 0.87, 0], [2, 0, 0, 0, 2, 0], [0, 0, 1, 0, 1, 0],
    [1, 0, 0, 0, 1, 0], [0, -1, 0, -1, 0], [float("nan")] * 6, [1e30, 0, 0, 0, 1e30, 0],
    [0, -1, 0, 1, 0, 0],
)  # fmt: skip
_WORDS: dict[str, tuple[object, ...]] = {
    "ImageType": (
        ["ORIGINAL", "PRIMARY", "LABEL", "NONE"], ["ORIGINAL", "PRIMARY"], "VOLUME",
        ["DERIVED", "PRIMARY", "THUMBNAIL", "RESAMPLED"],
        ["ORIGINAL", "PRIMARY", "volume ", "NONE"],
    ),
    "DimensionOrganizationType": ("TILED_FULL", "TILED_SPARSE", "3D", "tiled_full", "X"),
    "PhotometricInterpretation": (
        "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "MONOCHROME2", "PALETTE COLOR",
        "X",
    ),
    "ContainerIdentifier": ("S2", " S1", "S1 ", "s1", "S" * 400, "S1\\S2"),
    "PatientID": ("G", " F", "F ", "F\\G"),
    "PatientName": ("Letter^G", "LETTER^F", "Letter^F^^^", "Letter^F=Letter^F"),
    "SpecificCharacterSet": ("ISO_IR 192", "ISO_IR 100", "X", ["", "ISO 2022 IR 87"]),
    "AcquisitionDateTime": ("20260102120000", "x", "20260101120000.5+0100"),
    "ExtendedDepthOfField": ("YES",),
    "ImageOrientationSlide": _TURNS,
    "PixelSpacing": _SPACINGS,
}  # fmt: skip
_SCALE = {"PixelSpacing", "ImagedVolumeWidth", "ImagedVolumeHeight", "PixelMeasuresSequence"}
_SCALE |= {"SharedFunctionalGroupsSequence", "TotalPixelMatrixRows", "TotalPixelMatrixColumns"}
_IDENTITY = {"PatientID", "PatientName"}


def headers() -> dict[str, Step]:
    """The steps, by name."""
    return {
        "absent": _step(_absent),
        "empty": _step(_empty),
        "other value": _step(_other),
        "another value": _step(_other),
        "yet another value": _step(_other),
        "wrong VR": _wrong_vr,
        "bytes of the header": _flipped_bytes,
        "transfer syntax": _other_syntax,
        "position": _position,
        "positions of one kind": _all_positions,
    }


def _step(change: Callable[[Dataset, str, random.Random], str]) -> Step:
    """A change of one attribute in one image, in the base level's, or in all."""

    def step(mutant: Mutant, rng: random.Random) -> str:
        place = rng.choice(PLACES)
        images = _some_images(mutant, rng)
        state = rng.getstate()
        said = ""
        for image in images:
            rng.setstate(state)
            holder = _holder(image.header, place)
            said = change(holder, place[-1], rng)
        _note(mutant, place[-1], images)
        return f"{place[-1]} {said} in {_names(mutant, images)}"

    return step


def _absent(holder: Dataset, keyword: str, rng: random.Random) -> str:
    if keyword not in holder:
        raise NotHere
    del holder[keyword]
    return "absent"


def _empty(holder: Dataset, keyword: str, rng: random.Random) -> str:
    setattr(holder, keyword, [] if dictionary_VR(keyword) == "SQ" else "")
    if dictionary_VR(keyword) in ("US", "UL", "FL"):
        holder[keyword]._value = None
    return "empty"


def _other(holder: Dataset, keyword: str, rng: random.Random) -> str:
    vr = dictionary_VR(keyword)
    if keyword in _WORDS:
        value = rng.choice(_WORDS[keyword])
    elif vr in _NUMBERS:
        value = rng.choice(_NUMBERS[vr])
    elif vr == "UI":
        value = rng.choice(("1.2.3", "1.2.3.", "x", "1." * 40 + "1", generate_uid()))
        value = "1.2.3.4.5" if value == generate_uid() else value
    elif vr == "SQ":
        value = rng.choice(([Dataset()], [copy.deepcopy(i) for i in holder.get(keyword, [])] * 2))
    else:
        value = rng.choice(("x", "20269999", "0" * 70, "\u00fc"))
    _write(holder, keyword, vr, value)
    return f"is {str(value)[:60]!r}"


def _write(holder: Dataset, keyword: str, vr: str, value: object) -> None:
    """Whatever value, even one that the library would not take."""
    if vr in ("DS", "IS", "FL"):
        setattr(holder, keyword, 1)
        if vr == "FL":
            holder[keyword]._value = value
            return
        found = value if isinstance(value, list) else [value]
        texts = [_Text(one) for one in found]
        holder[keyword]._value = texts[0] if len(texts) == 1 else texts
        return
    setattr(holder, keyword, value)


class _Text(str):
    """A number as text that the writer leaves alone."""

    original_string = property(str.__str__)

    def __new__(cls, value: object) -> _Text:
        return super().__new__(cls, value if isinstance(value, str) else repr(value))


def _wrong_vr(mutant: Mutant, rng: random.Random) -> str:
    place = rng.choice([p for p in PLACES if p[-1] not in ("SOPClassUID",)])
    vr = rng.choice(("LO", "UN", "OB", "SQ", "UT", "DS", "FD", "AT"))
    text = rng.choice(("x", "VOLUME", "7" * 9, "Letter^G"))
    image = rng.choice(mutant.slide.images)
    number = mutant.slide.images.index(image)
    _holder(image.header, place)
    if image.syntax.is_implicit_VR or place[-1] not in _holder(image.header, place):
        raise NotHere

    def change(paths: list[Path]) -> list[Path]:
        with suppress(KeyError, ValueError, AttributeError, IndexError, TypeError, OSError):
            planted(paths[number], place, vr, text)  # an earlier step may have taken its place
        return paths

    mutant.after.append(change)
    _note(mutant, place[-1], [image])
    return f"{place[-1]} is {text!r} of VR {vr} in {_names(mutant, [image])}"


def _flipped_bytes(mutant: Mutant, rng: random.Random) -> str:
    """Some bytes of a file in front of its pixels."""
    number = rng.randrange(len(mutant.slide.images))
    seed, count = rng.random(), rng.choice((1, 1, 2, 5, 20))

    def change(paths: list[Path]) -> list[Path]:
        flips = random.Random(seed)
        data = bytearray(paths[number].read_bytes())
        end = data.find(b"\xe0\x7f\x10\x00")
        for _ in range(count):
            at = flips.randrange(132, max(133, end if end > 132 else len(data)))
            if at < len(data):
                data[at] = flips.randrange(256)
        paths[number].write_bytes(data)
        return paths

    mutant.after.append(change)
    return f"{count} bytes in file {number}"


def _other_syntax(mutant: Mutant, rng: random.Random) -> str:
    from pydicom.uid import UID

    image = rng.choice(mutant.slide.images)
    value = UID(
        rng.choice(
            ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.80",
             "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.57",
             "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.110")
        )
    )  # fmt: skip
    old = str(image.syntax).encode()
    number = mutant.slide.images.index(image)

    def change(paths: list[Path]) -> list[Path]:
        data = paths[number].read_bytes()
        at = data.find(b"\x02\x00\x10\x00UI")
        if at < 0 or old not in data[at : at + 80]:
            return paths
        length = int.from_bytes(data[at + 6 : at + 8], "little")
        text = str(value).encode()
        text += b"\0" * (len(text) % 2)
        head = data[at : at + 6] + len(text).to_bytes(2, "little") + text
        data = data[:at] + head + data[at + 8 + length :]
        meta = int.from_bytes(data[140:144], "little") + len(text) - length
        paths[number].write_bytes(data[:140] + meta.to_bytes(4, "little") + data[144:])
        return paths

    mutant.after.append(change)
    return f"{value.name} in {_names(mutant, [image])}"


def _position(mutant: Mutant, rng: random.Random) -> str:
    """One frame says that it lies elsewhere."""
    image = _positioned(mutant, rng)
    position = rng.choice(image.positions)
    keyword = rng.choice(
        ("RowPositionInTotalImagePixelMatrix", "ColumnPositionInTotalImagePixelMatrix")
    )
    if keyword not in position:
        raise NotHere
    old = int(position[keyword].value or 0)
    how = rng.choice(("absent", 0, old + 1, old - 1, old + 13, old + 96, 1, -95, 2**31 - 1))
    if how == old:
        raise NotHere
    if how == "absent":
        del position[keyword]
    else:
        setattr(position, keyword, how)
    return f"{keyword} {old} is {how} in {_names(mutant, [image])}"


def _all_positions(mutant: Mutant, rng: random.Random) -> str:
    """Every frame says that it lies elsewhere, in the same way."""
    image = _positioned(mutant, rng)
    how = rng.choice(("one less", "row and column swapped", "half a tile on", "all alike", "none"))
    for position in image.positions:
        row = int(position.get("RowPositionInTotalImagePixelMatrix") or 0)
        col = int(position.get("ColumnPositionInTotalImagePixelMatrix") or 0)
        row, col = {
            "one less": (row - 1, col - 1),
            "row and column swapped": (col, row),
            "half a tile on": (row + 48, col + 48),
            "all alike": (1, 1),
            "none": (row, col),
        }[how]
        position.RowPositionInTotalImagePixelMatrix = row
        position.ColumnPositionInTotalImagePixelMatrix = col
    rows, cols = (max(c[n] for c in image.cells) for n in (0, 1))
    if how == "row and column swapped" and rows == cols:
        mutant.unknowable = "as many rows as columns of tiles: turned, they lie on the grid again"
    if how == "none":
        del image.header.PerFrameFunctionalGroupsSequence
    return f"{how} in {_names(mutant, [image])}"


def _positioned(mutant: Mutant, rng: random.Random) -> Image:
    found = [i for i in mutant.slide.images if "PerFrameFunctionalGroupsSequence" in i.header]
    if not found:
        raise NotHere
    return rng.choice(found)


def _holder(header: Dataset, place: Place) -> Dataset:
    for keyword, item in zip(place[:-1:2], place[1::2], strict=True):
        found = header.get(keyword)
        if not found or len(found) <= item:
            raise NotHere
        header = found[item]
    return header


def _some_images(mutant: Mutant, rng: random.Random) -> list[Image]:
    images = mutant.slide.images
    return rng.choice((images[:1], images[-1:], images))


def _names(mutant: Mutant, images: list[Image]) -> str:
    return "file " + ", ".join(str(mutant.slide.images.index(i)) for i in images)


def _note(mutant: Mutant, keyword: str, images: list[Image]) -> None:
    """What of the truth cannot be known after a change of this attribute."""
    changed_before = " ".join(mutant.steps)
    if keyword in _SCALE and any(f"{k} " in changed_before for k in _SCALE - {keyword}):
        mutant.unknowable = "the scale was changed in two places that could contradict each other"
