"""The font files of what people read: Kurinto Sans, of the package `weblate-fonts`.

SIL Open Font License 1.1. One general file (Latin, Greek, Cyrillic, Hebrew, Arabic, Thai and more),
and one each for Japanese, Korean and both Chinese scripts.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_PACKAGE = "weblate_fonts"
_FOLDER = Path("static", _PACKAGE, "kurinto", "ttf")


class FontsMissing(Exception):
    """The package of the fonts is not installed; the message says what to do."""


def font_file(script: str = "", *, bold: bool = False) -> Path:
    """The file for a script: "" for the general one, or JP, KR, SC, TC. Raises FontsMissing."""
    name = f"KurintoSans{script}-{'Bd' if bold else 'Rg'}"
    found = find_spec(_PACKAGE)
    path = Path(found.origin).parent / _FOLDER / f"{name}.ttf" if found and found.origin else None
    if path is None or not path.is_file():
        raise FontsMissing(
            f"found no font {name} of the package weblate-fonts; expected what the node was "
            "installed with: install it again"
        )
    return path
