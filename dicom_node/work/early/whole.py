"""Which slides of a study that is still open can be encoded: what has come is counted, as when it
closes, and nothing of it is noted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Run
from dicom_node.study.evidence import gather_evidence, missing_of, slides_of
from dicom_node.study.facts import read_facts
from dicom_node.work.early.reading import all_read
from dicom_node.work.students.jobs import Assigning, Job
from dicom_node.work.students.roster import Known, Roster
from engines.manifest.tensors import TileInput
from inference.slide.files import SlideFiles

SETTLED_S = 2.0
"""Since the last file of a slide, and since the last byte of its sender unless that has sent other
things since: more of the slide is then not likely to come. Twice the time in which the ledger is
told of bytes that arrive."""


@dataclass(frozen=True, slots=True)
class EarlyJob:
    """A slide of an open study, by a model that runs on it."""

    run: Run
    slide: SlideFiles
    job: Job
    known: Known
    of: str
    """Digest of what its result says."""


def whole_slides(paths: Sequence[Path], moved: Callable[[], None]) -> list[SlideFiles]:
    """The slides of these files that lack nothing. Raises Uncountable, PatientsDiffer, OSError."""
    facts = []
    for path in paths:
        facts.append(read_facts(path))
        moved()
    counted = gather_evidence(facts)
    return [slide for slide in slides_of(facts) if not missing_of(slide, counted)]


def jobs_of(
    run: Run, slides: Sequence[SlideFiles], roster: Roster, assigning: Assigning
) -> list[EarlyJob]:
    """What can be done of them: by models that apply, and have a level that is fine enough.

    Raises Uncountable and OSError.
    """
    found = []
    for slide in slides:
        assigned = assigning.of(slide)
        for job in assigning.jobs([slide]):
            known = roster.of(job.model)
            if (
                known is None
                or known.bundle.manifest.unit != "slide"
                or assigning.refusal(job, assigned) is not None
            ):
                continue  # a refusal takes no time
            if _has_level(slide, known.bundle.manifest.input):
                found.append(EarlyJob(run, slide, job, known, all_read(slide, job, known)))
    return found


def is_settled(ledger: WorkerLedger, study: str, slide: SlideFiles) -> bool:
    """Whether it is not likely that more of a slide is on its way."""
    now = ledger.database.now()
    received = ledger.queries.received(study)
    mine = [received[uid] for uid in slide.input_uids if uid in received]
    last = max((at for _, at in mine), default=now)
    if len(mine) < len(slide.input_uids) or now - last < SETTLED_S:
        return False
    return all(
        now - ledger.queries.arriving_from(sender) >= SETTLED_S
        or ledger.queries.stored_from(sender) > last
        for sender in {sender for sender, _ in mine}
    )


def _has_level(slide: SlideFiles, wanted: TileInput) -> bool:
    """Whether a level is as fine as a model needs it."""
    coarsest_mm = wanted.mpp * (1 + wanted.mpp_tolerance) / 1000
    headers = (read_facts(path).header for path in slide.paths)
    return any(
        h.is_volume and h.width_mm is not None and 0 < h.width_mm <= coarsest_mm * h.cols
        for h in headers
    )
