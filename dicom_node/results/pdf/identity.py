"""Who and which slide a page is about, in the words of the report and of the slide."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pydicom import Dataset
from pydicom.valuerep import PersonName

from dicom_node.config.languages import Language
from dicom_node.results.language.speaking import phrase
from dicom_node.results.pdf.said import Said

_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_UNKNOWN = "not stated"
_STAINING = ("424361007", "SCT")
"""Using substance (PS3.16 TID 8003): what a specimen was stained with."""


def identity_of(
    report: Dataset, sources: Sequence[Dataset], said: Said
) -> tuple[tuple[str, str], ...]:
    """Label and value of what a wrong patient or a wrong slide would be seen by."""
    container = _of_all(said, "Slide") or _listed(
        str(source.get("ContainerIdentifier") or "") for source in sources
    )
    told = (
        ("Patient", person(report.get("PatientName"))),
        ("Slide", container or _UNKNOWN),
        ("Patient ID", str(report.get("PatientID") or _UNKNOWN)),
        ("Specimen", _of_all(said, "Specimen") or _UNKNOWN),
        ("Born, sex", _born(report, said.language)),
        ("Stain", _listed(map(_stain, sources)) or _UNKNOWN),
        ("Accession", str(report.get("AccessionNumber") or _UNKNOWN)),
        ("Study date", date(report.get("StudyDate"))),
    )
    unknown = phrase(_UNKNOWN, said.language)
    return tuple(
        (phrase(name, said.language), unknown if value == _UNKNOWN else value)
        for name, value in told
    )


def _of_all(said: Said, label: str) -> str:
    """An identifier, or those of all slides of a case."""
    return _listed(value for name, value in said.slide if name == label)


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(filter(None, values)))


def person(name: PersonName | str | None) -> str:
    """A name as people write it, its groups (PS3.5 6.2.1.1) apart: letters, ideographs, sounds."""
    groups = [" ".join(part for part in g.split("^") if part) for g in str(name or "").split("=")]
    return " / ".join(group for group in groups if group.strip()) or _UNKNOWN


def date(value: object) -> str:
    """A DICOM date as 2026-03-04; what is none as it came."""
    text = str(value or "").strip()
    found = _DATE.fullmatch(text)
    return "-".join(found.groups()) if found else text or _UNKNOWN


def _born(report: Dataset, language: Language) -> str:
    stated = [date(report.get("PatientBirthDate")), _sex(report)]
    if stated == [_UNKNOWN] * 2:
        return _UNKNOWN
    return ", ".join(phrase(one, language) for one in stated)


def _sex(report: Dataset) -> str:
    sex = str(report.get("PatientSex") or "")
    return {"M": "male", "F": "female", "O": "other"}.get(sex, sex or _UNKNOWN)


def _stain(source: Dataset) -> str:
    """Coded stains of the first specimen."""
    found = []
    for specimen in (source.get("SpecimenDescriptionSequence") or ())[:1]:
        for step in specimen.get("SpecimenPreparationSequence") or ():
            for item in step.get("SpecimenPreparationStepContentItemSequence") or ():
                name = (item.get("ConceptNameCodeSequence") or [Dataset()])[0]
                code = (name.get("CodeValue"), name.get("CodingSchemeDesignator"))
                if code == _STAINING and item.get("ConceptCodeSequence"):
                    found.append(str(item.ConceptCodeSequence[0].CodeMeaning))
    return ", ".join(dict.fromkeys(found))
