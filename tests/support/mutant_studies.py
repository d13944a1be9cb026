"""The steps of mutants of studies: files that are missing, doubled, torn, or another slide's."""

from __future__ import annotations

import copy
import random
import shutil
from pathlib import Path

import numpy as np
from letters import STEP, Image, Pixels, Truth
from mutants import Mutant, NotHere, Step
from PIL import Image as Picture
from pydicom.uid import generate_uid


def studies() -> dict[str, Step]:
    """The steps, by name."""
    return {
        "file missing": _missing,
        "file twice": _twice,
        "file twice, once changed": _twice_and_changed,
        "file cut": _cut,
        "foreign file": _foreign,
        "another scan": _another_scan,
        "a level of another scan": _level_of_another_scan,
        "label": _label,
        "level copied": _copied,
        "patient of one file": _patient,
    }


def _missing(mutant: Mutant, rng: random.Random) -> str:
    n = rng.randrange(len(mutant.slide.images))
    mutant.after.append(lambda paths: [*paths[:n], *paths[n + 1 :]])
    return f"file {n}"


def _twice(mutant: Mutant, rng: random.Random) -> str:
    n = rng.randrange(len(mutant.slide.images))

    def change(paths: list[Path]) -> list[Path]:
        if n < len(paths):
            shutil.copyfile(paths[n], paths[n].with_name("again.dcm"))
            paths = [*paths, paths[n].with_name("again.dcm")]
        return paths

    mutant.after.append(change)
    return f"file {n}"


def _twice_and_changed(mutant: Mutant, rng: random.Random) -> str:
    """One SOP Instance UID, two contents."""
    n = rng.randrange(len(mutant.slide.images))
    at = rng.random()

    def change(paths: list[Path]) -> list[Path]:
        if n < len(paths):
            data = bytearray(paths[n].read_bytes())
            data[int(len(data) * (0.6 + 0.39 * at))] ^= 1
            paths[n].with_name("again.dcm").write_bytes(data)
            paths = [*paths, paths[n].with_name("again.dcm")]
        return paths

    mutant.after.append(change)
    return f"file {n}"


def _cut(mutant: Mutant, rng: random.Random) -> str:
    n, share = rng.randrange(len(mutant.slide.images)), rng.random()

    def change(paths: list[Path]) -> list[Path]:
        if n < len(paths):
            data = paths[n].read_bytes()
            paths[n].write_bytes(data[: int(len(data) * share)])
        return paths

    mutant.after.append(change)
    return f"file {n} to {share:.3f}"


def _foreign(mutant: Mutant, rng: random.Random) -> str:
    """A file that is no slide."""
    content = rng.choice((b"", b"hello", rng.randbytes(3000), bytes(128) + b"DICM" + bytes(50)))

    def change(paths: list[Path]) -> list[Path]:
        path = paths[0].with_name("foreign.dcm") if paths else None
        if path is None:
            return paths
        path.write_bytes(content)
        return [*paths, path]

    mutant.after.append(change)
    return f"of {len(content)} bytes"


def _scan_again(image: Image, pixels: Pixels, distinct: tuple[str, ...]) -> Image:
    """The level of a later scan of the slide, which lay a little elsewhere."""
    again = copy.deepcopy(image)
    again.pixels = pixels
    again.header.SOPInstanceUID = generate_uid(
        entropy_srcs=["again", str(image.header.get("SOPInstanceUID"))]
    )
    for keyword in distinct:
        if keyword == "AcquisitionDateTime":
            again.header.AcquisitionDateTime = "20260102130000"
        else:
            setattr(again.header, keyword, generate_uid(entropy_srcs=["again", keyword]))
    return again


def _moved(mutant: Mutant) -> tuple[Pixels, Pixels, np.ndarray]:
    """Both levels' pictures and the mask of the slide, moved by whole cells."""
    truth = mutant.truths[0]
    shift = (32, 64)
    pixels = np.roll(truth.pixels, shift, (0, 1))
    return (
        pixels,
        np.asarray(Picture.fromarray(pixels).reduce(STEP)),
        np.roll(truth.mask, shift, (0, 1)),
    )


_DISTINCT = (
    ("PyramidUID",), ("PyramidUID", "AcquisitionDateTime"), ("FrameOfReferenceUID", "PyramidUID"),
    ("PyramidUID", "SeriesInstanceUID"),
)  # fmt: skip


def _plain_levels(mutant: Mutant) -> tuple[Image, Image]:
    if mutant.variant not in ("full", "no table", "extended table") or mutant.steps:
        raise NotHere
    return mutant.slide.base, mutant.slide.lower


def _another_scan(mutant: Mutant, rng: random.Random) -> str:
    """A second scan beside the first, complete or without its lower level."""
    base, lower = _plain_levels(mutant)
    distinct = rng.choice(_DISTINCT)
    pixels, smaller, mask = _moved(mutant)
    made = [_scan_again(base, pixels, distinct), _scan_again(lower, smaller, distinct)]
    for image in made:
        image.encode()
    complete = rng.random() < 0.7
    mutant.slide.images += made if complete else made[:1]
    mutant.truths.append(Truth(pixels, mask))
    return f"with another {' and '.join(distinct)}, {'complete' if complete else 'its base only'}"


def _level_of_another_scan(mutant: Mutant, rng: random.Random) -> str:
    """The lower level is another scan's."""
    _, lower = _plain_levels(mutant)
    distinct = rng.choice(_DISTINCT)
    _, smaller, _ = _moved(mutant)
    again = _scan_again(lower, smaller, distinct)
    again.encode()
    keep_own = rng.random() < 0.5
    mutant.slide.images = [*mutant.slide.images[: 2 if keep_own else 1], again]
    return f"with another {' and '.join(distinct)}, beside {'its own' if keep_own else 'none'}"


def _label(mutant: Mutant, rng: random.Random) -> str:
    from letters import flavored

    flavor = rng.choice(("LABEL", "OVERVIEW", "THUMBNAIL", "LOCALIZER"))
    other = flavored(mutant.slide.base, flavor, n=9)
    how = rng.choice(("sound", "frames missing", "undecodable", "of another place"))
    if how == "frames missing":
        other.header.NumberOfFrames = 5
    elif how == "undecodable":
        other.frames = [b"\0\0\0\0"] * len(other.frames)
    elif how == "of another place":
        other.header.FrameOfReferenceUID = generate_uid(entropy_srcs=["elsewhere"])
    mutant.slide.images.append(other)
    return f"{flavor}, {how}"


def _copied(mutant: Mutant, rng: random.Random) -> str:
    """A level again under another SOP Instance UID."""
    image = rng.choice(mutant.slide.images)
    again = copy.deepcopy(image)
    again.header.SOPInstanceUID = generate_uid(entropy_srcs=["copied"])
    mutant.slide.images.append(again)
    return f"file {mutant.slide.images.index(image)}"


def _patient(mutant: Mutant, rng: random.Random) -> str:
    if len(mutant.slide.images) < 2:
        raise NotHere
    n = rng.randrange(len(mutant.slide.images))
    header = mutant.slide.images[n].header
    keyword, value = rng.choice((("PatientID", "G"), ("PatientName", "Gamma^G")))
    setattr(header, keyword, value)
    if not mutant.steps and header.ImageType[2] == "VOLUME":
        mutant.forbids_numbers = f"{keyword} differs between the files of the slide"
    return f"{keyword} of file {n}"
