"""Which answers of a study are withdrawn, and the objects that say so, by destination."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pydicom import Dataset, dcmread

from dicom_node import __version__
from dicom_node.config.whole import Config
from dicom_node.deliver.forms.chains import is_report
from dicom_node.ledger.keeping.withdrawals import Decided, Made
from dicom_node.ledger.queries.of_withdrawals import Answer
from dicom_node.ledger.rows import WITHDRAWN, DestinationSeen, Result, Run
from dicom_node.results import kinds
from dicom_node.results.files import write
from dicom_node.results.making import BuiltObject
from dicom_node.results.selfcheck.whole import require_checked
from dicom_node.results.sources import predecessor_in
from dicom_node.results.withdrawal.rejection import Rejected, rejection_of
from dicom_node.results.withdrawal.report import withdrawal_of
from dicom_node.results.withdrawal.summary import withdrawal_of_page
from dicom_node.results.withdrawal.told import Cause, Told, bundle_in
from inference.errors import MALFORMED

_UNREADABLE = (OSError, *MALFORMED)


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody withdraws, and why."""

    digest: str
    """Of the bundle; empty for all that was made of a study."""
    cause: Cause
    because: str


@dataclass
class Withdrawing:
    """One study: what was answered, and what is to be sent of it."""

    config: Config
    seen: Mapping[str, DestinationSeen]
    asked: Asked
    study: str
    troubles: list[str] = field(default_factory=list)
    """What could not be withdrawn, each a sentence."""
    told: list[str] = field(default_factory=list)
    """What else there is to know."""
    chosen: list[Answer] = field(default_factory=list)

    def choose(self, answers: Sequence[Answer]) -> list[Answer]:
        """What was made and is not withdrawn yet: by the bundle, or all of it."""
        self.chosen = [a for a in answers if self._is_meant(a)]
        return self.chosen

    def decide(self, answers: Sequence[Answer], at: float) -> Decided:
        """What becomes of the study; the files of what is to be sent are written then."""
        self.choose(answers)
        told = Told(
            self.asked.cause,
            self.asked.because,
            datetime.fromtimestamp(at, UTC),
            __version__,
            self.config.reports.language,
        )
        kept = [a for a in answers if a not in self.chosen]
        reports = [a for a in self.chosen if is_report(a.result.kind) and _is_last(a, kept)]
        made: list[Made] = []
        failed: list[Answer] = []
        for answer in (a for a in reports if a.is_out):
            if (one := self._replacing(answer, told)) is None:
                failed.append(answer)
            else:
                made.append(replace(one, to=self._newest(answer, reports)))
        withdrawn = [a for a in self.chosen if a not in failed]
        note = self._note([a for a in withdrawn if a.is_out and not a.result.silent], told)
        uids = tuple(a.result.sop_instance_uid for a in withdrawn)
        said = {"cause": str(told.cause), "reason": told.why, "objects": len(uids)}
        sent = (*made, note) if note else tuple(made)
        if self.asked.digest:
            said["bundle_digest"] = self.asked.digest
        return Decided(uids, sent, said)

    def _is_meant(self, answer: Answer) -> bool:
        result = answer.result
        if result.withdrawn_at is not None or result.is_withdrawal:
            return False
        digest = self.asked.digest
        if not digest:
            return True
        if answer.digests and digest not in answer.digests:
            return False
        header = self._header(result)
        # An object whose file is gone may be of any of the bundles that ran.
        return digest in answer.digests if header is None else bundle_in(header) == digest

    def _header(self, result: Result) -> Dataset | None:
        """An object without its pixels; None where the file is not there, or is damaged."""
        if result.purged_at is not None:
            return None
        try:
            return dcmread(self._path(result.path), stop_before_pixels=True)
        except _UNREADABLE:
            return None

    def _path(self, relative: str) -> Path:
        return self.config.node.data_dir / relative

    def is_here(self, result: Result) -> bool:
        """Whether its file can still be read."""
        return result.purged_at is None and self._path(result.path).is_file()

    def _replacing(self, answer: Answer, told: Told) -> Made | None:
        """What replaces a report; None, with a sentence, where it cannot be made."""
        result = answer.result
        name = f"{result.kind}{WITHDRAWN}"
        try:
            if result.purged_at is not None:
                raise FileNotFoundError
            if hashlib.sha256(self._path(result.path).read_bytes()).hexdigest() != result.sha256:
                raise ValueError("it was damaged on the disk")
            old = dcmread(self._path(result.path))
            is_page = kinds.kind_of(result.kind) == kinds.SUMMARY
            make = withdrawal_of_page if is_page else withdrawal_of
            return self._kept(make(old, told, name), name, answer, told)
        except FileNotFoundError:
            why = "its file is not here any more"
        except _UNREADABLE as error:
            why = f"its file cannot be used: {error}"
        where = ", ".join(answer.had_by) or "where it was being sent"
        self.troubles.append(
            f"study {self.study}: no report can say that {result.kind} "
            f"{result.sop_instance_uid} is withdrawn ({why}): remove it yourself at {where}"
        )
        return None

    def _newest(self, own: Answer, reports: Sequence[Answer]) -> tuple[str, ...]:
        """Destinations whose last report of its kind, slide and model it is."""
        later = reports[reports.index(own) + 1 :]
        newer = {name for a in later if _same(a.result, own.result) for name in a.had_by}
        return self._known([name for name in own.had_by if name not in newer])

    def _known(self, names: Iterable[str]) -> tuple[str, ...]:
        known = {d.name for d in self.config.destinations}
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            trouble = (
                f"study {self.study}: {name} has a report that is withdrawn and is no longer in "
                "the configuration: nothing is sent there"
            )
            if name not in known and trouble not in self.troubles:
                self.troubles.append(trouble)
        return tuple(name for name in wanted if name in known)

    def _note(self, rejected: Sequence[Answer], told: Told) -> Made | None:
        """The rejection note, to the destinations that have any of it and take such notes."""
        had = list(dict.fromkeys(name for a in rejected for name in a.had_by))
        takes = [name for name in had if self._takes_notes(name)]
        for name in had:
            if name not in takes:
                self.told.append(
                    f"study {self.study}: {name} takes no rejection notes: only the reports there "
                    "say that maps and pictures must not be used"
                )
        headers = [(a, self._header(a.result)) for a in rejected]
        named = list(_named(headers))
        last = next(((a, h) for a, h in reversed(headers) if h is not None), None)
        if not takes or last is None:
            return None
        answer, header = last
        assert header is not None
        name = f"{kinds.SET.name}{WITHDRAWN}"
        note = self._kept(
            rejection_of(named, header, told, name), name, answer, told, of_study=True
        )
        return replace(note, to=self._known(takes))

    def _takes_notes(self, name: str) -> bool:
        seen = self.seen.get(name)
        return seen is not None and bool(seen.accepted.get(kinds.SET.sop_class.uid))

    def _kept(
        self, dataset: Dataset, kind: str, answer: Answer, told: Told, *, of_study: bool = False
    ) -> Made:
        """An object of the withdrawal that is on the disk, as the ledger keeps it."""
        own = answer.result
        require_checked(BuiltObject(kind, own.slide, dataset))
        run = Run(self.study, answer.revision, 0)
        folder = self.config.results_dir / run.folder
        folder.mkdir(parents=True, exist_ok=True)
        uid = str(dataset.SOPInstanceUID)
        path = folder / f"{kind}-{uid}.dcm"
        write(dataset, path)
        result = Result(
            sop_instance_uid=uid,
            sop_class_uid=str(dataset.SOPClassUID),
            kind=kind,
            slide="" if of_study else own.slide,
            path=str(path.relative_to(self.config.node.data_dir)),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            model="" if of_study else own.model,
            series_instance_uid=str(dataset.SeriesInstanceUID),
            dated_at=told.at.timestamp(),
            predecessor=predecessor_in(dataset),
            number=None if of_study else own.number,
        )
        return Made(result, (), answer.revision)


def _same(one: Result, other: Result) -> bool:
    return (one.kind, one.slide, one.model) == (other.kind, other.slide, other.model)


def _is_last(answer: Answer, kept: Sequence[Answer]) -> bool:
    """Whether no report that stays has taken its place: then nothing is to be said of it."""
    stand = (k.result for k in kept if not k.result.replaced and not k.result.is_withdrawal)
    return not answer.result.silent and not any(_same(r, answer.result) for r in stand)


def _named(headers: Iterable[tuple[Answer, Dataset | None]]) -> Iterator[Rejected]:
    """The objects by their UIDs; not those whose series nobody knows any more."""
    for answer, header in headers:
        own = answer.result
        series = own.series_instance_uid
        if not series and header is not None:
            series = str(header.get("SeriesInstanceUID") or "")
        if series:
            yield Rejected(own.sop_class_uid, own.sop_instance_uid, series)
