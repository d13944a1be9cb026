"""Who and what a page is about: banner, patient, slide, and what made the report when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.sr.codedict import codes

from dicom_node.view.names import name_parts, whole_name
from dicom_node.view.page.markup import Named
from dicom_node.view.reading import Report
from inference.phantom.draw import DRAWN
from inference.slide.attributes import BadValue
from inference.specimen.codes import Coded
from inference.specimen.says import read_specimens

NOT_FOR_DIAGNOSIS = "Not for diagnosis"
_TAIL = 12
_SEXES = {"M": "male", "F": "female", "O": "other"}


def banner(header: Dataset, sr: Dataset, report: Report) -> str:
    """What must be known before a number is read."""
    said = []
    if report.is_research:
        said.append(f"Research only. {NOT_FOR_DIAGNOSIS}: it predicts nothing about a patient.")
    if header.get("SeriesDescription") == DRAWN:
        said.append("This slide is drawn; there is no patient.")
    flags = (sr.get("PreliminaryFlag"), sr.get("VerificationFlag"))
    status = " and ".join(str(flag).lower() for flag in flags if flag)
    said.append(f"The report is {status or 'not verified'}.")
    return " ".join(said)


def patient(sr: Dataset) -> list[Named]:
    """Who the report says it is of."""
    sex = _text(sr.get("PatientSex"))
    return [
        *name_parts("Patient", sr.get("PatientName")),
        ("Patient ID", _text(sr.get("PatientID"))),
        ("Born", _date(sr.get("PatientBirthDate"))),
        ("Sex", _SEXES.get(sex, sex)),
        ("Accession", _text(sr.get("AccessionNumber"))),
    ]


def slide(header: Dataset, sr: Dataset) -> list[Named]:
    """Which slide it is, by what its own header says."""
    specimens = header.get("SpecimenDescriptionSequence") or ()
    uid = str(header.get("SOPInstanceUID", ""))
    return [
        ("Slide", container(header)),
        ("Specimen", _each(s.get("SpecimenIdentifier") for s in specimens)),
        ("Described as", _each(s.get("SpecimenShortDescription") for s in specimens)),
        *_sampled_from(specimens),
        ("Stain", _stain(header)),
        ("Study date", _date(sr.get("StudyDate"))),
        ("Study", _text(sr.get("StudyDescription"))),
        ("Image UID ends in", f"…{uid[-_TAIL:]}" if uid else ""),
    ]


def made(sr: Dataset) -> list[Named]:
    """Which report it is, when it was made and by which node."""
    uid = str(sr.get("SOPInstanceUID", ""))
    return [
        ("Report", _text(sr.get("SeriesDescription"))),
        when(sr),
        ("Node", _each([sr.get("ManufacturerModelName"), *_several(sr.get("SoftwareVersions"))])),
        ("Report UID ends in", f"…{uid[-_TAIL:]}" if uid else ""),
    ]


def running(sr: Dataset, slide_name: str) -> str:
    """Patient and slide in one line, for the head of every printed page."""
    born = _date(sr.get("PatientBirthDate"))
    name, time = when(sr)
    parts = [
        whole_name(sr.get("PatientName")),
        _text(sr.get("PatientID")),
        born and f"born {born}",
        slide_name,
        f"{name[:1].lower()}{name[1:]} {time}",
    ]
    return " | ".join(filter(None, parts))


def container(header: Dataset) -> str:
    """Identifier of the glass slide; empty where the header has none."""
    return _text(header.get("ContainerIdentifier"))


def when(sr: Dataset) -> Named:
    """When the report was made; one that may come again the same does not tell that, and has the
    date of its slide."""
    return "Report made" if "InstanceCreationDate" in sr else "Date of the slide", moment(sr)


def moment(sr: Dataset) -> str:
    """Content Date and Time, with their zone where the report tells it."""
    date, time = _date(sr.get("ContentDate")), str(sr.get("ContentTime") or "")
    if len(date) != 10 or not time:
        return date
    return f"{date} {time[:2]}:{time[2:4]}".strip(" :") + f" {_zone(sr)}".rstrip()


def _zone(sr: Dataset) -> str:
    """Zone of the report's dates: stated for all of them, or with the moment we contributed."""
    stated = str(sr.get("TimezoneOffsetFromUTC") or "")
    contributed = [
        str(i.get("ContributionDateTime")) for i in sr.get("ContributingEquipmentSequence", ())
    ]
    told = next((text[-5:] for text in contributed if text[-5:-4] in ("+", "-")), "")
    offset = stated or told
    return f"UTC{offset if offset.strip('+-0') else ''}" if offset else ""


def _date(value: object) -> str:
    """Such as 2026-01-02; what is no date is shown as it is."""
    text = str(value or "").strip()
    is_date = len(text) == 8 and text.isdigit()
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if is_date else text


def _sampled_from(specimens: Sequence[Dataset]) -> Iterator[Named]:
    """The block that the slide was cut from, where a sampling step names its parent (TID 8004)."""
    blocks: list[str] = []
    others: list[str] = []
    for specimen in specimens:
        for step in specimen.get("SpecimenPreparationSequence") or ():
            items = step.get("SpecimenPreparationStepContentItemSequence") or ()
            parent, kind = "", ""
            for item in items:
                if _is(item, codes.DCM.ParentSpecimenIdentifier):
                    parent = _text(item.get("TextValue"))
                elif _is(item, codes.DCM.ParentSpecimenType) and item.get("ConceptCodeSequence"):
                    kind = _text(item.ConceptCodeSequence[0].get("CodeMeaning"))
            (blocks if "block" in kind.casefold() else others).append(parent)
    yield "Block", _each(blocks)
    yield "Sampled from", _each(others)


def _is(item: Dataset, code: object) -> bool:
    names = item.get("ConceptNameCodeSequence")
    return bool(names) and names[0].get("CodeValue") == getattr(code, "value", None)


def _stain(header: Dataset) -> str:
    try:
        stains = read_specimens(header).stains
    except BadValue:
        return "cannot be read"
    return _each(_plain(stain) for stain in stains) or "not stated"


def _plain(stain: Coded) -> str:
    """Such as: hematoxylin, of "hematoxylin stain"."""
    return (stain.meaning or stain.value).removesuffix(" stain").removeprefix("water soluble ")


def _each(values: object) -> str:
    """Every value that there is, once."""
    texts = [_text(value) for value in _several(values)]
    return ", ".join(dict.fromkeys(filter(None, texts)))


def _several(values: object) -> list[object]:
    if isinstance(values, Iterable) and not isinstance(values, str):
        return list(values)
    return [values]


def _text(value: object) -> str:
    """A value in words; one of several, which a backslash makes, is put together."""
    if isinstance(value, (MultiValue, list, tuple)):
        return "/".join(map(str, value))
    return str(value or "").strip()
