"""What was made of a slide before: what comes out the same is sent again, and else replaced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import structlog
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.config.whole import Config
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Result, Revision, Run
from dicom_node.results.identity import series_of_report
from dicom_node.results.kinds import REPORT, kind_of
from dicom_node.results.making import Former
from dicom_node.work.students.jobs import Job
from dicom_node.work.students.provenance import Written
from dicom_node.work.students.roster import Roster
from inference.slide.files import SlideFiles

log = structlog.get_logger()


class Earlier:
    """Looks for objects that were made of a slide before."""

    def __init__(self, config: Config, ledger: WorkerLedger, roster: Roster) -> None:
        self._config = config
        self._ledger = ledger
        self._roster = roster

    def numbers(self, run: Run, jobs: Sequence[Job]) -> list[int]:
        """Places of the jobs among those of the study: what has one keeps it, whatever comes
        beside."""
        rows = [r for _, r in self._results(run) if r.number is not None]
        taken = {(r.slide, r.model): r.number for r in reversed(rows)}
        free = (n for n in range(len(taken) + len(jobs)) if n not in taken.values())
        found = (taken.get((job.slide, job.model)) for job in jobs)
        return [next(free) if number is None else number for number in found]

    def dated(self, run: Run, one: Written, closed: Revision) -> datetime:
        """What the dates of new objects tell: when the study was closed; of those in whose place
        something was made of the same revision, when their analysis began."""
        rows = self._ledger.queries.results(run.study, run.revision)
        is_again = any(_is_of(r, one) for r in rows)
        at = closed.started_at if is_again else closed.closed_at
        return datetime.fromtimestamp(at or closed.closed_at or 0.0, UTC)

    def formers(self, run: Run, one: Written, variant: str) -> tuple[Former, ...]:
        """The last of each kind by the same model; none that a version made which did not keep what
        is needed to make it again, and none that was withdrawn: it is never sent again."""
        found: dict[str, Former | None] = {}
        for _, row in self._results(run):
            if not _is_of(row, one) or row.kind in found or row.is_withdrawal:
                continue
            found[row.kind] = None
            if row.dated_at is not None and row.withdrawn_at is None:
                at = datetime.fromtimestamp(row.dated_at, UTC)
                replaced = self._by_uid(run, row.predecessor, one.slide, variant)
                found[row.kind] = Former(row.kind, row.sop_instance_uid, at, replaced)
        return tuple(former for former in found.values() if former)

    def predecessors(self, run: Run, one: Written, variant: str) -> dict[str, Dataset]:
        """What new objects of a slide replace, by kind.

        It is of the same model; a report also replaces one of a model that says nothing of the
        slide any more. A silent one replaces none, and is replaced by none: nobody has it.
        """
        if one.is_silent:
            return {}
        found: dict[str, Dataset] = {}
        for is_own in (True, False):
            for number, row in self._results(run):
                kind = kind_of(row.kind)
                if kind is None or kind.name in found or not _may_follow(row, one, is_own=is_own):
                    continue
                named = self._named(run.study, number, row, one.slide, variant)
                if named is not None:
                    found[kind.name] = named
        return found

    def _results(self, run: Run) -> Iterator[tuple[int, Result]]:
        """All objects of the study with their revision, the last first."""
        for number in range(run.revision, 0, -1):
            for row in reversed(self._ledger.queries.results(run.study, number)):
                yield number, row

    def _by_uid(self, run: Run, uid: str, slide: SlideFiles, variant: str) -> Dataset | None:
        same = ((n, r) for n, r in self._results(run) if uid and r.sop_instance_uid == uid)
        return next((self._named(run.study, n, r, slide, variant) for n, r in same), None)

    def _named(
        self, study: str, revision: int, result: Result, slide: SlideFiles, variant: str
    ) -> Dataset | None:
        """The UIDs of an earlier object.

        Versions before schema 7 did not keep the series: it is read from the file, or follows from
        what a report was made from. What cannot be named must not hold back the new one.
        """
        series = result.series_instance_uid or self._series_in_file(result)
        if not series:
            queries = self._ledger.queries
            mine = {self._roster.digest, *(one.bundle.digest for one in self._roster.known)}
            series = series_of_report(
                study,
                result.sop_instance_uid,
                queries.input_sets(study, revision, slide.input_uids),
                mine | queries.bundle_digests(study),
                {"", variant},
            )
        if not series:
            log.error("predecessor_lost", sop_instance_uid=result.sop_instance_uid)
            return None
        named = Dataset()
        named.StudyInstanceUID, named.SeriesInstanceUID = study, series
        named.SOPClassUID, named.SOPInstanceUID = result.sop_class_uid, result.sop_instance_uid
        return named

    def _series_in_file(self, result: Result) -> str | None:
        if result.purged_at is not None:
            return None
        try:
            found = dcmread(
                self._config.node.data_dir / result.path, specific_tags=["SeriesInstanceUID"]
            )
        except (FileNotFoundError, EOFError, InvalidDicomError):
            return None
        return str(found.get("SeriesInstanceUID") or "") or None


def _is_of(row: Result, one: Written) -> bool:
    job = one.job
    return (row.slide, row.model, row.silent) == (one.slide.key, job.model, one.is_silent)


def _may_follow(row: Result, one: Written, *, is_own: bool) -> bool:
    if row.silent or row.slide != one.slide.key:
        return False
    if is_own:
        return row.model == one.job.model
    return row.kind == REPORT.name and row.model not in {one.job.model, *one.beside}
