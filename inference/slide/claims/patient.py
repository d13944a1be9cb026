"""Whose slide it is: what names patient, order and container, compared, never shown.

The files of one slide are joined by series and container, which say nothing of the patient: a
mix-up upstream (two patients' levels under one series) shows only here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import TypeVar

from pydicom import Dataset

from inference.slide.attributes import BadValue, first, tag_of

_OF_THE_PATIENT = (
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
)
"""PS3.3 C.7.1.1."""
_OF_THE_ORDER = (
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "AccessionNumber",
    "ContainerIdentifier",
    "IssuerOfTheContainerIdentifierSequence",
)
"""PS3.3 C.7.2.1, C.7.6.22.1."""
IDENTIFYING = (*_OF_THE_PATIENT, *_OF_THE_ORDER, "SpecificCharacterSet")
"""Attributes to read for `read_patient` and `read_order`."""


_MOST_COMPARED = 50
"""So many ways to name one patient are more than any slide has: a difference is among them."""


@dataclass(frozen=True, slots=True)
class Patient:
    """Who a file says it belongs to, spaces and delimiters that do not count left out."""

    patient_id: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)
    name: tuple[str, ...] = field(default=(), repr=False)
    """Component groups: alphabetic, ideographic, phonetic (PS3.5 6.2.1)."""
    birth_date: str = field(default="", repr=False)
    sex: str = field(default="", repr=False)
    issuer_uid: str = field(default="", repr=False)
    """Universal Entity ID of the issuer (Issuer of Patient ID Qualifiers)."""

    def differs_from(self, other: Patient) -> tuple[str, ...]:
        """Keywords of the attributes in which the two cannot be the same person's.

        Without equal Patient IDs an attribute that only one of them states is a difference too;
        with them, an absent name or birth date (type 2) contradicts nothing.
        """
        tied = bool(self.patient_id) and self.patient_id == other.patient_id
        pairs = {
            "PatientID": (self.patient_id, other.patient_id, True),
            "IssuerOfPatientID": (self.issuer, other.issuer, False),
            "IssuerOfPatientIDQualifiersSequence": (self.issuer_uid, other.issuer_uid, False),
            "PatientBirthDate": (self.birth_date, other.birth_date, not tied),
            "PatientSex": (self.sex, other.sex, False),
        }
        found = [
            keyword
            for keyword, (mine, theirs, strict) in pairs.items()
            if mine != theirs and (strict or (mine and theirs))
        ]
        if self._other_name(other, strict=not tied):
            found.append("PatientName")
        return tuple(sorted(found))

    def _other_name(self, other: Patient, *, strict: bool) -> bool:
        """Whether a component group that both state differs; strict: or none is common to both."""
        both = [(a, b) for a, b in zip(self.name, other.name, strict=False) if a and b]
        if strict and not both:  # nothing says that the two names are one person's
            return any(self.name) or any(other.name)
        return any(a != b for a, b in both)


def read_patient(header: Dataset) -> Patient:
    """Who a header says it belongs to; bytes that cannot be decoded count as they are."""
    name = _text(header, "PatientName").split("=")
    return Patient(
        patient_id=_text(header, "PatientID"),
        issuer=_text(header, "IssuerOfPatientID"),
        name=tuple(_components(group) for group in name),
        birth_date=_text(header, "PatientBirthDate"),
        sex=_text(header, "PatientSex"),
        issuer_uid=_issuer(header, "IssuerOfPatientIDQualifiersSequence"),
    )


@dataclass(frozen=True, slots=True)
class Order:
    """Which study and container a file says it belongs to, by keyword; '' where it does not."""

    stated: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def differs_from(self, other: Order) -> tuple[str, ...]:
        """Keywords of what both state, and state differently."""
        theirs = dict(other.stated)
        return tuple(k for k, mine in self.stated if mine and theirs[k] and mine != theirs[k])


def read_order(header: Dataset) -> Order:
    """Study and container of a header."""
    issuer = "IssuerOfTheContainerIdentifierSequence"
    return Order(
        tuple((k, _issuer(header, k) if k == issuer else _text(header, k)) for k in _OF_THE_ORDER)
    )


@dataclass(frozen=True, slots=True)
class Owner:
    """All that the files of one slide have in common."""

    patient: Patient
    order: Order

    def differs_from(self, other: Owner) -> tuple[str, ...]:
        """Keywords in which the two cannot be of one slide."""
        return self.patient.differs_from(other.patient) + self.order.differs_from(other.order)


_T = TypeVar("_T", Patient, Order, Owner)


@dataclass(frozen=True, slots=True)
class Difference:
    """Two files that cannot be of one patient, or of one slide."""

    attributes: tuple[str, ...]
    """Keywords in which any two files differ."""
    one: str
    other: str


def first_difference(patients: Mapping[str, _T]) -> Difference | None:
    """In what files, by any name, are not of one patient; None when all are.

    Every pair counts: a file that states nothing ties no two others together.
    """
    named: dict[_T, str] = {}
    for file, patient in patients.items():
        named.setdefault(patient, file)
        if len(named) == _MOST_COMPARED:
            break
    pairs = [(one, other, one.differs_from(other)) for one, other in combinations(named, 2)]
    found = [(named[one], named[other], how) for one, other, how in pairs if how]
    if not found:
        return None
    attributes = tuple(sorted({keyword for _, _, how in found for keyword in how}))
    return Difference(attributes, found[0][0], found[0][1])


def _text(header: Dataset, keyword: str) -> str:
    tag = tag_of(keyword)
    if tag not in header:
        return ""
    try:
        value = header[tag].value
    except Exception:  # noqa: BLE001 - an odd value is compared as the bytes it is
        value = header.get_item(tag).value
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    return text.strip(" \0")


def _issuer(header: Dataset, keyword: str) -> str:
    """The worldwide name of an issuer, or its local one (PS3.3 table 10-17, 10-18)."""
    try:
        item = first(header, keyword)
    except BadValue:
        return ""
    return _text(item, "UniversalEntityID") or _text(item, "LocalNamespaceEntityID")


def _components(group: str) -> str:
    """A component group: trailing delimiters, spaces around components, case and the way in which
    a character is composed do not count."""
    parts = unicodedata.normalize("NFKC", group).split("^")
    return "^".join(part.strip() for part in parts).rstrip("^").casefold()
