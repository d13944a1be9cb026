"""Pieces of HTML; every text is escaped here and nowhere else is it forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

Named = tuple[str, str]


def card(heading: str, body: str, css: str = "") -> str:
    """A section with a heading; `body` is HTML."""
    return f'<section class="card {css}"><h2>{escape(heading)}</h2>{body}</section>'


def facts(pairs: Iterable[Named], css: str = "facts") -> str:
    """A list of names and all that is said under each; those without a value are left out."""
    named: dict[str, list[str]] = {}
    for name, value in pairs:
        if value:
            named.setdefault(name, []).append(f"<dd>{escape(value)}</dd>")
    shown = "".join(
        f"<div><dt>{escape(name)}</dt>{''.join(values)}</div>" for name, values in named.items()
    )
    return f'<dl class="{css}">{shown}</dl>' if shown else ""


def sentences(texts: Iterable[str]) -> str:
    """A list of sentences; empty where there is none."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def note(text: str) -> str:
    """A small line; empty for an empty text."""
    return f'<p class="note">{escape(text)}</p>' if text else ""


def bar(share: float, label: str) -> str:
    """A share in [0, 1] as vector graphics, which printers keep; `label` is for who cannot see."""
    width = 100 * min(max(share, 0.0), 1.0)
    return (
        f'<svg class="share" viewBox="0 0 100 4" preserveAspectRatio="none" role="img">'
        f"<title>{escape(label)}</title>"
        '<rect class="rest" width="100" height="4"/>'
        f'<rect class="part" width="{width:.1f}" height="4"/></svg>'
    )
