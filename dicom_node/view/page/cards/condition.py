"""The condition of a slide in words: what was found, in how much of it, and what follows."""

from __future__ import annotations

from html import escape

from dicom_node.view.page.markup import bar, note
from inference.types import Condition, Found

_LINES = (
    (
        "blurred",
        "Blurred",
        "Cells cannot be told apart there: their values may be wrong. Scan the slide again.",
        "Looked at in a sample that is spread evenly over the tiles.",
    ),
    (
        "folded",
        "Folded",
        "Tissue lies double there and looks denser than it is: its values may be too high or low.",
        "Narrow and pale folds and rolled edges are missed; dense epithelium may count.",
    ),
    (
        "inked",
        "Pen or black dirt",
        "Color that is no stain was analyzed with the tissue: look at these places yourself.",
        "Tiles wholly under pen of a color that no stain has were not analyzed.",
    ),
    (
        "bubbles",
        "Air bubbles",
        "Air under the cover slip bends the light there: its values may be wrong. Mount it again.",
        "Only closed round outlines are found: open, ragged or faint ones are missed.",
    ),
)
"""Field of Condition, its name for people, what it means for the result, what it is not."""
NOT_MEASURED = "not measured"


def condition_rows(condition: Condition | None) -> str:
    """Rows of an HTML table: a line for each of the four, whether or not it was measured."""
    return "".join(
        _row(name, getattr(condition, field, None), meaning, limits)
        for field, name, meaning, limits in _LINES
    )


def _row(name: str, found: Found | None, meaning: str, limits: str) -> str:
    said = [meaning, limits] if found is not None and found.tiles else [limits]
    return (
        f'<tr><th scope="row">{escape(name)}{_bar(name, found)}{note(" ".join(said))}</th>'
        f'<td class="words whole">{escape(told(found))}</td></tr>'
    )


def told(found: Found | None) -> str:
    """Such as: 12 % (1,151 of 9,589 tiles). Small shares are never shown as none."""
    if found is None or found.share is None:
        return NOT_MEASURED
    percent = 100 * found.share
    share = "under 1" if 0 < percent < 1 else "over 99" if 99 < percent < 100 else f"{percent:.0f}"
    return f"{share} % ({found.tiles:,} of {found.of:,} tiles)"


def _bar(name: str, found: Found | None) -> str:
    if found is None or found.share is None:
        return ""
    return bar(found.share, f"{name}: {told(found)}")
