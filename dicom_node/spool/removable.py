"""What there is of a study that may be removed one day, and what would go now.

Of each slide its thumbnail stays, and the prediction with its map, as long as the rows do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.keeping import rules
from dicom_node.ledger.keeping.discards import RESULTS, SPOOL
from dicom_node.ledger.keeping.facts import KeptInput
from dicom_node.ledger.keeping.rules import Policy, StudyFacts, Verdict
from dicom_node.ledger.ledger import EgressLedger
from dicom_node.observe.log import place_of
from dicom_node.spool.pledges import Pledges

_THUMBNAIL = "THUMBNAIL"
MOST_KEPT_BYTES = 4 << 20
"""A thumbnail that is larger is removed with the other files."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What of a study would go, or why it would not."""

    study_instance_uid: str
    what: str
    """`inputs`, `results`, `tiles` or `rows`; with the rows go thumbnails, predictions and maps."""
    files: int
    bytes: int
    may_go: bool
    why: str


class Removable:
    """Looks at studies at rest; removes nothing."""

    def __init__(self, data_dir: Path, ledger: EgressLedger, policy: Policy) -> None:
        self._data_dir = data_dir
        self._ledger = ledger
        self._retention = ledger.retention
        self._policy = policy
        self._pledges = Pledges(data_dir)

    def plan(self, now: float, *, pressed: bool) -> Iterator[Planned]:
        """What would go now, and what stays for which reason, the oldest study first."""
        for study in self._retention.at_rest(now):
            try:
                facts = self.facts(study)
                yield from [] if facts is None else [*self._plan_of(facts, now, pressed)]
            except LedgerFailed:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the other studies are told
                yield Planned(study, "rows", 0, 0, False, f"cannot be read: {place_of(error)}")

    def _plan_of(self, facts: StudyFacts, now: float, pressed: bool) -> Iterator[Planned]:
        study, policy = facts.study_instance_uid, self._policy
        going, objects = self.inputs(facts), self.objects(facts)
        tiles = [f for folder in self.tiles(facts) for f in folder.rglob("*") if f.is_file()]
        left = [
            f
            for folder in self.folders(facts.study_instance_uid)
            for f in folder.rglob("*")
            if f.is_file()
        ]
        kept = {i.sop_instance_uid for i in going}
        left += [self._data_dir / SPOOL / i.path for i in self._retention.inputs(study)
                 if i.sop_instance_uid not in kept]  # fmt: skip
        ends = rules.rows(facts, policy, now)
        parts: list[tuple[str, Sequence[Path], Verdict]] = [
            ("inputs", [self._data_dir / SPOOL / i.path for i in going],
             rules.inputs(facts, policy, now, pressed=pressed)),
            ("results", objects, rules.results(facts, policy, now, pressed=pressed)),
            ("tiles", tiles, rules.tiles(facts, policy, now)),
            ("rows", left, ends),
        ]  # fmt: skip
        for what, files, verdict in parts:
            is_told = ends.may_go and self.is_done_with(facts) if what == "rows" else files
            if is_told:
                size = sum(map(_size, files))
                yield Planned(study, what, len(files), size, verdict.may_go, verdict.why)

    def facts(self, study: str) -> StudyFacts | None:
        """What the rules are asked with, and what was promised or held in a database that was
        lost. Raises OSError where that cannot be read: then nothing may go."""
        facts = self._retention.facts(study)
        if facts is None:
            return None
        uids = [i.sop_instance_uid for i in self._retention.inputs(study)]
        is_promised = facts.is_promised or bool(self._pledges.promised(uids))
        return replace(facts, is_promised=is_promised)

    def inputs(self, facts: StudyFacts) -> list[KeptInput]:
        """Received files of a study without those that people are left."""
        thumbnails = self._thumbnails(facts)
        return [
            i
            for i in self._retention.inputs(facts.study_instance_uid)
            if i.sop_instance_uid not in thumbnails or i.size_bytes > MOST_KEPT_BYTES
        ]

    def objects(self, facts: StudyFacts) -> list[Path]:
        """Files of objects that are still there."""
        return [self._data_dir / p for p in self._retention.result_paths(facts.study_instance_uid)]

    def folders(self, study: str) -> list[Path]:
        """Folders of predictions, maps, objects and tiles that are here."""
        runs = [r.run for r in self._ledger.queries.of_study(study)]
        folders = [self._data_dir / RESULTS / run.folder for run in runs]
        return [folder for folder in folders if folder.is_dir()]

    def results_elsewhere(self, study: str) -> str:
        """Name of a folder that objects of a study were made in and that is not here; empty if all
        are."""
        for revision in self._ledger.queries.of_study(study):
            folder = revision.run.folder
            has_results = self._ledger.queries.results(study, revision.revision)
            if has_results and not (self._data_dir / RESULTS / folder).is_dir():
                return folder
        return ""

    def studies_by_folder(self) -> dict[str, str]:
        """Whose each folder of results is."""
        known = self._ledger.queries.all_revisions()
        return {r.run.folder: r.study_instance_uid for r in known}

    def tiles(self, facts: StudyFacts) -> list[Path]:
        """Folders of tiles kept for an analysis to go on with."""
        folders = self.folders(facts.study_instance_uid)
        return [tiles for folder in folders for tiles in folder.glob("tiles-*") if tiles.is_dir()]

    def is_done_with(self, facts: StudyFacts) -> bool:
        """Whether the rows are not needed for anything that is still there, here or elsewhere."""
        if self.inputs(facts) or self.objects(facts):
            return False
        return not self._ledger.database.is_shared or self._is_of_this_node(
            facts.study_instance_uid
        )

    def _is_of_this_node(self, study: str) -> bool:
        """Whether all that is left lies in this data folder, and none in that of another node."""
        left = self._retention.inputs(study)
        are_here = all((self._data_dir / SPOOL / i.path).exists() for i in left)
        return are_here and not self.results_elsewhere(study)

    def _thumbnails(self, facts: StudyFacts) -> set[str]:
        newest = self._ledger.queries.revision(facts.study_instance_uid)
        slides = newest.evidence.slides if newest is not None and newest.evidence else ()
        levels = [level for slide in slides for level in slide.levels]
        return {u for v in levels if v.flavor == _THUMBNAIL for u in v.sop_instance_uids}


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
