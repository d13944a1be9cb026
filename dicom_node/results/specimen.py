"""What the Specimen module demands (PS3.3 C.7.6.22) of an object whose slide lacks it."""

from __future__ import annotations

from pydicom import Dataset

from dicom_node.results.identity import ResultNames

_NOT_STATED = "not stated"


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
