"""Text from outside, made harmless for a terminal and for whoever reads line by line."""

from __future__ import annotations

from typing import Any


def plain(text: str) -> str:
    """The text with all escaped that does not print: `\\x1b` for ESC, `\\x0a` for a line end.

    Peers, headers and file names can hold what moves a cursor, colors a screen, turns the direction
    of writing, or fakes a line of the log.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(ord(c)) for c in text)


def plain_values(value: Any) -> Any:
    """The same for every text in a value of a log line."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain_values(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    return value


def _escaped(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
