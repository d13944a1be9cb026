"""The language of a report: what it says of itself, and its sentences (PS3.16 TID 1204)."""

from __future__ import annotations

from collections.abc import Iterable

from highdicom.sr import CodedConcept, LanguageOfContentItemAndDescendants
from pydicom import Dataset

from dicom_node.config.languages import LANGUAGES, Language
from dicom_node.results import codes
from dicom_node.results.language.speaking import phrase, sentences

_LANGUAGE = ("121049", "DCM")
_STATED: dict[Language, CodedConcept] = {
    "en": CodedConcept("en-US", "RFC5646", "English (United States)"),
    "de": CodedConcept("de-DE", "RFC5646", "German (Germany)"),
}
_SENTENCES = (
    codes.COMMENT,
    codes.SAID_SLIDE,
    codes.SAID_CASE,
    codes.SAID_STATUS,
    codes.SAID_ASSESSABLE,
    codes.SAID_CASE_JUDGED,
    codes.SAID_RESULT,
    codes.SAID_ANALYZED,
    codes.SAID_LEFT_OUT,
    codes.SAID_LIMIT,
    codes.SAID_PERFORMANCE,
    codes.WITHDRAWN,
    codes.WITHDRAWN_REPORT,
    codes.WITHDRAWN_MODEL,
)
_SAID = {(code.value, code.scheme_designator) for code in _SENTENCES}
_INTERVAL = (codes.INTERVAL.value, codes.SCHEME)


def stated(language: Language) -> LanguageOfContentItemAndDescendants:
    """What a report says of its language."""
    return LanguageOfContentItemAndDescendants(_STATED[language])


def language_of(report: Dataset, otherwise: Language = "en") -> Language:
    """The language that a report says it is in; where it says none that is known here, another."""
    for item in report.get("ContentSequence") or ():
        if _name(item) == _LANGUAGE:
            value = str(item.ConceptCodeSequence[0].CodeValue)
            return next((one for one in LANGUAGES if value.startswith(one)), otherwise)
    return otherwise


def speak(items: Iterable[Dataset], language: Language) -> None:
    """Says every sentence of a content tree in the language, in place; what names or counts
    something stays as it is."""
    if language == "en":
        return
    for item in items:
        if item.ValueType == "TEXT":
            if _name(item) in _SAID:
                item.TextValue = sentences(str(item.TextValue), language)
            elif _name(item) == _INTERVAL:
                item.TextValue = phrase(str(item.TextValue), language)
        speak(item.get("ContentSequence") or (), language)


def _name(item: Dataset) -> tuple[str, str]:
    names = item.get("ConceptNameCodeSequence")
    if not names:
        return "", ""
    return str(names[0].get("CodeValue", "")), str(names[0].get("CodingSchemeDesignator", ""))
