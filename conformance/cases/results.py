"""What comes back for a slide: whole, of the right study and patient, and valid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from pydicom.dataset import Dataset

from conformance.case import Case, Need
from conformance.peers import dcmtk
from conformance.peers.exchange import exchange, pacs_of, send
from conformance.session import Session
from conformance.verdicts import NotApplicable, expect, expect_equal
from conformance.wire.connection import associated

_NEEDS = frozenset({Need.STORE, Need.RESULTS})
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_COPIED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID",
    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


def _objects(session: Session) -> list[Dataset]:
    return [r.dataset for r in exchange(session).received]


def _come(session: Session) -> None:
    found = exchange(session)
    expect(found.report, found="no report", expected="a report")
    expect(found.heatmap, found="no Segmentation", expected="a Segmentation")


def _one_set(session: Session) -> None:
    found = exchange(session)
    uids = [d.SOPInstanceUID for d in _objects(session)]
    expect_equal(len(uids), len(set(uids)), "objects:")
    expect(found.report, found="no report", expected="one")


def _copied(session: Session, keyword: str) -> None:
    sent = exchange(session).sent[0]
    for dataset in _objects(session):
        is_same = dataset.get(keyword) == sent.get(keyword)
        expect(is_same, found=f"another {keyword} in {dataset.Modality}", expected="as it was sent")


def _own_series(session: Session) -> None:
    found = exchange(session)
    series = {d.SeriesInstanceUID for d in _objects(session)}
    expect(found.study.series_uid not in series, found="the series of the slide", expected="new")
    by_class = {(d.SOPClassUID, d.SeriesInstanceUID) for d in _objects(session)}
    expect_equal(len({s for _, s in by_class}), len(by_class), "series for classes:")


def _valid_uids(session: Session) -> None:
    for dataset in _objects(session):
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            uid = str(dataset.get(keyword, ""))
            is_valid = len(uid) <= 64 and _UID.fullmatch(uid)
            expect(is_valid, found=f"an illegal {keyword}", expected="PS3.5 9.1")


def _own_equipment(session: Session) -> None:
    sent = exchange(session).sent[0]
    for dataset in _objects(session):
        is_other = dataset.get("Manufacturer") and dataset.Manufacturer != sent.Manufacturer
        expect(is_other, found="the manufacturer of the scanner, or none", expected="its own")


def _says_who(session: Session) -> None:
    names = {(r.class_uid, r.version_name) for r in exchange(session).received}
    expect_equal(len(names), 1, "implementations:")
    with associated(session) as (wire, accepted):
        accepting = tuple(accepted.user_items.get(kind, [b""])[0].decode() for kind in (0x52, 0x55))
        wire.release()
    expect_equal(names, {accepting}, "as requestor")


def _root(session: Session) -> None:
    report = exchange(session).report
    template = report.ContentTemplateSequence[0]
    named = (template.MappingResource, template.TemplateIdentifier)
    expect_equal(named, ("DCMR", "1500"), "root template")
    code = report.ConceptNameCodeSequence[0]
    expect_equal((code.CodeValue, code.CodingSchemeDesignator), ("126000", "DCM"), "title")


def _flags(session: Session) -> None:
    report = exchange(session).report
    expect_equal(report.get("CompletionFlag"), "COMPLETE", "Completion Flag")
    expect_equal(report.get("VerificationFlag"), "UNVERIFIED", "Verification Flag")


def _device_observer(session: Session) -> None:
    concepts = {c.CodeValue for c in _concepts(exchange(session).report)}
    expect("121012" in concepts, found="no Device Observer UID", expected="TID 1004")


def _cites_input(session: Session) -> None:
    found = exchange(session)
    sent = {str(d.SOPInstanceUID) for d in found.sent}
    made = {str(d.SOPInstanceUID) for d in _objects(session)}
    cited = {str(u) for u in _referenced(found.report)}
    expect(cited & sent, found="no instance of the slide cited", expected="those it was made of")
    strange = cited - sent - made
    expect(not strange, found=f"{len(strange)} instances nobody knows", expected="only known ones")


def _same_frame_of_reference(session: Session) -> None:
    found = exchange(session)
    uid = found.heatmap.get("FrameOfReferenceUID")
    expect_equal(uid, found.study.frame_of_reference_uid, "Frame of Reference UID")


def _automatic(session: Session) -> None:
    for segment in exchange(session).heatmap.SegmentSequence:
        expect_equal(segment.SegmentAlgorithmType, "AUTOMATIC", "Segment Algorithm Type")


def _frames(session: Session) -> None:
    """TILED_FULL arithmetic (PS3.3 C.7.6.17.3), or a functional group for each frame."""
    heatmap = exchange(session).heatmap
    expected = len(heatmap.get("PerFrameFunctionalGroupsSequence", []))
    if heatmap.get("DimensionOrganizationType") == "TILED_FULL":
        down = -(-heatmap.TotalPixelMatrixRows // heatmap.Rows)
        across = -(-heatmap.TotalPixelMatrixColumns // heatmap.Columns)
        expected = down * across * len(heatmap.SegmentSequence)
    expect_equal(int(heatmap.NumberOfFrames), expected, "frames")


def _over_the_slide(session: Session) -> None:
    """Its matrix covers tissue and does not reach farther than one of its pixels beyond."""
    found = exchange(session)
    heatmap, slide = found.heatmap, found.sent[0]
    spacing = heatmap.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    height = heatmap.TotalPixelMatrixRows * float(spacing[0])
    width = heatmap.TotalPixelMatrixColumns * float(spacing[1])
    fits = height <= slide.ImagedVolumeHeight + float(spacing[0])
    fits = fits and width <= slide.ImagedVolumeWidth + float(spacing[1])
    extent = f"{slide.ImagedVolumeHeight:.3f} x {slide.ImagedVolumeWidth:.3f} mm"
    expect(fits, found=f"{height:.3f} x {width:.3f} mm", expected=f"within {extent}")
    expect(height * width > 0, found="no extent", expected="some")


def _readable(session: Session) -> None:
    heatmap = exchange(session).heatmap
    pixels = heatmap.pixel_array
    expect_equal(pixels.shape[-2:], (heatmap.Rows, heatmap.Columns), "rows and columns")
    if not pixels.any():
        raise NotApplicable("the Segmentation says that nothing was found: it holds zeros alone")


def _validated(session: Session, name: str) -> None:
    found = exchange(session)
    errors = dcmtk.validator_errors(found.report if name == "report" else found.heatmap)
    said = f"{len(errors)} errors, the first: {errors[0]}" if errors else "none"
    expect(not errors, found=said, expected="no errors of dciodvfy")


def _again(session: Session) -> None:
    """The whole study once more makes nothing new."""
    found = exchange(session)
    send(session, found.sent)
    quiet = pacs_of(session).quiet(found.study.uid, session.quiet_s)
    expect(quiet, found="more results for the same study", expected="none")


def _concepts(item: Dataset) -> Iterator[Dataset]:
    """Concept names of a content tree."""
    yield from item.get("ConceptNameCodeSequence", [])
    for child in item.get("ContentSequence", []):
        yield from _concepts(child)


def _referenced(item: Dataset) -> Iterator[str]:
    """Referenced SOP Instance UIDs anywhere in an object."""
    for element in item:
        if element.keyword == "ReferencedSOPInstanceUID":
            yield str(element.value)
        elif element.VR == "SQ":
            for child in element.value:
                yield from _referenced(child)


CASES = (
    Case("results.come", "PS3.4 B.2.1", "A report and a Segmentation come back", _come, _NEEDS),
    Case("results.one-set", "PS3.4 B.2.1", "They come once: one report, no UID twice", _one_set,
         _NEEDS),
    *(
        Case(f"results.{keyword}", "PS3.3 A.35.13", f"{keyword} is as it was sent",
             partial(_copied, keyword=keyword), _NEEDS)
        for keyword in _COPIED
    ),
    Case("results.series", "PS3.3 C.7.3.1", "Results are in new series, one for each class",
         _own_series, _NEEDS),
    Case("results.uids", "PS3.5 9.1", "UIDs are legal", _valid_uids, _NEEDS),
    Case("results.equipment", "PS3.3 C.7.5.1", "The equipment is not the scanner",
         _own_equipment, _NEEDS),
    Case("results.implementation", "PS3.7 D.3.3.2",
         "As requestor it states the same implementation as when it accepts", _says_who, _NEEDS),
    Case("results.root", "PS3.16 TID 1500", "The report is a Measurement Report", _root, _NEEDS),
    Case("results.flags", "PS3.3 C.17.2", "The report is complete and unverified", _flags, _NEEDS),
    Case("results.observer", "PS3.16 TID 1004", "The report says which device observed",
         _device_observer, _NEEDS),
    Case("results.cites", "PS3.3 C.17.2.3", "The report cites the slide, and nothing unknown",
         _cites_input, _NEEDS),
    Case("results.frame-of-reference", "PS3.3 C.7.4.1", "The Segmentation is where the slide is",
         _same_frame_of_reference, _NEEDS),
    Case("results.automatic", "PS3.3 C.8.20.2", "Segments are of an automatic algorithm",
         _automatic, _NEEDS),
    Case("results.frames", "PS3.3 C.7.6.17.3", "The Segmentation has the frames it must have",
         _frames, _NEEDS),
    Case("results.extent", "PS3.3 C.8.12.4", "The Segmentation reaches no farther than the slide",
         _over_the_slide, _NEEDS),
    Case("results.pixels", "PS3.5 8.2", "The Segmentation can be decoded and holds values",
         _readable, _NEEDS),
    *(
        Case(f"results.valid-{name}", "PS3.3 A", f"dciodvfy finds no error in the {name}",
             partial(_validated, name=name), _NEEDS)
        for name in ("report", "heatmap")
    ),
    Case("results.again", "PS3.4 B.2.1", "The same study again gives no further results", _again,
         _NEEDS),
)  # fmt: skip
