"""Who made a result, and the roles that stand for its UIDs until its content is known.

One UID has one content: `content.settle` puts UIDs that end in the digest of an object in the place
of its roles, once it is built.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product

from dicom_node.config.languages import Language
from inference.types import NotAssessable, Prediction, Reason

NAMESPACE = uuid.UUID("3a9e5cf9-fbff-4cb6-bccd-0af4f401ffd7")
"""Name space of every UID the node derives (RFC 9562 5.5). Changing it renames all results."""

ROLES = f"2.25.{NAMESPACE.int}."
"""What every role begins with, and no UID that leaves the node."""
_ROLE_DIGITS = 64 - len(ROLES)
_SEPARATOR = "\x1f"
_REPORT = "report"
_MAY_BE_MENDED = {
    Reason.INCOMPLETE,
    Reason.ANALYSIS_FAILED,
    Reason.RESULTS_FAILED,
    Reason.NO_MODEL,
}
"""Refusals that the same instances may not meet again: a file is replaced, the node is mended, or a
later version reads more of what the slide says of its organ."""


@dataclass(frozen=True)
class Device:
    """The observer of the report: this node running one bundle (PS3.16 TID 1004)."""

    name: str
    manufacturer: str
    model: str
    software_version: str
    serial: str
    uid: str


@dataclass(frozen=True)
class Provenance:
    """What computed a result, and when."""

    bundle_name: str
    """Empty where no model ran: then the version and the engine are, too."""
    bundle_version: str
    bundle_digest: str
    """Where no model ran, of all models that there were and of their rules."""
    engine: str
    node_version: str
    created_at: datetime
    """The instant that the dates of the objects tell, with a time zone. In the node, when the study
    was closed, or when the analysis began that replaces an earlier one of it: both are stored."""
    made_then: bool = True
    """Whether that is about when they were made. If not, it is a date of the slide: the objects say
    so, and tell no time of their making."""
    variant: str = ""
    """What tells these results from others of the same bundle and the same slide: what was set
    aside for them, or that they are silent. Empty for ordinary ones."""
    language: Language = "en"
    """In which they speak to people."""

    @property
    def device(self) -> Device:
        """The node with this bundle. Another bundle or node version is another device."""
        model, software = "dicom-node", self.node_version
        if self.bundle_name:
            model = f"{model} with {self.bundle_name}"
            software = f"{software}, bundle {self.bundle_version}"
        return Device(
            name="DICOMNODE",
            manufacturer="dicom-node project",
            model=model[:64],
            software_version=software[:64],
            serial=self.bundle_digest.removeprefix("sha256:")[:16],
            uid=result_uid("device", self.node_version, self.bundle_digest),
        )


@dataclass(frozen=True)
class ResultNames:
    """Roles of the UIDs of one result object: what it was made from, and which result it is."""

    study_uid: str
    input_uids: tuple[str, ...]
    bundle_digest: str
    kind: str
    variant: str = ""

    @classmethod
    def of(
        cls, study_uid: str, input_uids: Sequence[str], provenance: Provenance, kind: str
    ) -> ResultNames:
        """Names of result `kind`; the order of `input_uids` does not matter, none is refused."""
        if not input_uids:
            raise ValueError("input_uids is empty: a result names the instances it was made from")
        inputs = tuple(sorted(set(input_uids)))
        return cls(study_uid, inputs, provenance.bundle_digest, kind, provenance.variant)

    def uid(self, role: str, index: int = 0) -> str:
        """What stands for the UID of `role` ("instance", "series", "tracking", ...), the `index`-th
        of its kind, until the object is settled."""
        text = _SEPARATOR.join(self._parts(role, index))
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        return f"{ROLES}{number % 10**_ROLE_DIGITS}"

    def uid_of_0_1(self, role: str) -> str:
        """The UID that versions without digests of the content gave the role."""
        return result_uid(*self._parts(role, 0))

    def _parts(self, role: str, index: int) -> tuple[str, ...]:
        variant = ("variant", self.variant) if self.variant else ()
        made_from = (self.study_uid, *self.input_uids, self.bundle_digest, self.kind)
        return (*variant, *made_from, role, str(index))


def report_names(
    study_uid: str,
    input_uids: Sequence[str],
    provenance: Provenance,
    result: Prediction | NotAssessable,
) -> ResultNames:
    """Roles of a report. Those of a failure are not those of the report which replaces it."""
    kind = _REPORT
    if isinstance(result, NotAssessable) and result.reason in _MAY_BE_MENDED:
        kind = _report_of(result.reason)
    return ResultNames.of(study_uid, input_uids, provenance, kind)


def _report_of(reason: Reason) -> str:
    return f"{_REPORT}, {reason}"


def series_of_report(
    study_uid: str,
    instance_uid: str,
    input_sets: Iterable[Sequence[str]],
    bundle_digests: Collection[str],
    variants: Collection[str] = ("",),
) -> str | None:
    """Series Instance UID of a report that is known by its SOP Instance UID only, and was made by a
    version that kept no other.

    None if it was made from none of these inputs by any of these bundles in one of these variants:
    the SOP Instance UID proves what it was made from.
    """
    kinds = [_REPORT, *(_report_of(reason) for reason in sorted(_MAY_BE_MENDED))]
    for inputs in input_sets:
        made_from = tuple(sorted(set(inputs)))
        for digest, kind, variant in product(sorted(bundle_digests), kinds, sorted(variants)):
            names = ResultNames(study_uid, made_from, digest, kind, variant)
            if names.uid_of_0_1("instance") == instance_uid:
                return names.uid_of_0_1("series")
    return None


def is_preliminary(result: Prediction | NotAssessable) -> bool:
    """Whether another report is to follow: Completion Flag PARTIAL (PS3.3 C.17.2)."""
    return isinstance(result, NotAssessable) and result.reason is Reason.INCOMPLETE


def result_uid(*parts: str) -> str:
    """UID 2.25.<UUID> (PS3.5 B.2), the same for the same parts: UUID version 5 in `NAMESPACE`.

    Raises ValueError for no parts, or a part that holds the separator (U+001F).
    """
    if not parts or any(_SEPARATOR in part for part in parts):
        raise ValueError(f"found {parts!r}; expected one or more parts without U+001F")
    return f"2.25.{uuid.uuid5(NAMESPACE, _SEPARATOR.join(parts)).int}"
