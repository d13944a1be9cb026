"""What a report says, as plain values, read from its own content tree: for a page.

Whatever the tree holds is found by what it is, not by where it stands: a sentence is a sentence, a
number a number, in the order of the report.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset

from dicom_node.config.languages import Language
from dicom_node.results import codes
from dicom_node.results.language.speaking import number, phrase
from dicom_node.results.language.tree import language_of
from dicom_node.results.sr.derived import children, meaning_of, name_of, number_of
from inference.outputs.units import WRITTEN, for_people

_LIBRARY = ("111028", "DCM")
_TRACKING = ("112039", "DCM")
_SUBJECT = ("121024", "DCM")
_FINDING = ("121071", "DCM")
_ALGORITHM = {
    ("111001", "DCM"): "Algorithm",
    ("111003", "DCM"): "version",
    ("122405", "DCM"): "by",
    ("111002", "DCM"): "parameter",
}
_SLIDE = {
    ("111700", "DCM"): "Slide",
    ("121041", "DCM"): "Specimen",
}
_CASE = (codes.SAID_CASE.value, codes.SCHEME)
_ASSESSMENT = (codes.ASSESSMENT.value, codes.SCHEME)
_REFUSED = (codes.NOT_PREDICTABLE.value, codes.SCHEME)
_REASON = (codes.REASON.value, codes.SCHEME)
_WHY = (codes.SAID_ASSESSABLE.value, codes.SCHEME)
_LIMIT = (codes.SAID_LIMIT.value, codes.SCHEME)
_WRITTEN = {**WRITTEN, "ratio": ""}
"""Units as people write them, where they write others than UCUM."""
_COUNTED = (codes.CLASSES_COUNTED.value, codes.SCHEME)
_INTERVAL = (codes.INTERVAL.value, codes.SCHEME)
_METHOD = (codes.MEASUREMENT_METHOD.value, codes.MEASUREMENT_METHOD.scheme_designator)
_COMMENT = (codes.COMMENT.value, codes.COMMENT.scheme_designator)


@dataclass(frozen=True, slots=True)
class Number:
    """A measurement as it is written, and what the report says of it: an interval, a derivation."""

    name: str
    value: str
    beside: tuple[str, ...] = ()
    counted: str = ""
    """Of what is counted over classes of tissue: which."""
    interval: tuple[str, ...] = ()
    """Those of `beside` that say how sure it is."""


@dataclass(frozen=True, slots=True)
class Section:
    """What one container of the report says."""

    title: str
    finding: str
    numbers: tuple[Number, ...]
    statements: tuple[tuple[str, str], ...]
    """Name and meaning of what is coded."""
    sentences: tuple[str, ...]
    place_mm: tuple[tuple[float, float], ...]
    """Outline (x, y) on the slide of the one marked place that it is about; empty if none."""
    is_of_specimen: bool = False
    """Whether it names a specimen as its own subject, as of one slide of a case."""

    @property
    def of_map(self) -> str:
        """The name of the map whose place it is about; empty where its title names none."""
        name, found, _ = self.title.partition(" top patch ")
        return name if found else ""

    @property
    def result(self) -> str:
        """What is coded of the very thing that it is about, such as the diagnosis; empty where
        nothing is."""
        return next((value for name, value in self.statements if name == self.finding), "")


@dataclass(frozen=True, slots=True)
class Said:
    """What a report says."""

    slide: tuple[tuple[str, str], ...]
    """Which slide it is about: label and identifier."""
    is_research: bool
    reason: str
    """Why nothing can be predicted; empty where something was."""
    sections: tuple[Section, ...]
    """Those of single places excluded."""
    places: tuple[Section, ...]
    algorithm: tuple[tuple[str, str], ...]
    is_of_case: bool = False
    """Whether it is of several slides together."""
    language: Language = "en"
    """In which its sentences are."""
    why: str = ""
    """Of a refusal: its reason in a sentence, with what was found and what is needed."""
    limits: tuple[str, ...] = ()
    """Those of the sentences that state limits of the model."""


def said_by(report: Dataset) -> Said:
    """What a report of the node says, in its order."""
    language = language_of(report)
    sections = [s for s in _sections(report, language) if s.numbers or s.statements or s.sentences]
    coded = {(*name_of(i), *_value_of(i)) for i in _walk(report) if i.ValueType == "CODE"}
    is_of_case = any(name_of(i) == _CASE for i in children(report))
    texts = [i for i in _walk(report) if i.ValueType == "TEXT"]
    algorithm = [
        (_ALGORITHM[name_of(i)], for_people(str(i.TextValue)))
        for i in texts
        if name_of(i) in _ALGORITHM
    ]
    slide = [(_SLIDE[name_of(i)], str(i.TextValue)) for i in texts if name_of(i) in _SLIDE]
    use = codes.FOR_RESEARCH
    reason = phrase(_reason(report), language)
    return Said(
        slide=tuple(dict.fromkeys(slide)),
        is_research=any(c[2:] == (use.value, use.scheme_designator) for c in coded),
        reason=reason,
        why=_why(texts) if reason else "",
        limits=tuple(_named(i, language) for i in texts if name_of(i) == _LIMIT),
        sections=tuple(s for s in sections if not s.place_mm),
        places=() if is_of_case else tuple(s for s in sections if s.place_mm),
        algorithm=tuple(dict.fromkeys(algorithm)),
        is_of_case=is_of_case,
        language=language,
    )


def _reason(report: Dataset) -> str:
    """Why nothing can be predicted: a slide that a case leaves out has a reason as well, and says
    nothing of the whole."""
    for group in (report, *_walk(report)):
        coded = {name_of(i): i for i in children(group) if i.ValueType == "CODE"}
        refused = _value_of(coded[_ASSESSMENT]) == _REFUSED if _ASSESSMENT in coded else False
        if refused and _REASON in coded:
            return _meaning(coded[_REASON])
    return ""


def _why(texts: list[Dataset]) -> str:
    """What the report answers to whether the slide could be assessed."""
    return next((for_people(str(i.TextValue)) for i in texts if name_of(i) == _WHY), "")


def _sections(container: Dataset, language: Language) -> Iterator[Section]:
    """A container's own section, then those below it; names in the language of the report."""
    items = [i for i in children(container) if i.ValueType != "CONTAINER"]
    yield Section(
        title=phrase(
            next((str(i.TextValue) for i in items if name_of(i) == _TRACKING), "")
            or meaning_of(container),
            language,
        ),
        finding=phrase(next((_meaning(i) for i in items if name_of(i) == _FINDING), ""), language),
        numbers=tuple(_number(i, language) for i in items if i.ValueType == "NUM"),
        statements=tuple(
            (phrase(name, language), phrase(value, language)) for name, value in _statements(items)
        ),
        sentences=tuple(_sentences(items, language)),
        place_mm=next((_outline(i) for i in items if i.get("GraphicType") == "POLYGON"), ()),
        is_of_specimen=any(name_of(i) == _SUBJECT for i in items),
    )
    for part in children(container):
        if part.ValueType == "CONTAINER" and name_of(part) != _LIBRARY:
            yield from _sections(part, language)


def _outline(region: Dataset) -> tuple[tuple[float, float], ...]:
    data = [float(n) for n in region.GraphicData]
    return tuple(zip(data[::3], data[1::3], strict=True))


def _number(item: Dataset, language: Language) -> Number:
    beside, interval, counted = [], [], ""
    for child in children(item):
        told = ""
        if name_of(child) == _COUNTED:
            counted = phrase(str(child.TextValue), language)
        if name_of(child) == _METHOD:
            continue  # the heading says what the numbers below it are of
        if child.ValueType == "NUM":
            told = _written(child, language)
        elif child.ValueType == "TEXT":
            told = for_people(str(child.TextValue))
        elif child.ValueType == "CODE":
            told = phrase(_meaning(child), language)
        if told:
            beside.append(f"{phrase(meaning_of(child), language)}: {told}")
        if name_of(child) == _INTERVAL:
            interval.append(beside[-1])
    name = phrase(meaning_of(item), language)
    return Number(name, _written(item, language), tuple(beside), counted, tuple(interval))


def _written(item: Dataset, language: Language) -> str:
    """Value and unit of a number, or why it has none."""
    value, unit = number_of(item)
    unit = _WRITTEN.get(unit, unit)
    return " ".join(filter(None, [number(phrase(value, language), language), unit]))


def _statements(items: list[Dataset]) -> Iterator[tuple[str, str]]:
    """What is coded of the finding; what is coded of the report itself is no statement."""
    for item in items:
        is_said = item.ValueType == "CODE" and item.RelationshipType == "CONTAINS"
        if is_said and name_of(item) != _FINDING:
            yield meaning_of(item), _meaning(item)


def _sentences(items: list[Dataset], language: Language) -> Iterator[str]:
    for item in items:
        if item.ValueType != "TEXT" or item.RelationshipType != "CONTAINS":
            continue
        name = name_of(item)
        if name not in _ALGORITHM and name != _TRACKING:
            is_comment = name == _COMMENT
            yield for_people(str(item.TextValue)) if is_comment else _named(item, language)


def _named(item: Dataset, language: Language) -> str:
    return f"{phrase(meaning_of(item), language)}: {for_people(str(item.TextValue))}"


def _walk(parent: Dataset) -> Iterator[Dataset]:
    for item in children(parent):
        yield item
        yield from _walk(item)


def _value_of(item: Dataset) -> tuple[str, str]:
    code = item.ConceptCodeSequence[0]
    value = code.get("CodeValue") or code.get("LongCodeValue") or ""
    return str(value), str(code.get("CodingSchemeDesignator", ""))


def _meaning(item: Dataset) -> str:
    return str(item.ConceptCodeSequence[0].CodeMeaning)
