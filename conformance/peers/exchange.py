"""A slide goes out, results come in: what the cases about results look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.dataset import Dataset

from conformance.pacs import COMPREHENSIVE_3D_SR, SEGMENTATION, Received, ResultsPacs
from conformance.peers import associations
from conformance.session import Session
from conformance.slides.encodings import JPEG_BASELINE
from conformance.slides.objects import WSM, Study
from conformance.slides.whole import slide
from conformance.verdicts import Failed, expect


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was sent and what came back."""

    study: Study
    sent: tuple[Dataset, ...]
    received: tuple[Received, ...]

    @property
    def report(self) -> Dataset:
        """The one final Structured Report. Raises Failed when there are none or several."""
        return _one(self.objects(COMPREHENSIVE_3D_SR), "Comprehensive 3D SR")

    @property
    def heatmap(self) -> Dataset:
        """The first Segmentation. Raises Failed when there is none."""
        found = self.objects(SEGMENTATION)
        expect(found, found="no Segmentation", expected="at least one")
        return found[0]

    def objects(self, class_uid: str) -> list[Dataset]:
        """What came of a class."""
        return [r.dataset for r in self.received if r.dataset.SOPClassUID == class_uid]


def pacs_of(session: Session) -> ResultsPacs:
    """The PACS of the tool; cases that use it need `--results-port`."""
    if session.results is None:
        raise Failed("no listener for results", "--results-port")
    return session.results


def send(session: Session, datasets: Iterable[Dataset]) -> None:
    """Store instances. Raises Failed where one is not answered 0000."""
    datasets = list(datasets)
    syntaxes = {str(d.file_meta.TransferSyntaxUID) for d in datasets} or {JPEG_BASELINE}
    with associations.association(session, [(WSM, [s]) for s in sorted(syntaxes)]) as association:
        for dataset in datasets:
            status = associations.store(association, dataset)
            expect(status == 0, found=f"C-STORE answered {status:04X}", expected="0000")


def final_reports(session: Session, study: Study) -> list[Dataset]:
    """Structured Reports of a study that say they are complete."""
    return [
        r.dataset
        for r in pacs_of(session).of(study.uid)
        if r.dataset.SOPClassUID == COMPREHENSIVE_3D_SR
        and r.dataset.get("CompletionFlag") == "COMPLETE"
    ]


def await_report(session: Session, study: Study, *, count: int = 1) -> list[Dataset]:
    """Final reports once there are so many. Raises Failed when they do not come in time."""
    pacs = pacs_of(session)
    pacs.wait(lambda: len(final_reports(session, study)) >= count, session.results_s)
    found = final_reports(session, study)
    expect(
        len(found) >= count,
        found=f"{len(found)} final reports and {len(pacs.of(study.uid))} objects "
        f"after {session.results_s:.0f} s",
        expected=f"{count} final reports",
    )
    return found


def exchange(session: Session) -> Exchange:
    """One slide and its results; sent once a run."""

    def make() -> Exchange:
        study = Study()
        sent = slide(session, study)
        send(session, sent)
        (report, *_) = await_report(session, study)
        pacs = pacs_of(session)
        here = {str(d.SOPInstanceUID) for d in sent}
        # A report may come before the objects that it names as evidence.
        pacs.wait(
            lambda: not evidence(report) - here - _uids(pacs.of(study.uid)), session.results_s
        )
        return Exchange(study, tuple(sent), tuple(pacs.of(study.uid)))

    return session.once("exchange", make)


def evidence(report: Dataset) -> set[str]:
    """SOP Instance UIDs that a report names as evidence (PS3.3 C.17.2.3)."""
    return {
        str(item.ReferencedSOPInstanceUID)
        for study in report.get("CurrentRequestedProcedureEvidenceSequence") or ()
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def _uids(received: Iterable[Received]) -> set[str]:
    return {str(r.dataset.SOPInstanceUID) for r in received}


def _one(found: list[Dataset], name: str) -> Dataset:
    expect(len(found) == 1, found=f"{len(found)} {name} objects", expected="one")
    return found[0]
