"""A slide large enough to be analyzed: three levels of drawn tissue."""

from __future__ import annotations

from pydicom.dataset import Dataset

from conformance.session import Session
from conformance.slides.encodings import EXPLICIT_VR_LE
from conformance.slides.objects import Level, Study, instance
from conformance.slides.picture import Pixels, half, tissue

_ROWS, _COLS, _MPP = 2048, 3072, 0.5


def pyramid(session: Session) -> list[Level]:
    """Levels at 0.5, 1 and 2 um per pixel, the same for every slide of a run."""

    def make() -> list[Level]:
        pixels: Pixels = tissue(_ROWS, _COLS, seed=7)
        levels = [Level(pixels, _MPP)]
        for index in (1, 2):
            above = levels[-1]
            levels.append(Level(half(above.pixels), above.mpp * 2, index))
        return levels

    return session.once("pyramid", make)


def slide(session: Session, study: Study) -> list[Dataset]:
    """New instances of all levels, in JPEG."""
    return [instance(study, level) for level in pyramid(session)]


def native(session: Session, study: Study) -> Dataset:
    """The highest level alone, uncompressed: what can be cut into a concatenation."""
    return instance(study, pyramid(session)[0], syntax=EXPLICIT_VR_LE)
