"""Results of slides whose study is still open: one file each, which says what it is a result of."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from dicom_node.config.whole import Config
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Run
from dicom_node.ledger.states import State
from dicom_node.work.students.jobs import Job
from inference import archive
from inference.types import NotAssessable, Prediction

log = structlog.get_logger()

_NEEDED = (State.RECEIVING, State.QUEUED, State.ANALYZING)
_EARLY, _TILES = "early-", "tiles-"


@dataclass(frozen=True, slots=True)
class Ready:
    """A result that was computed before its study closed."""

    result: Prediction | NotAssessable
    worked_s: float


class KeptNumbers:
    """The results that are kept below one folder."""

    def __init__(self, config: Config) -> None:
        self._results = config.results_dir

    def save(self, run: Run, job: Job, of: str, ready: Ready) -> None:
        """Keep a result of what `of` is the digest of.

        Raises OSError, also where the folder of the revision is gone: a study that was erased
        meanwhile does not get it back.
        """
        note = {"of": of, "worked_s": ready.worked_s}
        archive.save(ready.result, self._path(run, job), note)

    def take(self, run: Run, job: Job, of: str) -> Ready | None:
        """The result that is kept, if it is one of just this. Another one is removed, and so is one
        that a disk has damaged: it costs its study the head start and nothing else."""
        path = self._path(run, job)
        try:
            note = archive.note_of(path)
            if note.get("of") == of:
                return Ready(archive.load(path), float(note["worked_s"]))
            reason = "what was read has changed"
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 - damaged bytes end in any: all is computed then
            reason = f"it cannot be read ({type(error).__name__})"
        log.info("ready_discarded", study=run.study, slide=job.slide, reason=reason)
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return None

    def has(self, run: Run, job: Job) -> bool:
        """Whether a result is kept, of whatever."""
        return self._path(run, job).exists()

    def discard(self, run: Run) -> None:
        """Remove all that is kept of a revision whose results are built, of slides, too, that are
        others since more has come."""
        folder = self._results / run.folder
        for path in folder.glob(f"{_EARLY}*.npz"):
            path.unlink(missing_ok=True)
        for path in folder.glob(f"{_TILES}*"):
            shutil.rmtree(path, ignore_errors=True)

    def sweep(self, ledger: WorkerLedger) -> None:
        """Remove the results of studies that nobody will ask for: cancelled, or gone. Their tiles
        go by the rules of all tiles."""
        needed = {r.run.folder for state in _NEEDED for r in ledger.queries.in_state(state)}
        for path in self._results.glob(f"*/{_EARLY}*.npz"):
            if path.parent.name not in needed:
                path.unlink(missing_ok=True)

    def _path(self, run: Run, job: Job) -> Path:
        return self._results / run.folder / f"{_EARLY}{job.file_name}.npz"
