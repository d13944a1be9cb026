"""Removing what may go: received files, objects, kept tiles, and in the end the rows.

The ledger says first that a file is gone, with the digest that stands for it; then it is unlinked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.keeping import rules
from dicom_node.ledger.keeping.discards import RESULTS, SPOOL
from dicom_node.ledger.keeping.facts import KeptInput
from dicom_node.ledger.keeping.retention import Owners
from dicom_node.ledger.keeping.rules import Policy, StudyFacts
from dicom_node.ledger.ledger import EgressLedger
from dicom_node.observe.log import os_reason, place_of, trace_of
from dicom_node.spool.aside import Aside
from dicom_node.spool.filing import dataset_digest
from dicom_node.spool.incoming import SpoolFailed
from dicom_node.spool.lost_found import LostFile
from dicom_node.spool.patients import PatientKey
from dicom_node.spool.pledges import Pledges
from dicom_node.spool.removable import Planned, Removable

log = structlog.get_logger()

_DAMAGED_WAIT_S = 6 * 3600.0
"""To digest a study takes reading all of it: one with damage is not read every minute."""


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
        self._there = Removable(data_dir, ledger, policy)
        self._aside = Aside(data_dir)
        self._pledges = Pledges(data_dir)
        self._damaged: dict[str, float] = {}
        self._is_first = True

    def plan(self) -> Iterator[Planned]:
        """What would go now, and what stays for which reason, the oldest study first."""
        return self._there.plan(self._ledger.database.now(), pressed=self._is_pressed())

    def round(self) -> None:
        """Remove what may go. Raises LedgerFailed."""
        now, policy = self._retention.look(), self._policy
        if not self.remember_holds():
            return
        self.unlink_listed()
        if self._is_first:
            self.take_back()
            self._is_first = False
        ages = (policy.inputs_s, policy.results_s, policy.parked_s)
        is_pressed = self._is_pressed()
        for study in self._retention.at_rest(now if is_pressed else now - min(ages)):
            self._try(study)
        self._ledger.endings.forget_others(now - policy.ledger_s)

    def remember_holds(self) -> bool:
        """Hold what a database that was lost had on hold; forget what this one has released.

        False where that cannot be read: then nothing may go.
        """
        try:
            notes = self._pledges.holds()
        except OSError as error:
            log.error("holds_not_read", error=os_reason(error))
            return False
        holds = self._ledger.holds
        for one in notes:
            is_known = holds.is_known(one.study, one.token)
            if is_known is False:
                holds.hold(one.study, one.reason, self._aside.is_there, one.token)
                log.warning("hold_remembered", study=one.study)
            elif is_known and holds.since(one.study) is None:
                with suppress(OSError):  # it is looked at again in the next round
                    self._pledges.release(one.study)
        return True

    def take_back(self) -> None:
        """Count files as there that an earlier version took again."""
        if files := self._retention.take_back(self._aside.is_there):
            log.warning("inputs_taken_back", files=files)

    def unlink_listed(self) -> None:
        """Remove the paths that nothing refers to: what an earlier process left, too."""
        self._settle()
        self._unlink()

    def set_aside(self, study: str) -> list[str]:
        """Everything of a study that is below the data folder, its folders under new names: one
        that comes again gets the old names anew, and nothing of it is removed.

        Raises OSError, and ValueError where results are not here; what was renamed by then gets its
        name again in the next round.
        """
        if self._ledger.database.is_shared and (missing := self._there.results_elsewhere(study)):
            raise ValueError(
                f"study {study}: its results are in the data folder of another node: erase it "
                f"there; if they are lost, make the folder {RESULTS}/{missing} here first"
            )
        paths = [f"{SPOOL}/{i.path}" for i in self._retention.inputs(study)]
        return [*paths, *map(self._aside.folder, self._there.folders(study))]

    def _settle(self) -> None:
        """Bring to an end what a process left that ended, or could not write what it set aside:
        tiles go, folders of results get their names again."""
        discards = self._ledger.discards
        listed = {*discards.paths(), *discards.of_others()}
        if tiles := [path for path in self._aside.tiles_left() if path not in listed]:
            discards.adopt(tiles)
        left = {p: name for p, name in self._aside.folders_left().items() if p not in listed}
        studies = self._there.studies_by_folder() if left else {}
        for path, name in left.items():
            put_back = partial(self._aside.put_back, path, name)
            discards.unless_listed(path, studies.get(name), put_back)
            log.warning("results_put_back", study=studies.get(name))

    def _unlink(self) -> None:
        discards = self._ledger.discards
        others = [path for path in discards.of_others() if self._aside.is_there(path)]
        for path in [*discards.paths(), *others]:
            try:
                discards.unlink(path, self._aside.path, self._remove, self._aside.is_there)
            except OSError as error:
                log.error("not_removed", error=os_reason(error))

    def _try(self, study: str) -> None:
        """Remove what may go of a study; what cannot be removed of one holds up no other."""
        try:
            self._purge(study, pressed=self._is_pressed())
        except LedgerFailed:
            raise  # of the database, so of all studies
        except OSError as error:
            log.error("study_not_purged", study=study, error=os_reason(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other studies go on
            where, trace = place_of(error), trace_of(error)
            log.error("study_not_purged", study=study, error=where, trace=trace)

    def _purge(self, study: str, *, pressed: bool) -> None:
        facts = self._there.facts(study)
        if facts is None:
            return
        now, policy = self._ledger.database.now(), self._policy
        if rules.inputs(facts, policy, now, pressed=pressed).may_go:
            self._purge_inputs(facts, pressed)
        if rules.results(facts, policy, now, pressed=pressed).may_go:
            self._purge_results(facts, pressed)
        if rules.tiles(facts, policy, now).may_go and (kept := self._there.tiles(facts)):
            self._retention.while_at_rest(study, policy, lambda: [*map(self._aside.tiles, kept)])
        if rules.rows(facts, policy, now).may_go and self._there.is_done_with(facts):
            self._ledger.endings.forget(
                study,
                policy,
                lambda: self.set_aside(study) if self._there.is_done_with(facts) else None,
            )
        self._unlink()

    def _purge_inputs(self, facts: StudyFacts, pressed: bool) -> None:
        study, going = facts.study_instance_uid, self._there.inputs(facts)
        paths = [self._data_dir / SPOOL / i.path for i in going]
        waits = time.monotonic() < self._damaged.get(study, 0.0)
        if not going or waits or not self._are_mine(paths):
            return
        try:
            digests = {i.sop_instance_uid: self._digest(i) for i in going}
        except (OSError, SpoolFailed):
            log.error("purge_found_damage", study=study)  # what is not as it was is not removed
            self._damaged[study] = time.monotonic() + _DAMAGED_WAIT_S
            return
        if self._retention.purge_inputs(
            study, self._policy, digests, self._owners(paths), pressed=pressed
        ):
            log.info("inputs_purged", study=study, files=len(digests), disk_full=pressed)

    def _purge_results(self, facts: StudyFacts, pressed: bool) -> None:
        study, paths = facts.study_instance_uid, self._there.objects(facts)
        if not paths or not self._are_mine(paths):
            return
        owners = self._owners(paths)
        if self._retention.purge_results(study, self._policy, owners, pressed=pressed):
            log.info("results_purged", study=study)

    def _are_mine(self, paths: Sequence[Path]) -> bool:
        """Whether files are this node's to remove; all are where nobody shares the database."""
        return not self._ledger.database.is_shared or all(path.exists() for path in paths)

    def _owners(self, paths: Sequence[Path]) -> Owners:
        """Whose files are about to go, so that they are still found when they are gone."""
        key = PatientKey.of(self._data_dir)
        return Owners(key.name, key.digests_of(paths))

    def _digest(self, one: KeptInput) -> str:
        with LostFile(self._data_dir / SPOOL / one.path) as file:
            if file.size_bytes != one.size_bytes:
                raise SpoolFailed("found another number of bytes than recorded")
            return dataset_digest(file)

    def _is_pressed(self) -> bool:
        """Whether less of the disk is free than the site wants."""
        stat = os.statvfs(self._data_dir)
        return stat.f_bavail * 100 < self._target * stat.f_blocks

    def _remove(self, path: str) -> None:
        self._aside.remove(path)
