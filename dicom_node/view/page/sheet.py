"""The whole HTML file around the cards: style, script, banner, and the head of a printed page."""

from __future__ import annotations

import base64
import hashlib
from html import escape, unescape
from importlib import resources
from pathlib import Path
from string import Template

from dicom_node.view.page.letters import carried

_FOLDER = "dicom_node.view.page"


def write_sheet(out: Path, *, title: str, banner: str, running: str, main: str) -> Path:
    """Writes one file that needs nothing but itself; `main` is HTML, the others are texts.

    `banner` and `running` (patient and slide) stand on every page that is printed. The page may
    load nothing from anywhere and runs no script but its own (Content Security Policy). Letters
    that a machine may lack come with it.
    """
    script = _read("controls.js")
    fonts = carried(title + banner + running + unescape(main))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        f"{'; font-src data:' if fonts else ''}"
    )
    page = Template(_read("sheet.html")).substitute(
        title=escape(title),
        policy=escape(policy),
        style=fonts + _read("sheet.css"),
        script=script,
        banner=escape(banner),
        running=escape(running),
        main=main,
    )
    out.write_text(page, encoding="utf-8")
    return out


def _read(name: str) -> str:
    return resources.files(_FOLDER).joinpath(name).read_text("utf-8")
