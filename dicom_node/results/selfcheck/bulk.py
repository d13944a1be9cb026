"""Documents, numbers in bulk and their Modality."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom import Dataset
from pydicom.uid import (
    EncapsulatedPDFStorage,
    ParametricMapStorage,
)

_FLOATS = {
    "FloatPixelData": np.float32,
    "DoubleFloatPixelData": np.float64,
    "PointCoordinatesData": np.float32,
    "DoublePointCoordinatesData": np.float64,
    "FloatingPointValues": np.float32,
}


def faults(ds: Dataset) -> Iterator[str]:
    """What is wrong with what is neither a tree nor frames of whole numbers."""
    if ds.get("Modality") == "OT" and ds.SOPClassUID != ParametricMapStorage:
        yield "Modality OT: a viewer takes it for a Parametric Map and fails"
    if ds.SOPClassUID == EncapsulatedPDFStorage:
        document = bytes(ds.get("EncapsulatedDocument") or b"")
        if not document.startswith(b"%PDF-") or b"%%EOF" not in document[-1024:]:
            yield "EncapsulatedDocument is no whole PDF"
        if ds.get("MIMETypeOfEncapsulatedDocument") != "application/pdf":
            yield "MIMETypeOfEncapsulatedDocument is not application/pdf"
    groups = ds.get("AnnotationGroupSequence") or ()
    numbers = [int(group.AnnotationGroupNumber) for group in groups]
    if numbers != list(range(1, len(numbers) + 1)):
        yield "AnnotationGroupNumber does not count from 1: viewers take it for a place in a list"
    for item in (ds, *groups):
        for keyword, dtype in _FLOATS.items():
            values = item.get(keyword)
            if values is not None and not np.isfinite(np.frombuffer(values, dtype)).all():
                yield f"{keyword} holds a number that is not finite"
