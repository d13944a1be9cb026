"""Headers of slides that say something of their specimens, as short as tests want them."""

from __future__ import annotations

from typing import Any

from pydicom import Dataset
from pydicom.sequence import Sequence

H, E = ("12710003", "SCT", "hematoxylin stain"), ("36879007", "SCT", "water soluble eosin stain")
Triplet = tuple[str, str, str]


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def content(name: Triplet, value: Triplet) -> Dataset:
    """A coded content item of a preparation step."""
    item = Dataset()
    item.ValueType = "CODE"
    item.ConceptNameCodeSequence = Sequence([code(*name)])
    item.ConceptCodeSequence = Sequence([code(*value)])
    return item


def specimen(
    structure: Triplet | list[Triplet] = (),  # type: ignore[assignment]
    *,
    modifier: Triplet | None = None,
    type: Triplet | None = None,
    site: Triplet | None = None,
    site_name: Triplet = ("363698007", "SCT", "Finding Site"),
    stains: tuple[Triplet, ...] = (),
    short: str = "",
    detailed: str = "",
) -> Dataset:
    """An item of Specimen Description Sequence."""
    item = Dataset()
    item.SpecimenIdentifier = "S1"
    structures = [structure] if isinstance(structure, tuple) and structure else list(structure)
    if structures:
        item.PrimaryAnatomicStructureSequence = Sequence([code(*one) for one in structures])
        if modifier:
            first = item.PrimaryAnatomicStructureSequence[0]
            first.PrimaryAnatomicStructureModifierSequence = Sequence([code(*modifier)])
    if type:
        item.SpecimenTypeCodeSequence = Sequence([code(*type)])
    steps = [content(("424361007", "SCT", "Using substance"), one) for one in stains]
    if site:
        steps.append(content(site_name, site))
    if steps:
        step = Dataset()
        step.SpecimenPreparationStepContentItemSequence = Sequence(steps)
        item.SpecimenPreparationSequence = Sequence([step])
    if short:
        item.SpecimenShortDescription = short
    if detailed:
        item.SpecimenDetailedDescription = detailed
    return item


def header(*specimens: Dataset, region: Triplet | None = None, **attributes: Any) -> Dataset:
    """The header of a slide with these specimens on it."""
    dataset = Dataset()
    if specimens:
        dataset.SpecimenDescriptionSequence = Sequence(specimens)
    if region:
        dataset.AnatomicRegionSequence = Sequence([code(*region)])
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset
