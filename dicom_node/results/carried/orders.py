"""The orders that a slide was made for: by their numbers the LIS finds what came of them."""

from __future__ import annotations

from copy import deepcopy

from pydicom import Dataset

_NUMBERS = ("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest")
_OF_REQUEST = (*_NUMBERS, "RequestedProcedureID", "RequestedProcedureDescription")
"""Type 2 in a report (PS3.3 C.17.2), like the sequences below."""
_SEQUENCES = ("ReferencedStudySequence", "RequestedProcedureCodeSequence")
_MORE = (
    "IssuerOfAccessionNumberSequence",
    "OrderPlacerIdentifierSequence",
    "OrderFillerIdentifierSequence",
    "ReasonForTheRequestedProcedure",
    "ReasonForRequestedProcedureCodeSequence",
)
_DOCUMENTS = ("SR", "KO")
"""Modalities whose objects refer to requests as reports do."""


def set_orders(dataset: Dataset, source: Dataset) -> None:
    """Referenced Request Sequence of a report (PS3.3 C.17.2), Request Attributes Sequence of other
    objects (C.7.3.1); nothing where the slide names no order."""
    requests = [deepcopy(item) for item in source.get("RequestAttributesSequence") or ()]
    if dataset.Modality in _DOCUMENTS:
        if not requests and any(source.get(keyword) for keyword in _NUMBERS):
            requests = [Dataset()]
        if requests:
            dataset.ReferencedRequestSequence = [_referenced(item, source) for item in requests]
    elif requests:
        dataset.RequestAttributesSequence = requests


def _referenced(request: Dataset, source: Dataset) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = request.get("StudyInstanceUID") or source.StudyInstanceUID
    item.AccessionNumber = request.get("AccessionNumber") or source.get("AccessionNumber")
    for keyword in _OF_REQUEST:  # some write them beside the sequence
        setattr(item, keyword, request.get(keyword) or source.get(keyword))
    for keyword in _SEQUENCES:
        setattr(item, keyword, deepcopy(request.get(keyword) or []))
    for keyword in _MORE:
        if request.get(keyword):
            setattr(item, keyword, deepcopy(request.get(keyword)))
    return item
