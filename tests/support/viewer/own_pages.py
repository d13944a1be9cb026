"""Pictures of what the node shows by itself: its pages on a screen, a phone and paper, and the
document and the drawn picture that it sends."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pypdfium2
from browser import Browser
from PIL import Image
from pydicom import dcmread
from viewer_studies import SeenStudy

from dicom_node.results import kinds
from dicom_node.view.page.study import StudyPages

PHONE = (390, 844)


def take(browser: Browser, study: SeenStudy, folder: Path) -> list[Path]:
    """Writes the pages of a study as `analyze` does, and the pictures; returns these."""
    written = []
    for page in _pages(study, folder):
        name = f"page-{page.parent.name}"
        browser.open(page)
        written.append(browser.screenshot(folder / f"{name}.png"))
        browser.open(page, *PHONE)
        written.append(browser.screenshot(folder / f"{name}-phone.png", whole=False))
        browser.open(page)
        written += _sheets(browser.pdf(folder / f"{name}.pdf").read_bytes(), folder / name)
    for slide, made in study.objects.items():
        if kinds.SUMMARY.name in made:
            document = dcmread(made[kinds.SUMMARY.name]).EncapsulatedDocument
            written += _sheets(document, folder / f"summary-{slide}")
        if kinds.CAPTURE.name in made:
            written.append(folder / f"capture-{slide}.png")
            Image.fromarray(dcmread(made[kinds.CAPTURE.name]).pixel_array).save(written[-1])
    return written


def _pages(study: SeenStudy, folder: Path) -> Iterator[Path]:
    """One a slide, and one over several."""
    pages = StudyPages(folder / "study", len(study.slides))
    for name, slide in study.slides.items():
        made = study.objects[name]
        if kinds.REPORT.name in made:
            (folder / name).mkdir(exist_ok=True)
            report = made[kinds.REPORT.name]
            yield pages.add(folder / name, slide.paths, report, made.values(), None)
    overview = pages.over_all([])
    if overview is not None:
        yield overview


def _sheets(document: bytes, base: Path) -> list[Path]:
    """A picture of each sheet."""
    written = []
    with pypdfium2.PdfDocument(BytesIO(document)) as pdf:
        for number, sheet in enumerate(pdf, start=1):
            written.append(base.with_name(f"{base.name}-sheet-{number}.png"))
            sheet.render(scale=1.5).to_pil().save(written[-1])
    return written
