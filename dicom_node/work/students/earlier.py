"""The report of an earlier revision that a new one replaces."""

from __future__ import annotations

import structlog
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.config.whole import Config
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Result, Run
from dicom_node.results.identity import series_of_report
from dicom_node.results.kinds import REPORT
from dicom_node.work.students.provenance import Written
from dicom_node.work.students.roster import Roster
from inference.slide.files import SlideFiles

log = structlog.get_logger()


class Earlier:
    """Looks for reports that were made of a slide before."""

    def __init__(self, config: Config, ledger: WorkerLedger, roster: Roster) -> None:
        self._config = config
        self._ledger = ledger
        self._roster = roster

    def report(self, run: Run, one: Written, uid: str, variant: str) -> Dataset | None:
        """The last report of the same slide under another UID; the one of `uid` replaces it.

        It is of the same model, or of one that says nothing of the slide any more. A silent report
        replaces none, and is replaced by none: nobody has it.
        """
        if one.is_silent:
            return None
        for number in range(run.revision, 0, -1):
            reports = [
                result
                for result in reversed(self._ledger.queries.results(run.study, number))
                if result.kind == REPORT.name
                and result.slide == one.slide.key
                and result.sop_instance_uid != uid
                and not result.silent
            ]
            own = [r for r in reports if r.model == one.job.model]
            gone = [r for r in reports if r.model not in {one.job.model, *one.beside}]
            for result in (*own, *gone):
                found = self._named(run.study, number, result, one.slide, variant)
                if found is not None:
                    return found
        return None

    def _named(
        self, study: str, revision: int, result: Result, slide: SlideFiles, variant: str
    ) -> Dataset | None:
        """What an earlier report says of itself; where its file was removed, its UIDs.

        One whose file is lost or damaged, and whose UIDs cannot be told, cannot be named, which
        must not hold back the new one.
        """
        if result.purged_at is None:
            try:
                return dcmread(self._config.node.data_dir / result.path)
            except (FileNotFoundError, EOFError, InvalidDicomError):
                pass
        queries = self._ledger.queries
        mine = {self._roster.digest, *(one.bundle.digest for one in self._roster.known)}
        series = series_of_report(
            study,
            result.sop_instance_uid,
            queries.input_sets(study, revision, slide.input_uids),
            mine | queries.bundle_digests(study),
            {"", variant},
        )
        if series is None:
            log.error("predecessor_lost", sop_instance_uid=result.sop_instance_uid)
            return None
        named = Dataset()
        named.StudyInstanceUID, named.SeriesInstanceUID = study, series
        named.SOPClassUID, named.SOPInstanceUID = result.sop_class_uid, result.sop_instance_uid
        return named
