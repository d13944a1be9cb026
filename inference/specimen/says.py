"""What the header of a slide says of its specimens, read without believing any of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.sr.coding import Code

from inference.slide.attributes import items, words
from inference.specimen.codes import Coded
from inference.specimen.vocabulary import MOST_CHARACTERS
from inference.specimen.wording import read

TAGS = (
    "SpecimenDescriptionSequence",
    "AnatomicRegionSequence",
    "PrimaryAnatomicStructureSequence",
    "BodyPartExamined",
    "StudyDescription",
)
"""Attributes to read for `read_specimens`."""
_FINDING_SITES = (
    Code("363698007", "SCT", "Finding Site"),
    Code("G-C0E3", "SRT", "Finding Site"),
)
_USING_SUBSTANCE = Code("424361007", "SCT", "Using substance")
_METASTATIC = (
    Code("14799000", "SCT", "Neoplasm, metastatic"),
    Code("128462008", "SCT", "Metastasis"),
)


@dataclass(frozen=True, slots=True)
class At:
    """A code, and the attribute that it stands in."""

    attribute: str
    code: Coded


@dataclass(frozen=True, slots=True)
class Specimen:
    """What is said of one specimen on the slide."""

    sites: tuple[At, ...] = ()
    """Codes of where it is from: structure, region, finding and collection site."""
    types: tuple[Coded, ...] = ()
    """Specimen Type Code Sequence (PS3.16 CID 8103)."""
    is_metastatic: bool = False
    """Whether a modifier of its structure says so: then the structure may be that of the origin."""
    texts: tuple[tuple[str, str], ...] = ()
    """(attribute, text) of its descriptions, which are never repeated."""
    stains: tuple[Coded, ...] = ()
    """Coded substances of its preparation (PS3.16 TID 8003)."""


@dataclass(frozen=True, slots=True)
class SlideSays:
    """What a slide says of its specimens and of where they are from."""

    specimens: tuple[Specimen, ...]
    """One at least; a slide that describes none has a silent one."""
    regions: tuple[At, ...]
    """Codes that hold for the whole image."""
    body_part: str
    study_description: str

    @property
    def types(self) -> tuple[Coded, ...]:
        """Specimen types, each once."""
        return tuple(dict.fromkeys(t for s in self.specimens for t in s.types))

    @property
    def stains(self) -> tuple[Coded, ...]:
        """Stains, each once."""
        return tuple(dict.fromkeys(t for s in self.specimens for t in s.stains))


def read_specimens(header: Dataset) -> SlideSays:
    """What the header says. Raises BadValue for an attribute that cannot be read."""
    described = items(header, "SpecimenDescriptionSequence")
    return SlideSays(
        specimens=tuple(_specimen(item) for item in described) or (Specimen(),),
        regions=tuple(_sites(header)),
        body_part=words(header, "BodyPartExamined")[:MOST_CHARACTERS],
        study_description=words(header, "StudyDescription")[:MOST_CHARACTERS],
    )


def _specimen(item: Dataset) -> Specimen:
    content = list(_content(item))
    texts = (
        (keyword, words(item, keyword)[:MOST_CHARACTERS])
        for keyword in ("SpecimenShortDescription", "SpecimenDetailedDescription")
    )
    found = [At("SpecimenPreparationSequence", code) for name, code in content
             if any(name.is_same(site) for site in _FINDING_SITES)]  # fmt: skip
    return Specimen(
        sites=(*_sites(item), *found),
        types=tuple(_code(one) for one in items(item, "SpecimenTypeCodeSequence")),
        is_metastatic=any(_is_of_metastasis(modifier) for modifier in _modifiers(item)),
        texts=tuple((keyword, text) for keyword, text in texts if text.strip()),
        stains=tuple(code for name, code in content if name.is_same(_USING_SUBSTANCE)),
    )


def _sites(item: Dataset) -> Iterator[At]:
    for keyword in ("PrimaryAnatomicStructureSequence", "AnatomicRegionSequence"):
        for one in items(item, keyword):
            yield At(keyword, _code(one))


def _modifiers(item: Dataset) -> Iterator[Coded]:
    """Of the structures; some writers put them beside the sequence and not into its items."""
    keyword = "PrimaryAnatomicStructureModifierSequence"
    for holder in (item, *items(item, "PrimaryAnatomicStructureSequence")):
        yield from (_code(one) for one in items(holder, keyword))


def _is_of_metastasis(modifier: Coded) -> bool:
    is_known = any(modifier.is_same(code) for code in _METASTATIC)
    return is_known or read(modifier.meaning).is_of_metastasis


def _content(item: Dataset) -> Iterator[tuple[Coded, Coded]]:
    """(concept name, value) of the coded content items of the preparation steps."""
    for step in items(item, "SpecimenPreparationSequence"):
        for one in items(step, "SpecimenPreparationStepContentItemSequence"):
            names = items(one, "ConceptNameCodeSequence")
            values = items(one, "ConceptCodeSequence")
            if names and values:
                yield _code(names[0]), _code(values[0])


def _code(item: Dataset) -> Coded:
    values = (words(item, keyword) for keyword in ("CodeValue", "LongCodeValue", "URNCodeValue"))
    return Coded(
        value=next(filter(None, values), ""),
        scheme=words(item, "CodingSchemeDesignator"),
        meaning=words(item, "CodeMeaning")[:MOST_CHARACTERS],
    )
