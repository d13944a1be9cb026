"""A name is read on the page at any desk, whatever fonts its machine has."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
import uharfbuzz as hb
from browser import chromium

from dicom_node.results.pdf.fonts import preferred
from dicom_node.view.page.letters import FAMILY, carried, fonts_of
from dicom_node.view.page.sheet import write_sheet

NAMES = {
    "japanese": "山田 太郎 · やまだ たろう",
    "halfwidth": "ﾔﾏﾀﾞ 山田",
    "korean": "洪 吉洞 · 홍 길동",
    "chinese": "王 小明",
    "traditional": "張 國榮",
    "arabic": "محمد علي",
    "hebrew": "שרה כהן",
    "thai": "สมชาย",
}


def letters(text: str) -> set[str]:
    return {c for c in text if ord(c) > 0x590}


def carried_letters(css: str) -> set[str]:
    """Letters for which a font in the style has a shape with lines."""
    found = set()
    for data, ranges in re.findall(r"base64,([^)]+)\); unicode-range: ([^;]+);", css):
        font = hb.Font(hb.Face(base64.b64decode(data)))
        for place in ranges.split(", "):
            code = int(place[2:], 16)
            glyph = font.get_nominal_glyph(code)
            extents = font.get_glyph_extents(glyph) if glyph else None
            if extents and extents.width:
                found.add(chr(code))
    return found


@pytest.mark.parametrize("script", NAMES)
def test_each_letter_of_a_name_comes_with_the_page_and_is_small(script):
    css = carried(f"Patient {NAMES[script]}")
    assert carried_letters(css) == letters(NAMES[script])
    assert len(css) < 20_000


@pytest.mark.parametrize("script", ["japanese", "halfwidth", "korean", "chinese", "traditional"])
def test_a_character_is_drawn_as_in_the_summary(script):
    """In the font of the same country, of the several that have it."""
    order = [s for s, _ in fonts_of(letters(NAMES[script]))]
    wanted = [s for s in preferred(NAMES[script]) if s in order]
    assert order == wanted
    country = {"japanese": "JP", "halfwidth": "JP", "korean": "KR"}.get(script)
    assert country is None or country in order


def test_a_page_of_european_letters_carries_none_and_allows_no_font(tmp_path):
    text = "Jérôme Μαρία Иван ≥ 0.5 µm² · × → …"
    assert carried(text) == ""
    page = write_sheet(tmp_path / "page.html", title="t", banner="b", running="r", main=text)
    assert "font-src" not in page.read_text("utf-8")


def test_a_letter_that_no_font_has_is_left_to_the_machine():
    assert carried("\ue123") == ""


@pytest.mark.parametrize("script", NAMES)
def test_a_browser_without_such_fonts_draws_the_name_and_no_boxes(script, tmp_path):
    name = NAMES[script]
    page = write_sheet(
        tmp_path / "page.html",
        title=name, banner="Research only", running=name, main=f"<p id='name'>{name}</p>",
    )  # fmt: skip
    with chromium(tmp_path / "chromium") as browser:
        browser.open(page)
        browser.value("document.fonts.ready.then(() => 0)")
        states = browser.value("[...document.fonts].map(f => [f.family, f.status])")
        browser.call("DOM.enable")
        browser.call("CSS.enable")
        root = browser.call("DOM.getDocument")["root"]["nodeId"]
        node = browser.call("DOM.querySelector", nodeId=root, selector="#name")["nodeId"]
        fonts = browser.call("CSS.getPlatformFontsForNode", nodeId=node)["fonts"]
    assert states
    assert all(FAMILY in family and status == "loaded" for family, status in states)
    own = sum(font["glyphCount"] for font in fonts if font["isCustomFont"])
    machine = {font["familyName"] for font in fonts if not font["isCustomFont"]}
    assert own > 0 or machine - {"DejaVu Sans"}, fonts  # or the machine has letters of its own
    assert not [f for f in fonts if "LastResort" in f["familyName"]]


def test_nothing_is_asked_for_from_elsewhere(tmp_path):
    page = write_sheet(
        tmp_path / "page.html", title="t", banner="b", running="r", main=NAMES["japanese"]
    )
    with chromium(tmp_path / "chromium") as browser:
        browser.open(page)
        browser.value("document.fonts.ready.then(() => 0)")
        assert all(a.startswith(("file:", "data:")) for a in browser.requests)


def test_a_name_written_in_entities_is_carried_too(tmp_path: Path):
    main = "<p>&#23665;&#30000;</p>"  # 山田
    page = write_sheet(tmp_path / "page.html", title="t", banner="b", running="r", main=main)
    assert carried_letters(page.read_text("utf-8")) == set("山田")
