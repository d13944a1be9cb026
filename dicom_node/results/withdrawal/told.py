"""Why something is withdrawn, and the sentences that say so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from pydicom import Dataset
from pydicom.sr.coding import Code

from dicom_node.config.languages import Language
from dicom_node.results import codes
from dicom_node.results.carried.dates import zone_of
from dicom_node.results.identity import Provenance
from dicom_node.results.modules import plain

_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
Said = tuple[Code, str]


class Cause(StrEnum):
    """What was wrong."""

    BUNDLE = "bundle"
    SLIDE = "slide"
    PATIENT = "patient"


_WHY = {
    Cause.BUNDLE: "the model that made it was found to be faulty",
    Cause.SLIDE: "the slide that it is about was rejected",
    Cause.PATIENT: "patient or order of the slide were wrong when it was made",
}
TITLES = {
    Cause.BUNDLE: codes.REJECTED_FOR_SAFETY,
    Cause.SLIDE: codes.REJECTED_FOR_QUALITY,
    Cause.PATIENT: codes.WRONG_WORKLIST_ENTRY,
}
"""Title of the rejection note (PS3.16 CID 7011, IHE IOCM)."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of everything that one withdrawal takes back."""

    cause: Cause
    because: str
    """In the words of who withdraws; may be empty."""
    at: datetime
    """When, with a time zone: from the ledger."""
    node_version: str
    language: Language = "en"
    """In which it is said where the object that is withdrawn names none."""

    @property
    def why(self) -> str:
        """The reason, as the end of a sentence."""
        return plain(": ".join(filter(None, [_WHY[self.cause], self.because.strip()])))

    def provenance(self, withdrawn: Dataset) -> Provenance:
        """Who signs: the node, without a model; its serial number is that of the bundle."""
        return Provenance(
            bundle_name="",
            bundle_version="",
            bundle_digest=bundle_in(withdrawn) or str(withdrawn.get("DeviceSerialNumber") or ""),
            engine="",
            node_version=self.node_version,
            created_at=self.at,
        )


def bundle_in(dataset: Dataset) -> str:
    """Digest of the bundle that an object says it was made with; empty where it says none."""
    for item in reversed(dataset.get("ContributingEquipmentSequence") or ()):
        if found := _DIGEST.search(str(item.get("ContributionDescription") or "")):
            return found[0]
    return ""


def sentences(withdrawn: Dataset, slide: str, told: Told) -> Iterator[Said]:
    """What replaces a report, from the top; nothing of what it had found. `slide` is its sentence
    on which slide it is about, empty where there is none."""
    yield codes.WITHDRAWN, f"This report and its maps must not be used, because {told.why}."
    if slide:
        yield codes.SAID_SLIDE, slide
    yield codes.SAID_RESULT, "None: no number is given."
    made = str(withdrawn.get("ContentDate") or "")
    dated = f" of {made[:4]}-{made[4:6]}-{made[6:8]}" if len(made) == 8 else ""
    yield (
        codes.WITHDRAWN_REPORT,
        f"The report{dated} with the SOP Instance UID {withdrawn.SOPInstanceUID}.",
    )
    yield codes.WITHDRAWN_MODEL, _model(withdrawn)
    at = told.at.astimezone(zone_of(withdrawn) or UTC)
    yield codes.WITHDRAWN_AT, at.strftime("%Y-%m-%d %H:%M:%S %z")


def _model(withdrawn: Dataset) -> str:
    """Bundle, version and digest, as the report has them."""
    versions = withdrawn.get("SoftwareVersions") or "?"
    first = versions if isinstance(versions, str) else versions[0]
    digest = bundle_in(withdrawn)
    end = f", digest {digest}" if digest else ""
    return f"{withdrawn.get('ManufacturerModelName') or '?'}, version {first}{end}."
