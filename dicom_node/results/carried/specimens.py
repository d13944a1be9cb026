"""The specimens of a slide, each with what an object has to say of it (PS3.3 C.7.6.22)."""

from __future__ import annotations

from copy import deepcopy

from pydicom import Dataset

from dicom_node.results.identity import ResultNames, result_uid

_NOT_STATED = "not stated"
_TYPE_2 = ("IssuerOfTheSpecimenIdentifierSequence", "SpecimenPreparationSequence")


def specimens_of(source: Dataset) -> list[Dataset]:
    """The slide's specimens; of a slide that names none, what is in its container; nothing where it
    has no container either.

    A specimen without an identifier has the container's. One without a UID has one that follows
    from study, container and identifier: viewers leave out a report whose subject has none.
    `source` is the slide's header, `in_unicode`.
    """
    container = str(source.get("ContainerIdentifier") or "")
    specimens = [deepcopy(item) for item in source.get("SpecimenDescriptionSequence") or ()]
    if not specimens and container:
        specimens = [Dataset()]
    for item in specimens:
        if not item.get("SpecimenIdentifier") and container:
            item.SpecimenIdentifier = container
        if not item.get("SpecimenUID"):
            parts = (source.StudyInstanceUID, container, identifier_of(item))
            item.SpecimenUID = result_uid("specimen", *map(str, parts))
        for keyword in _TYPE_2:
            if keyword not in item:
                setattr(item, keyword, [])
    return specimens


def set_specimens(dataset: Dataset, source: Dataset) -> None:
    """Names the specimens in an object that names the container, where the slide names none."""
    if dataset.get("ContainerIdentifier") and not dataset.get("SpecimenDescriptionSequence"):
        dataset.SpecimenDescriptionSequence = specimens_of(source)


def identifier_of(specimen: Dataset) -> str:
    """Specimen Identifier (LO); a backslash, which it must not hold, came back as two values."""
    found = specimen.get("SpecimenIdentifier") or "?"
    return str(found) if isinstance(found, str) else "/".join(map(str, found))


def name_specimen(image: Dataset, names: ResultNames) -> None:
    """Names the specimen of an object by its container alone, or says that neither is stated.

    What the slide states stays as it is.
    """
    image.ContainerIdentifier = image.get("ContainerIdentifier") or _NOT_STATED
    for keyword in ("IssuerOfTheContainerIdentifierSequence", "ContainerTypeCodeSequence"):
        if keyword not in image:
            setattr(image, keyword, [])
    if not image.get("SpecimenDescriptionSequence"):
        specimen = Dataset()
        specimen.SpecimenIdentifier = image.ContainerIdentifier
        specimen.SpecimenUID = names.uid("specimen")
        specimen.IssuerOfTheSpecimenIdentifierSequence = []
        specimen.SpecimenPreparationSequence = []
        image.SpecimenDescriptionSequence = [specimen]
