"""Who signs a result: the student that made it, or the node where none ran."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dicom_node import __version__
from dicom_node.config.languages import Language
from dicom_node.results.identity import Provenance
from dicom_node.work.routing.values import Taken
from dicom_node.work.students.jobs import Job
from dicom_node.work.students.roster import Known, Roster
from inference.slide.files import SlideFiles


@dataclass(frozen=True, slots=True)
class Written:
    """One job whose objects are written."""

    slide: SlideFiles
    job: Job
    number: int
    """0-based place among the jobs of its study."""
    known: Known | None
    """None where no model runs."""
    taken: Taken | None
    """What was said when it was routed; None where nothing was."""
    beside: frozenset[str]
    """Models whose reports of the slide are sent, this one included."""

    @property
    def is_silent(self) -> bool:
        """Whether its objects go nowhere."""
        return self.known is not None and self.known.is_silent


def provenance_of(
    roster: Roster,
    known: Known | None,
    taken: Taken | None,
    created_at: datetime,
    language: Language,
) -> Provenance:
    """What computed a result, and when; without a student, what chose none."""
    if known is None:
        return Provenance(
            bundle_name="",
            bundle_version="",
            bundle_digest=roster.digest,
            engine="",
            node_version=__version__,
            created_at=created_at,
            language=language,
        )
    return Provenance(
        bundle_name=known.bundle.manifest.name,
        bundle_version=known.bundle.manifest.version,
        bundle_digest=known.bundle.digest,
        engine=known.engine,
        node_version=__version__,
        created_at=created_at,
        variant=_variant(known, taken),
        language=language,
    )


def _variant(known: Known, taken: Taken | None) -> str:
    """What of the configuration is in the results beside the bundle: one UID has one content, and
    what was only tried silently leaves the UIDs free for what will be sent."""
    cautions = taken.cautions if taken is not None and known.student.entry.override else ()
    silent = (f"silent {known.model}",) if known.is_silent else ()
    return " ".join((*silent, *cautions))
