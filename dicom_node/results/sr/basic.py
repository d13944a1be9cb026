"""The report as a Basic Text SR (PS3.3 A.35.1), for a PACS that knows no other: numbers as text.

What has no place in it, the regions, is left out; every sentence, code and number stays.
"""

from __future__ import annotations

from collections.abc import Iterator

from highdicom.sr import CodedConcept
from pydicom import Dataset

from dicom_node.config.languages import Language
from dicom_node.results import codes
from dicom_node.results.kinds import REPORT_TEXT
from dicom_node.results.language.speaking import number, phrase
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.sr.derived import children, in_form, number_of, without_content

_REGIONS = {"SCOORD", "SCOORD3D", "TCOORD"}


def make(making: Making) -> Iterator[BuiltObject]:
    """The report once more, without a template: that of the report asks for numbers."""
    language = making.provenance.language
    shown = [item for item in children(making.report) if item.ValueType not in _REGIONS]
    tree = [_as_text(item, language) for item in shown]
    form = in_form(making, REPORT_TEXT, "AI report, text", tree)
    form.pop("ContentTemplateSequence", None)
    form.ConceptNameCodeSequence = [CodedConcept.from_code(codes.DIAGNOSTIC_REPORT)]
    yield BuiltObject(REPORT_TEXT.name, making.slide.key, form)


def _as_text(item: Dataset, language: Language) -> Dataset:
    new = without_content(item)
    if item.ValueType == "NUM":
        new.ValueType = "TEXT"
        value, unit = number_of(item)
        told = number(phrase(value, language), language)
        new.TextValue = " ".join(part for part in (told, unit) if part)
        for keyword in ("MeasuredValueSequence", "NumericValueQualifierCodeSequence"):
            new.pop(keyword, None)
    below = [
        _as_text(child, language) for child in children(item) if child.ValueType not in _REGIONS
    ]
    if below:
        new.ContentSequence = below
    return new
