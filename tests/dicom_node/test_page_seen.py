"""The page as people meet it: on paper, on a phone, in the dark, with its controls.

Headless Chromium. The pictures stay in tests/output/page: look at them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from browser import Browser, chromium
from page_results import HOT, STRIDE, manifest, refusal, save, write_results
from PIL import Image
from pydicom import dcmread

from dicom_node.view.page.overview import SlideEntry, write_overview
from dicom_node.view.page.slide_page import write_page
from slides import PhantomStudy

OUTPUT = Path(__file__).parents[1] / "output" / "page"
NAME = "Hong^Gildong"
EVERY = ("whole", "refused", "maps", "overview")
PHONE = (390, 844)

CONTRASTS = """
(() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number)
  const light = ([r, g, b]) => [r, g, b]
    .map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0)
  const ground = e => {
    for (let at = e; at; at = at.parentElement) {
      const c = parse(getComputedStyle(at).backgroundColor)
      if (c.length < 4 || c[3] === 1) return c
    }
    return [255, 255, 255]
  }
  const found = []
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement
    if (!walker.currentNode.data.trim() || e.closest('svg, script') || !e.getClientRects().length)
      continue
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x)
    found.push([(a + 0.05) / (b + 0.05), walker.currentNode.data.trim().slice(0, 40)])
  }
  return found
})()
"""
LONGER = """(() => { for (let n = 0; n < 60; n++) document.querySelector('.card.result').
insertAdjacentHTML('beforeend', '<p>filled</p>'); return 0; })()"""
"""Sixty lines more in the result than a sheet has room for."""
CARDS = """
[...document.querySelectorAll('.card')].map(card => {
  const copy = card.cloneNode(true)
  copy.querySelectorAll('svg, .controls').forEach(e => e.remove())
  return copy.textContent.replace(/\\s/g, '')
})
"""


@pytest.fixture(scope="module")
def pages(phantom_study: PhantomStudy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report with two maps and a region, a refusal, a tumor map alone, and all three together."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    folder = tmp_path_factory.mktemp("objects")
    made, entries = {"objects": folder}, []

    def add(name: str, sr: Path, segs: tuple[Path, ...]) -> None:
        report = dcmread(sr)
        report.PatientName = NAME
        report.PatientID, report.PatientBirthDate, report.PatientSex = "P-0815", "19610302", "M"
        save(report, sr)
        made[name] = write_page(
            OUTPUT / f"{name}.html",
            slide_paths=phantom_study.paths,
            sr_path=sr,
            seg_paths=segs,
            back="overview.html",
        )
        entries.append(SlideEntry(f"{name}.html", phantom_study.paths, sr, segs))

    for name, student, region in (
        ("whole", manifest("tumor", "attention"), True),
        ("maps", manifest("tumor", scores=False), False),
    ):
        (folder / name).mkdir()
        results = write_results(phantom_study, folder / name, student, with_region=region)
        add(name, results.sr, results.segs)
    add("refused", save(refusal(phantom_study), folder / "refused.dcm"), ())
    missing = ["slide 4 is incomplete: 3 of 4 instances"]
    made["overview"] = write_overview(OUTPUT / "overview.html", entries, without=missing)
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="module")
def printed(browser: Browser, pages: dict[str, Path]) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Text and picture [H, W, 3] of every sheet of paper."""
    sheets = {}
    for name in EVERY:
        page = pages[name]
        browser.open(page)
        with pypdfium2.PdfDocument(browser.pdf(OUTPUT / f"{name}.pdf")) as pdf:
            sheets[name] = [
                (sheet.get_textpage().get_text_range(), np.asarray(sheet.render(scale=2).to_pil()))
                for sheet in pdf
            ]
        for number, (_, pixels) in enumerate(sheets[name], start=1):
            Image.fromarray(pixels).save(OUTPUT / f"{name}-paper-{number}.png")
    return sheets


def label_of(pages: dict[str, Path], number: int = 0) -> str:
    """Segment Label of a map of the whole report."""
    seg = dcmread(pages["objects"] / "whole" / f"seg-{number}.dcm", stop_before_pixels=True)
    return str(seg.SegmentSequence[0].SegmentLabel)


def squeezed(text: str) -> str:
    """Without white space: where a line breaks is not the same on paper."""
    return re.sub(r"[\s\ufffe\x02]", "", text)


def near(pixels: np.ndarray, color: tuple[int, int, int], within: int = 12) -> int:
    """How many pixels have nearly this color."""
    return int((np.abs(pixels[..., :3].astype(int) - color).max(-1) <= within).sum())


@pytest.mark.parametrize("name", EVERY)
def test_every_sheet_of_paper_says_whose_it_is_and_what_for(printed, name):
    sheets = printed[name]
    about = "4slides" if name == "overview" else "slidePHANTOM-A-1"
    assert len(sheets) >= (2 if name == "whole" else 1)
    for number, (text, _) in enumerate(sheets, start=1):
        text = squeezed(text)
        for expected in (
            "Researchonly.Notfordiagnosis", "Hong,Gildong|P-0815|born1961-03-02", about,
            "reportmade2026-01-0203:04UTC", f"Page{number}of{len(sheets)}",
        ):  # fmt: skip
            assert expected in text, (name, number)


def test_the_colors_of_the_legend_and_the_bars_are_printed(pages, printed):
    (sheet,) = [
        s
        for text, s in printed["whole"]
        if squeezed("Heatmap: " + label_of(pages)) in squeezed(text)
    ]
    assert near(sheet, (250, 231, 49)) > 60  # the yellow end; no tile is as high
    assert near(sheet, (33, 144, 141), 60) > 60
    (numbers,) = [s for text, s in printed["whole"] if "3-year OS probability" in text]
    assert near(numbers, (0x1F, 0x6F, 0x78)) > 300  # bars of the probabilities


@pytest.mark.parametrize("name", EVERY)
def test_no_card_is_torn_between_two_sheets(browser, pages, printed, name):
    browser.open(pages[name], 700)
    cards = browser.value(CARDS)
    sheets = [squeezed(text) for text, _ in printed[name]]
    assert len(cards) >= 3
    for card in cards:
        first, last = card[:12], card[-12:]
        assert any(first in sheet and last in sheet for sheet in sheets), (name, first, last)


def test_a_result_longer_than_a_sheet_begins_on_the_first_one(browser, pages):
    browser.open(pages["whole"])
    browser.value(LONGER)
    with pypdfium2.PdfDocument(browser.pdf(OUTPUT / "longer.pdf")) as pdf:
        sheets = [sheet.get_textpage().get_text_range() for sheet in pdf]
    filled = [n for n, text in enumerate(sheets) if "filled" in text]
    assert filled[0] == 0
    assert len(filled) > 1


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("whole", "td.value"), ("refused", ".caution b"), ("maps", ".result"), ("overview", "h2 a")],
)
def test_a_phone_shows_the_answer_first_and_nothing_wider_than_itself(browser, pages, name, wanted):
    browser.open(pages[name], *PHONE)
    browser.screenshot(OUTPUT / f"{name}-phone.png")
    browser.screenshot(OUTPUT / f"{name}-phone-first.png", whole=False)
    assert browser.value("document.documentElement.scrollWidth") == PHONE[0]
    place = f"document.querySelector('{wanted}').getBoundingClientRect()"
    assert browser.value(f"{place}.top") > 0
    if name != "maps":
        assert browser.value(f"{place}.bottom") < PHONE[1]
        return
    assert browser.value(f"{place}.top") < PHONE[1] / 2
    said = browser.value("document.querySelector('.result').innerText")
    assert "No score" in said


def test_a_phone_shows_the_report_before_the_pictures(browser, pages):
    tops = "['.report', '.which', '.map'].map(c => document.querySelector(c).offsetTop)"
    browser.open(pages["whole"], *PHONE)
    report, which, heat = browser.value(tops)
    assert report < which < heat
    browser.open(pages["whole"], 1280)
    report, which, heat = browser.value(tops)
    assert which < report == heat


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", EVERY)
def test_every_word_stands_out_from_its_ground(browser, pages, name, dark):
    browser.open(pages[name], dark=dark)
    browser.screenshot(OUTPUT / f"{name}-{'dark' if dark else 'light'}.png")
    contrasts = browser.value(CONTRASTS)
    assert len(contrasts) > 20
    assert min(contrasts)[0] >= 4.5, min(contrasts)
    ground = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", ground)[:3])) < 60) is dark


def test_nothing_is_asked_for_from_anywhere(browser, pages):
    for name in EVERY:
        page = pages[name]
        browser.open(page)
        own, *others = browser.requests
        assert own == page.resolve().as_uri()
        assert len(others) >= (0 if page.stem == "refused" else 2)
        assert all(address.startswith("data:image/") for address in others)


def test_a_script_that_came_with_the_data_would_not_run(browser, pages, tmp_path):
    page = tmp_path / "spoilt.html"
    text = pages["whole"].read_text("utf-8")
    page.write_text(text.replace("</main>", "<script>document.title = 'ran'</script></main>"))
    browser.open(page)
    assert browser.value("document.title") == "Slide PHANTOM-A-1"
    assert browser.value("document.documentElement.classList.contains('live')")


SHOWN = """
(async () => {
  const image = document.querySelector('.heat')
  await image.decode()
  const canvas = document.createElement('canvas')
  canvas.width = image.naturalWidth
  canvas.height = image.naturalHeight
  const context = canvas.getContext('2d')
  context.drawImage(image, 0, 0)
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data
  return data.filter((_, n) => n % 4 === 3 && data[n] > 0).length
})()
"""


def set_to(browser: Browser, selector: str, value: float) -> None:
    """Moves a slider, and waits for the picture that a script draws."""
    browser.value(
        "new Promise(done => {"
        f" const input = document.querySelector('{selector}');"
        " document.querySelector('.heat').addEventListener('load', done, { once: true });"
        f" input.value = {value}; input.dispatchEvent(new Event('input'));"
        " setTimeout(done, 3000) })"
    )


def test_the_threshold_hides_what_is_below_it_and_gives_it_back(browser, pages):
    browser.open(pages["whole"])
    all_tiles = browser.value(SHOWN)
    set_to(browser, "[data-sets=threshold]", 0.85)
    assert browser.value("document.querySelector('output').value") == "0.85"
    assert browser.value(SHOWN) == pytest.approx(all_tiles / 9, rel=0.02)  # one tile of nine
    set_to(browser, "[data-sets=threshold]", 0.9)
    assert browser.value(SHOWN) == 0
    set_to(browser, "[data-sets=threshold]", 0)
    assert browser.value(SHOWN) == all_tiles


def test_opacity_and_layers_can_be_switched(browser, pages):
    browser.open(pages["whole"])
    browser.value(
        "(() => { const slider = document.querySelector('[data-sets=opacity]');"
        "slider.value = 25; slider.dispatchEvent(new Event('input')) })()"
    )
    assert browser.value("getComputedStyle(document.querySelector('.heat')).opacity") == "0.25"
    for layer in ("boxes", "outlines", "regions"):
        visible = f"document.querySelector('.map .{layer}').getClientRects().length > 0"
        assert browser.value(visible), layer
        browser.value(f"document.querySelector('.map [data-shows={layer}]').click()")
        assert not browser.value(visible), layer


def test_the_region_is_drawn_around_the_tiles_that_are_in_it(browser, pages):
    browser.open(pages["whole"])
    box = browser.value(
        "(() => { const b = document.querySelector('.region').getBBox();"
        " return [b.y, b.x, b.height, b.width] })()"
    )
    assert box == [HOT[0] * STRIDE, HOT[1] * STRIDE, STRIDE, STRIDE]
    said = browser.value("document.querySelector('.map').innerText")
    assert "Tumor, tiles at or above 0.5, 0.0125 mm²" in said  # (224 x 0.5 um) squared


def test_where_a_model_looked_is_a_map_of_its_own(browser, pages):
    browser.open(pages["whole"])
    cards = browser.value(
        "[...document.querySelectorAll('.map')].map(map => [map.querySelector('h2').innerText,"
        " map.innerText.includes('It is no finding'), map.querySelectorAll('.region').length])"
    )
    assert cards == [
        [f"Heatmap: {label_of(pages)}", False, 1],
        [f"Where the model looked: {label_of(pages, 1)}", True, 0],
    ]


def test_the_scale_bar_is_as_long_as_it_says(browser, pages):
    browser.open(pages["whole"])
    width, text = browser.value(
        "(() => { const bar = document.querySelector('.scale-bar');"
        " return [bar.querySelector('rect').getBBox().width, bar.textContent] })()"
    )
    assert text == "200 µm"
    assert width == pytest.approx(200 / 0.5, rel=0.01)


def test_the_slides_of_a_study_and_the_page_over_them_link_to_each_other(browser, pages):
    browser.open(pages["overview"])
    links = browser.value("[...document.querySelectorAll('h2 a')].map(a => a.href)")
    assert sorted(links) == sorted(
        pages[n].resolve().as_uri() for n in ("maps", "refused", "whole")
    )
    said = browser.value("document.body.innerText")
    assert "No prediction" in said
    assert "slide 4 is incomplete: 3 of 4 instances" in said
    browser.open(pages["whole"])
    back = browser.value("document.querySelector('.back').href")
    assert back == pages["overview"].resolve().as_uri()
