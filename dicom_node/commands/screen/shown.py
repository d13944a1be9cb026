"""Lines for people at a terminal."""

from __future__ import annotations

from rich.text import Text

from dicom_node.observe.plain import plain


def shown(text: str, style: str = "") -> Text:
    """A line that holds what others have sent: nothing in it is markup, or an order to the
    terminal."""
    return Text("\n".join(map(plain, text.split("\n"))), style)
