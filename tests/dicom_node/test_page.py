from __future__ import annotations

import base64
import html
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from page_results import HOT, STRIDE, Results, refusal, save, write_results
from PIL import Image
from pydicom import Dataset, dcmread

from dicom_node.view.page.cards.condition import told
from dicom_node.view.page.identity import moment
from dicom_node.view.page.slide_page import write_page
from dicom_node.view.pictures import to_pixels
from dicom_node.view.reading import read_groups
from dicom_node.view.segments import heatmap
from dicom_node.view.table import report_as_json
from inference.slide.slide import open_slide
from inference.types import (
    Condition,
    Found,
    SlideGeometry,
)
from slides import (
    ComposedStudy,
    PhantomStudy,
    new_study_copy,
    without_spacing,
)


@pytest.fixture(scope="module")
def results(phantom_study: PhantomStudy, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return write_results(phantom_study, tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def page(
    phantom_study: PhantomStudy, results: Results, tmp_path_factory: pytest.TempPathFactory
) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_page(out, slide_paths=phantom_study.paths, seg_paths=[results.seg], sr_path=results.sr)
    return out.read_text(encoding="utf-8")


def _image(page: str, alt: str) -> np.ndarray:
    found = re.search(rf'src="data:image/\w+;base64,([^"]+)" alt="{alt}', page)
    assert found, f"no image {alt}"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))))


def test_the_heatmap_covers_the_analyzed_cells_and_nothing_else(
    page: str, phantom_study: PhantomStudy
) -> None:
    heat = _image(page, "Heatmap")
    height, width = heat.shape[:2]
    scale = width / 3072
    assert _image(page, "The slide").shape[:2] == (height, width)
    rows, cols = np.nonzero(heat[..., 3])
    box = np.array([rows.min(), rows.max() + 1, cols.min(), cols.max() + 1])
    assert box == pytest.approx(np.array([1, 4, 8, 11]) * STRIDE * scale, abs=1)
    hot = heat[..., 1] > 150  # yellow-green of the high values
    rows, cols = np.nonzero(hot & (heat[..., 3] > 0))
    assert rows.mean() == pytest.approx((HOT[0] + 0.5) * STRIDE * scale, abs=1)
    assert cols.mean() == pytest.approx((HOT[1] + 0.5) * STRIDE * scale, abs=1)


def test_boxes_and_outline_come_from_the_report_in_pixels_of_the_slide(page: str) -> None:
    assert 'viewBox="0 0 3072 2048"' in page
    top, left = HOT[0] * STRIDE, HOT[1] * STRIDE
    corners = f"{left},{top} {left + STRIDE},{top} {left + STRIDE},{top + STRIDE}"
    assert f'class="cell" points="{corners}' in page
    assert 'class="outline" points="1792,224 2464,224' in page


def test_a_top_patch_shows_the_pixels_of_its_cell(page: str, phantom_study: PhantomStudy) -> None:
    shown = _image(page, "Patch 1").astype(int)
    top, left = HOT[0] * STRIDE, HOT[1] * STRIDE
    drawn = phantom_study.phantom.pixels[top : top + STRIDE, left : left + STRIDE]
    beside = phantom_study.phantom.pixels[top : top + STRIDE, left + 24 : left + 24 + STRIDE]
    assert np.abs(shown - drawn).mean() < 10  # two generations of JPEG
    assert np.abs(shown - drawn).mean() < np.abs(shown - beside).mean() / 1.5


def test_the_table_holds_every_number_of_the_report(results: Results) -> None:
    table = {
        (group["group"], row["name"], row["value"], row["unit"])
        for group in report_as_json(dcmread(results.sr))
        for row in group["rows"]
    }

    assert ("slide 1", "Risk score", "1.23", "score") in table
    assert ("slide 1", "Percentile Ranking of measurement", "91", "%") in table
    assert ("slide 1", "1-year OS probability", "90", "%") in table
    assert ("slide 1", "3-year OS probability", "25", "%") in table
    assert ("slide 1", "Tissue analyzed", "4.5", "mm²") in table
    assert ("slide 1", "Intended use", "For Research", "") in table
    assert ("tumor top patch 1", "Heatmap value", "0.875", "") in table
    patches = [row for row in table if row[1] == "Heatmap value"]
    assert len(patches) == 2


def test_the_page_shows_the_numbers_of_the_report_and_its_caution(page: str) -> None:
    for text in (">1.23<", ">91<", ">25<", "mm²", "3-year OS probability", "not analyzed"):
        assert text in page
    assert "This slide is &lt;unlike&gt; the training slides." in page
    assert "<unlike>" not in page


def test_the_page_tells_when_the_report_was_made_with_its_zone(page: str) -> None:
    assert "<dt>Report made</dt><dd>2026-01-02 03:04 UTC</dd>" in page


@pytest.mark.parametrize(
    ("stated", "contributed", "shown"),
    [
        ("+0530", "20260102030405+0530", "2026-01-02 03:04 UTC+0530"),
        ("", "20260102030405+0000", "2026-01-02 03:04 UTC"),
        ("", "20260102030405", "2026-01-02 03:04"),
    ],
)
def test_a_zone_is_shown_only_where_the_report_tells_one(
    stated: str, contributed: str, shown: str
) -> None:
    sr, item = Dataset(), Dataset()
    sr.ContentDate, sr.ContentTime, sr.TimezoneOffsetFromUTC = "20260102", "030405", stated
    item.ContributionDateTime = contributed
    sr.ContributingEquipmentSequence = [item]
    assert moment(sr) == shown


def test_the_page_tells_the_condition_of_the_slide_in_four_lines(
    phantom_study: PhantomStudy, results: Results, tmp_path: Path
) -> None:
    out = write_page(
        tmp_path / "p.html",
        slide_paths=phantom_study.paths,
        seg_paths=[results.seg],
        sr_path=results.sr,
        condition=Condition(
            blurred=Found(24, 200), folded=Found(3, 9_589), inked=Found(0, 9_589), bubbles=None
        ),
    )
    page = out.read_text(encoding="utf-8")

    card = page[page.index("Condition of the slide") :]
    card = re.sub(r"<p.*?</p>", "", card[: card.index("</section>")])
    lines = re.findall(r'scope="row">([^<]+)<.*?"words whole">([^<]+)<', card)
    assert lines == [
        ("Blurred", "12 % (24 of 200 tiles)"),
        ("Folded", "under 1 % (3 of 9,589 tiles)"),
        ("Pen or black dirt", "0 % (0 of 9,589 tiles)"),
        ("Air bubbles", "not measured"),
    ]
    assert "Scan the slide again." in page
    assert "Mount it again." not in page


def test_a_condition_that_was_not_measured_is_never_shown_as_none_found(page: str) -> None:
    card = page[page.index("Condition of the slide") :]
    card = card[: card.index("</section>")]
    assert card.count("not measured") == 4
    assert "%" not in card


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "not measured"),
        (Found(0, 0), "not measured"),
        (Found(0, 200), "0 % (0 of 200 tiles)"),
        (Found(1, 200), "under 1 % (1 of 200 tiles)"),
        (Found(9_588, 9_589), "over 99 % (9,588 of 9,589 tiles)"),
        (Found(200, 200), "100 % (200 of 200 tiles)"),
    ],
)
def test_a_share_is_told_with_its_counts(found: Found | None, words: str) -> None:
    assert told(found) == words


def test_the_page_needs_nothing_but_itself(page: str) -> None:
    page = re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL)
    references = re.findall(r"(?:src|href|action)\s*=\s*[\"']?([^\"'\s>]{1,20})", page)
    assert len(references) >= 4
    assert all(r.startswith("data:image/") for r in references)
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'; img-src data:" in html.unescape(page)
    assert "$" not in re.sub(r"base64,[^\"]*", "", page)


def test_the_banner_says_drawn_of_a_drawn_slide_only(
    page: str, composed_study: ComposedStudy, tmp_path: Path
) -> None:
    assert "This slide is drawn; there is no patient." in page
    assert "predicts nothing about a patient" in page
    results = write_results(composed_study, tmp_path)
    out = write_page(
        tmp_path / "report.html",
        slide_paths=composed_study.paths,
        seg_paths=[results.seg],
        sr_path=results.sr,
    )
    composed = out.read_text(encoding="utf-8")
    assert "is drawn" not in composed
    assert "preliminary and unverified" in composed


def test_a_refusal_is_shown_with_its_reason_and_without_a_number(
    phantom_study: PhantomStudy, tmp_path: Path
) -> None:
    report = refusal(phantom_study)
    sr = save(report, tmp_path / "sr.dcm")
    out = tmp_path / "report.html"
    write_page(out, slide_paths=phantom_study.paths, sr_path=sr)
    page = out.read_text(encoding="utf-8")

    assert "No prediction" in page
    assert "No tissue found" in page
    assert "Found 0.01 mm² of tissue." in page
    assert "without a heatmap" in page
    assert 'class="value"' not in page


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        (
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            {
                "Patient": "Yamada, Tarou",
                "Patient (ideographic)": "山田 太郎",
                "Patient (phonetic)": "やまだ たろう",
            },
        ),
        ("=홍^길동", {"Patient (ideographic)": "홍 길동"}),
        (
            "Adams^John Robert Quincy^^Rev.^B.A.",
            {"Patient": "Adams, Rev. John Robert Quincy, B.A."},
        ),
        ("M�FCller^<b>", {"Patient": "M�FCller, &lt;b&gt;"}),
        (
            ["One^A", "Two^B=二"],
            {"Patient": "One, A</dd><dd>Two, B", "Patient (ideographic)": "二"},
        ),
        ("", {}),
    ],
)
def test_the_page_shows_a_name_in_its_parts(
    phantom_study: PhantomStudy, tmp_path: Path, name: str, facts: dict[str, str]
) -> None:
    report = refusal(phantom_study)
    report.PatientName = name
    out = write_page(
        tmp_path / "p.html",
        slide_paths=phantom_study.paths,
        sr_path=save(report, tmp_path / "sr.dcm"),
    )
    shown = re.findall(
        r"<dt>(Patient|Patient \([a-z]+\))</dt><dd>(.*?)</dd></div>", out.read_text("utf-8")
    )
    assert dict(shown) == facts


def test_a_slide_that_cannot_be_read_still_gives_a_page_with_the_report(
    phantom_study: PhantomStudy, tmp_path: Path
) -> None:
    sr = save(refusal(phantom_study), tmp_path / "sr.dcm")
    spoilt = without_spacing(phantom_study.folder, tmp_path / "spoilt")
    out = write_page(tmp_path / "p.html", slide_paths=spoilt, sr_path=sr)
    page = out.read_text(encoding="utf-8")

    assert "The slide cannot be shown." in page
    assert "No tissue found" in page


def test_a_heatmap_of_another_slide_is_refused(
    phantom_study: PhantomStudy, results: Results, tmp_path: Path
) -> None:
    other = new_study_copy(phantom_study.folder, tmp_path / "other", "other")
    with pytest.raises(ValueError, match="frame of reference"):
        write_page(
            tmp_path / "p.html", slide_paths=other, seg_paths=[results.seg], sr_path=results.sr
        )


def test_a_dataset_without_measurement_groups_is_no_report(phantom_study: PhantomStudy) -> None:
    with pytest.raises(ValueError, match="no measurement group"):
        read_groups(dcmread(phantom_study.paths[0], stop_before_pixels=True))


@pytest.mark.parametrize(
    "orientation", [(0, -1, 0, -1, 0, 0), (1, 0, 0, 0, -1, 0), (0.8, 0.6, 0, -0.6, 0.8, 0)]
)
def test_pixels_on_the_slide_and_back(orientation: tuple[float, ...]) -> None:
    geometry = SlideGeometry("1.2", 25.0, 50.0, orientation, 0.0005, 0.00025, 100, 200)
    points = np.array([[0, 0], [99.5, 3], [17, 200]], float)
    there = np.array([geometry.to_slide_mm(*p)[:2] for p in points])
    assert to_pixels(geometry, there) == pytest.approx(points)


def test_the_overlay_follows_the_origin_of_the_segmentation(
    phantom_study: PhantomStudy, results: Results
) -> None:
    """A heatmap that lies elsewhere is drawn elsewhere: nothing is stretched over the picture."""
    with open_slide(phantom_study.paths) as slide:
        geometry = slide.geometry
    shifted = replace(
        geometry,
        origin_x_mm=geometry.to_slide_mm(224, 448)[0],
        origin_y_mm=geometry.to_slide_mm(224, 448)[1],
    )
    here = heatmap(results.seg, geometry, (512, 768)).pixels[..., 3]
    there = heatmap(results.seg, shifted, (512, 768)).pixels[..., 3]
    assert np.array_equal(here[56:, 112:], there[:-56, :-112])
    assert here.any()
