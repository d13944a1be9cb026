"""A name is read on the page at any desk, whatever fonts its machine has."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path

import pypdf
import pytest
import uharfbuzz as hb
from browser import chromium

from dicom_node.results.pdf.fonts import preferred
from dicom_node.view.page.letters import carried, fonts_of
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
def test_a_browser_draws_a_name_alone_in_the_letters_that_came_with_the_page(script, tmp_path):
    name = NAMES[script]
    main = f"<p id='name'>{name}</p>"
    page = write_sheet(tmp_path / "page.html", title="t", banner="b", running="r", main=main)
    with chromium(tmp_path / "chromium") as browser:
        browser.open(page)
        browser.screenshot(tmp_path / "page.png")  # drawn, so that fonts are looked for
        for _ in range(50):
            if set(states := browser.value("[...document.fonts].map(f => f.status)")) == {"loaded"}:
                break
            time.sleep(0.1)
        assert set(states) == {"loaded"}, states
        browser.call("DOM.enable")
        browser.call("CSS.enable")
        root = browser.call("DOM.getDocument")["root"]["nodeId"]
        node = browser.call("DOM.querySelector", nodeId=root, selector="#name")["nodeId"]
        fonts = browser.call("CSS.getPlatformFontsForNode", nodeId=node)["fonts"]
    from_elsewhere = sum(font["glyphCount"] for font in fonts if not font["isCustomFont"])
    assert any(font["isCustomFont"] for font in fonts)
    assert from_elsewhere <= sum(c not in letters(name) for c in name), fonts


def test_a_name_at_the_head_of_a_sheet_is_printed_in_letters_that_came_with_the_page(tmp_path):
    """It is not on the screen, and the page is printed as soon as it is there."""
    page = write_sheet(
        tmp_path / "page.html", title="t", banner="b", running=NAMES["korean"], main="<p>m</p>"
    )
    with chromium(tmp_path / "chromium") as browser:
        browser.open(page)
        (sheet,) = pypdf.PdfReader(browser.pdf(tmp_path / "page.pdf")).pages
    fonts = [str(f.get_object()["/BaseFont"]) for f in sheet["/Resources"]["/Font"].values()]
    assert any("KurintoSansKR" in font for font in fonts), fonts


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
