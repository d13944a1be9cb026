"""Text that others chose, as a terminal may show it."""

from __future__ import annotations


def plain(text: str) -> str:
    """The text with everything escaped that is no visible character: a title or a name in a header
    must not move the cursor, color the screen, turn the direction of writing or begin a line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
