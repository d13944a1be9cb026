"""When a study is complete: counted, not guessed (PS3.3 A.32.8, C.7.6.16, C.7.6.17)."""

from __future__ import annotations

from pydicom.dataset import Dataset

from conformance.case import Case, Need
from conformance.peers.exchange import await_report, final_reports, pacs_of, send
from conformance.session import Session
from conformance.slides.objects import Study, concatenated, instance
from conformance.slides.whole import native, pyramid, slide
from conformance.verdicts import expect, expect_equal

_NEEDS = frozenset({Need.STORE, Need.RESULTS})


def _none_yet(session: Session, study: Study) -> None:
    """Raise Failed when a final report comes within the quiet time."""
    pacs_of(session).wait(lambda: final_reports(session, study), session.quiet_s)
    found = len(final_reports(session, study))
    expect(not found, found="a final report of what is not whole", expected="none yet")


def _concatenation(session: Session) -> None:
    study = Study()
    first, second = concatenated(native(session, study), 2)
    send(session, [first])
    _none_yet(session, study)
    send(session, [second])
    await_report(session, study)


def _backwards(session: Session) -> None:
    study = Study()
    send(session, reversed(concatenated(native(session, study), 3)))
    await_report(session, study)


def _frames_missing(session: Session) -> None:
    """TILED_FULL with half of the frames that its matrix needs."""

    def edit(dataset: Dataset) -> None:
        frames = int(dataset.NumberOfFrames) // 2
        size = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel
        dataset.NumberOfFrames = frames
        dataset["PixelData"].value = dataset.PixelData[: frames * size]

    study = Study()
    syntax = "1.2.840.10008.1.2.1"
    send(session, [instance(study, pyramid(session)[0], syntax=syntax, edit=edit)])
    _none_yet(session, study)


def _late(session: Session) -> None:
    """A level after the results: another report, which names the one it replaces."""
    study = Study()
    *early, late = slide(session, study)
    send(session, early)
    (first,) = await_report(session, study)
    send(session, [late])
    second = next(
        r for r in await_report(session, study, count=2) if r.SOPInstanceUID != first.SOPInstanceUID
    )
    named = [
        str(item.ReferencedSOPInstanceUID)
        for group in second.get("PredecessorDocumentsSequence", [])
        for series in group.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    expect_equal(named, [str(first.SOPInstanceUID)], "predecessors")


def _two_studies(session: Session) -> None:
    studies = [Study(), Study()]
    slides = [slide(session, study) for study in studies]
    send(session, [dataset for pair in zip(*slides, strict=True) for dataset in pair])
    for study in studies:
        await_report(session, study)
        owned = {str(r.dataset.StudyInstanceUID) for r in pacs_of(session).of(study.uid)}
        expect_equal(owned, {study.uid}, "studies")


CASES = (
    Case("completeness.concatenation", "PS3.3 C.7.6.16.2.2.4",
         "A concatenation without its last part is waited for, then analyzed", _concatenation,
         _NEEDS),
    Case("completeness.backwards", "PS3.3 C.7.6.16.2.2.4", "The parts may come in any order",
         _backwards, _NEEDS),
    Case("completeness.frames", "PS3.3 C.7.6.17.3", "Missing frames are missed", _frames_missing,
         _NEEDS),
    Case("completeness.late", "PS3.3 C.17.2.2", "A late level gives a report that names the first",
         _late, _NEEDS),
    Case("completeness.interleaved", "PS3.4 B.2", "Two studies sent as one stream are kept apart",
         _two_studies, _NEEDS),
)  # fmt: skip
