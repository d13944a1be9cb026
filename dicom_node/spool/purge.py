"""Removing what may go: received files, objects, kept tiles, and in the end the rows.

The ledger says first that a file is gone, with the digest that stands for it; then it is unlinked.
Of each slide its thumbnail stays, and the prediction with its map, as long as the rows do.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from dicom_node.ledger.keeping import rules
from dicom_node.ledger.keeping.facts import KeptInput
from dicom_node.ledger.keeping.rules import Policy, StudyFacts
from dicom_node.ledger.ledger import EgressLedger
from dicom_node.ledger.rows import Run
from dicom_node.spool.filing import dataset_digest
from dicom_node.spool.incoming import SpoolFailed
from dicom_node.spool.lost_found import LostFile

log = structlog.get_logger()

SPOOL, RESULTS = "spool", "results"
"""Folders of the data folder."""
_THUMBNAIL = "THUMBNAIL"
_MOST_KEPT_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Planned:
    """What of a study would go, or why it would not."""

    study_instance_uid: str
    what: str
    """`inputs` or `results`."""
    files: int
    bytes: int
    may_go: bool
    why: str


class Purger:
    """Removes files of one data folder."""

    def __init__(
        self, data_dir: Path, ledger: EgressLedger, policy: Policy, free_target_percent: float
    ) -> None:
        self._data_dir = data_dir
        self._ledger = ledger
        self._retention = ledger.retention
        self._policy = policy
        self._target = free_target_percent

    def plan(self) -> Iterator[Planned]:
        """What would go now, and what stays for which reason, the oldest study first."""
        now = self._ledger.database.now()
        for study in self._retention.at_rest(now):
            facts = self._retention.facts(study)
            if facts is None:
                continue
            is_pressed = self._is_pressed()
            going = self._going(facts)
            paths = self._retention.result_paths(study)
            for what, files, size, ask in (
                ("inputs", len(going), sum(i.size_bytes for i in going), rules.inputs),
                ("results", len(paths), sum(map(self._size, paths)), rules.results),
            ):
                verdict = ask(facts, self._policy, now, pressed=is_pressed)
                if files:
                    yield Planned(study, what, files, size, verdict.may_go, verdict.why)

    def round(self) -> None:
        """Remove what may go. Raises LedgerFailed."""
        self.unlink_listed()
        now, policy = self._ledger.database.now(), self._policy
        ages = (policy.inputs_s, policy.results_s, policy.parked_s)
        is_pressed = self._is_pressed()
        for study in self._retention.at_rest(now if is_pressed else now - min(ages)):
            self._purge(study, pressed=self._is_pressed())
        self._retention.forget_events(now - policy.ledger_s)

    def unlink_listed(self) -> None:
        """Remove the paths that nothing refers to: what an earlier process left, too."""
        for path in self._retention.discards():
            try:
                self._retention.unlink(path, SPOOL, self._remove)
            except OSError as error:
                log.error("not_removed", error=os.strerror(error.errno or 0))

    def _purge(self, study: str, *, pressed: bool) -> None:
        facts = self._retention.facts(study)
        if facts is None:
            return
        now, policy = self._ledger.database.now(), self._policy
        if rules.inputs(facts, policy, now, pressed=pressed).may_go:
            self._purge_inputs(facts, pressed)
        may_go = rules.results(facts, policy, now, pressed=pressed).may_go
        if may_go and self._retention.purge_results(study, policy, pressed=pressed):
            log.info("results_purged", study=study)
        if rules.tiles(facts, policy, now).may_go and (kept := self._kept_tiles(facts)):
            self._retention.while_at_rest(study, policy, lambda: [*map(shutil.rmtree, kept)])
        if rules.rows(facts, policy, now).may_go and self._nothing_is_owed(facts):
            self._retention.forget(study, policy, self.paths_of(facts))
        self.unlink_listed()

    def _purge_inputs(self, facts: StudyFacts, pressed: bool) -> None:
        study, going = facts.study_instance_uid, self._going(facts)
        try:
            digests = {i.sop_instance_uid: self._digest(i) for i in going}
        except (OSError, SpoolFailed):
            log.error("purge_found_damage", study=study)  # what is not as it was is not removed
            return
        if digests and self._retention.purge_inputs(
            study, self._policy, digests, SPOOL, pressed=pressed
        ):
            log.info("inputs_purged", study=study, files=len(digests), disk_full=pressed)

    def _going(self, facts: StudyFacts) -> list[KeptInput]:
        """Received files of a study without those that people are left."""
        thumbnails = self._thumbnails(facts)
        return [
            i
            for i in self._retention.inputs(facts.study_instance_uid)
            if i.sop_instance_uid not in thumbnails or i.size_bytes > _MOST_KEPT_BYTES
        ]

    def _thumbnails(self, facts: StudyFacts) -> set[str]:
        newest = self._ledger.queries.revision(facts.study_instance_uid)
        slides = newest.evidence.slides if newest is not None and newest.evidence else ()
        levels = [level for slide in slides for level in slide.levels]
        return {u for v in levels if v.flavor == _THUMBNAIL for u in v.sop_instance_uids}

    def _nothing_is_owed(self, facts: StudyFacts) -> bool:
        """Whether the rows are not needed for anything that is still there."""
        paths = self._retention.result_paths(facts.study_instance_uid)
        return not self._going(facts) and not paths

    def paths_of(self, facts: StudyFacts) -> list[str]:
        """Everything of a study below the data folder, objects included."""
        study = facts.study_instance_uid
        inputs = [f"{SPOOL}/{i.path}" for i in self._retention.inputs(study)]
        numbers = range(1, len(facts.states) + 1)
        return [*inputs, *(f"{RESULTS}/{Run(study, n, 0).folder}" for n in numbers)]

    def _kept_tiles(self, facts: StudyFacts) -> list[Path]:
        study, numbers = facts.study_instance_uid, range(1, len(facts.states) + 1)
        folders = [self._data_dir / RESULTS / Run(study, n, 0).folder for n in numbers]
        return [tiles for folder in folders for tiles in folder.glob("tiles-*") if tiles.is_dir()]

    def _digest(self, one: KeptInput) -> str:
        with LostFile(self._data_dir / SPOOL / one.path) as file:
            if file.size_bytes != one.size_bytes:
                raise SpoolFailed("found another number of bytes than recorded")
            return dataset_digest(file)

    def _size(self, path: str) -> int:
        with suppress(OSError):
            return (self._data_dir / path).stat().st_size
        return 0

    def _is_pressed(self) -> bool:
        """Whether less of the disk is free than the site wants."""
        stat = os.statvfs(self._data_dir)
        return stat.f_bavail * 100 < self._target * stat.f_blocks

    def _remove(self, path: str) -> None:
        target = self._data_dir / path
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
