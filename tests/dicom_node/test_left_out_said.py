"""Places without a tile are told by reason, with areas, the same in report, document and page."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from form_inputs import EDITS, predicted, slide_files
from pydicom import Dataset, dcmread
from pypdf import PdfReader
from result_inputs import PROVENANCE, STRIDE, manifest, to_bytes

from dicom_node.results import codes
from dicom_node.results.build import build_objects
from dicom_node.results.files import write
from dicom_node.results.making import Making
from dicom_node.results.sr.analyzed import left_out_of
from dicom_node.view.page.slide_page import write_page
from slides import PhantomStudy

FOUND = {"glass": 30, "edge": 5, "pen": 4, "fold": 1, "bubble": 2, "not-scanned": 3,
         "no-frames": 6, "not-read": 7}  # fmt: skip
NAMES = ("glass 30", "edge of tissue, less than 25% in them 5", "pen marks or black dirt 4",
         "folds 1", "air bubbles 2", "not scanned 3", "tissue that is not in the files 6",
         "pixels that could not be read or that levels contradict 7")  # fmt: skip


@pytest.fixture(scope="module")
def made(
    phantom_study: PhantomStudy, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Dataset], Path]:
    """Report and document of a slide with every reason, and the folder of the page."""
    folder = tmp_path_factory.mktemp("left-out")
    slide = slide_files(phantom_study.folder, folder / "slide", EDITS["latin"])
    source = dcmread(slide.base_path, stop_before_pixels=True)
    result = replace(predicted(source), left_out=FOUND)
    wanted = frozenset({"summary"})
    making = Making(source, result, manifest(), PROVENANCE, slide, 0, wanted=wanted)
    objects = {b.kind: dcmread(io.BytesIO(to_bytes(b.dataset))) for b in build_objects(making)}
    write(objects["report"], folder / "report.dcm")
    write_page(folder / "p.html", slide_paths=slide.paths, sr_path=folder / "report.dcm")
    return objects, folder


def said(report: Dataset) -> str:
    (text,) = [
        str(item.TextValue)
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == codes.SAID_LEFT_OUT.value
    ]
    return text


def test_the_report_counts_each_reason_with_its_area_and_the_sums_agree(made):
    objects, _ = made
    text = said(objects["report"])
    for name in NAMES:
        assert f"{name} (" in text
    whole = re.match(
        r"(\d+) of (\d+) places for a tile \(([\d.]+) mm2\): ([^.]*(?:\.\d[^.]*)*)", text
    )
    assert whole is not None, text
    parts = re.findall(r" (\d+) \(([\d.]+) mm2\)", whole[4])
    assert sum(int(count) for count, _ in parts) == int(whole[1]) == sum(FOUND.values())
    assert sum(float(mm2) for _, mm2 in parts) == pytest.approx(float(whole[3]), abs=0.02)
    side_mm = STRIDE * 0.0005
    assert float(whole[3]) == pytest.approx(int(whole[1]) * side_mm**2, rel=0.02)


def test_document_and_page_say_what_the_report_says(made):
    objects, folder = made
    sentence = said(objects["report"]).split(" Whether ")[0].replace(" mm2", " mm²")
    (sheet,) = PdfReader(io.BytesIO(objects["summary"].EncapsulatedDocument)).pages
    squeezed = "".join(sheet.extract_text().split())
    assert "".join(sentence.split()) in squeezed
    page = " ".join((folder / "p.html").read_text("utf-8").split())
    assert sentence in page
    assert re.findall(r"\d (?:um|mm2)\b", page + sheet.extract_text()) == []


def test_a_reason_that_nothing_was_left_out_for_is_not_told(made):
    source = dcmread(next((made[1] / "slide").glob("*.dcm")), stop_before_pixels=True)
    (text,) = left_out_of(replace(predicted(source), left_out={"edge": 2}))
    assert "glass" not in text
    assert text.startswith("2 of ")
