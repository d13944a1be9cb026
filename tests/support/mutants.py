"""Mutants of a drawn slide: each a function of its number, so that one number replays it.

A mutant is a variant of the slide (coding, tiling, offset table) and one to three steps. What a
step changes of the truth it says itself; where nobody could know the truth any more, it names why
in `unknowable`, and only the rest of the oracle holds (no traceback, no death, time, memory):

- Bytes of frames that were changed and still decode without a complaint are another picture; so
  are frames in each other's place. The truth moves with them (as an independent strict decoder
  sees them). Changed tables and headers of a coded frame give it colors of their own.
- A scale that is stated in one place only, or that was changed in both places where it is stated.
- Which of two frames has which position, where both are on the grid: the positions in millimeters
  are often not kept up by those who write them, so nothing contradicts. The same
  goes for rows and columns that were swapped where there are as many of either.
- What stood between the segments of a coded frame: a decoder passes such bytes over.
- Tissue that is in none of the levels that were left to compare.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import imagecodecs
import numpy as np
from letters import Drawn, Pixels, Truth, drawn
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)

AfterSaving = Callable[[list[Path]], list[Path]]


@dataclass
class Mutant:
    """A slide that was changed, and what is true of it now."""

    number: int
    slide: Drawn
    variant: str
    steps: list[str] = field(default_factory=list)
    truths: list[Truth] = field(default_factory=list)
    """Any of them is right."""
    drawn_pixels: Pixels | None = None
    """What was drawn, before any step."""
    broken: set[tuple[int, int]] = field(default_factory=set)
    """(image, frame) that no strict decoder accepts."""
    unknowable: str = ""
    """Why nobody can know whether a number is right."""
    forbids_numbers: str = ""
    """Why no number may leave at all."""
    after: list[AfterSaving] = field(default_factory=list)
    """Changes of the written files."""

    def save(self, folder: Path) -> list[Path]:
        """Its files."""
        paths = self.slide.save(folder)
        for change in self.after:
            paths = change(paths)
        return paths

    def moved(self, pixels: Pixels | None = None, mask: np.ndarray | None = None) -> None:
        """Another picture, or another view of the mask, in every truth."""
        self.truths = [
            replace(
                truth,
                pixels=truth.pixels if pixels is None else pixels,
                mask=truth.mask if mask is None else mask,
                has_outline=truth.has_outline and mask is None,
            )
            for truth in self.truths
        ]


_TRIES = 12
"""To find a step that a variant has a place for."""
Step = Callable[[Mutant, random.Random], str]
"""Changes a mutant and says what it did."""


@cache
def variants() -> dict[str, Drawn]:
    """Sound slides to start from; each mutant takes a copy."""
    found = {name: drawn(levels=1 if name == "one level" else 2) for name in _VARIANTS}
    for name, change in _VARIANTS.items():
        change(found[name])
    return found


def make(number: int, families: dict[str, dict[str, Step]]) -> Mutant:
    """The mutant of that number, of these families of steps."""
    rng = random.Random(number)
    variant = rng.choice(list(_VARIANTS))
    slide = variants()[variant].copy()
    mutant = Mutant(number, slide, variant, truths=[slide.truth], drawn_pixels=slide.truth.pixels)
    wanted = rng.choices((1, 2, 3), (70, 22, 8))[0]
    for _ in range(_TRIES):
        if len(mutant.steps) == wanted:
            break
        family = rng.choice(list(families.values()))
        name = rng.choice(list(family))
        try:
            mutant.steps.append(f"{name}: {family[name](mutant, rng)}")
        except NotHere:
            continue
    _close(mutant)
    return mutant


def _close(mutant: Mutant) -> None:
    """What several steps together leave open: which level gives the mask."""
    if len(mutant.steps) < 2:
        return
    mutant.truths += [
        Truth(t.pixels, colored(t.pixels), has_outline=False)
        for t in mutant.truths
        if not t.has_outline or t.pixels is not mutant.drawn_pixels
    ]
    if any("the count follows" in step for step in mutant.steps):
        mutant.unknowable = "tissue that may be in no level that is left to compare"


def colored(pixels: Pixels) -> np.ndarray:
    """Where a picture of these slides shows color."""
    return np.asarray(pixels.max(2).astype(int) - pixels.min(2) > 30)


class NotHere(Exception):
    """A step that this variant, or an earlier step, has no place for."""


def _sparse(slide: Drawn) -> None:
    rng = np.random.default_rng(5)
    for image in slide.images:
        image.keep([int(n) for n in rng.permutation(len(image.frames))])
        image.state_positions()


def _agreeing(slide: Drawn) -> None:
    for image in slide.images:
        image.state_positions("TILED_FULL")


def _jpeg_2000(slide: Drawn) -> None:
    for image in slide.images:
        image.encode(
            lambda tile: bytes(
                imagecodecs.jpeg2k_encode(tile, level=0, codecformat="j2k", mct=True)
            ),
            syntax=JPEG2000Lossless,
            photometric="YBR_RCT",
        )


def _native(slide: Drawn) -> None:
    for image in slide.images:
        image.encode(lambda tile: tile.tobytes(), syntax=ExplicitVRLittleEndian, photometric="RGB")


def _implicit(slide: Drawn) -> None:
    _native(slide)
    for image in slide.images:
        image.syntax = ImplicitVRLittleEndian


def _concatenated(slide: Drawn) -> None:
    """The base level in two parts."""
    whole = slide.base
    made = []
    for n, (first, stop) in enumerate(((0, 13), (13, len(whole.frames)))):
        part = Drawn([whole], slide.truth).copy().base
        part.keep(list(range(first, stop)))
        part.header.SOPInstanceUID = generate_uid(entropy_srcs=["part", str(n)])
        part.header.ConcatenationUID = generate_uid(entropy_srcs=["concatenation"])
        part.header.SOPInstanceUIDOfConcatenationSource = whole.header.SOPInstanceUID
        part.header.InConcatenationNumber = n + 1
        part.header.InConcatenationTotalNumber = 2
        part.header.ConcatenationFrameOffsetNumber = first
        made.append(part)
    slide.images = [*made, slide.lower]


def _tabled(table: str) -> Callable[[Drawn], None]:
    def change(slide: Drawn) -> None:
        for image in slide.images:
            image.table = table

    return change


def _untouched(slide: Drawn) -> None:
    """As it is drawn."""


_VARIANTS: dict[str, Callable[[Drawn], None]] = {
    "full": _untouched,
    "one level": _untouched,
    "sparse": _sparse,
    "agreeing": _agreeing,
    "JPEG 2000": _jpeg_2000,
    "native": _native,
    "implicit": _implicit,
    "concatenation": _concatenated,
    "no table": _tabled("empty"),
    "extended table": _tabled("extended"),
}
