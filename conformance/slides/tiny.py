"""Instances for cases that ask how one is received: as small as a slide can be."""

from __future__ import annotations

from pydicom.dataset import Dataset

from conformance.session import Session
from conformance.slides.encodings import EXPLICIT_VR_LE
from conformance.slides.objects import Edit, Level, Study, instance
from conformance.slides.picture import tissue

_SIDE = 64


def study(session: Session) -> Study:
    """The one study of all of them: a run leaves one test study, not a hundred."""
    return session.once("tiny study", Study)


def tiny(session: Session, *, syntax: str = EXPLICIT_VR_LE, edit: Edit | None = None) -> Dataset:
    """A new instance of that study, 64 x 64 pixels in four frames."""
    pixels = session.once("tiny pixels", lambda: tissue(_SIDE, _SIDE, seed=1))
    return instance(study(session), Level(pixels, 0.5), tile=32, syntax=syntax, edit=edit)
