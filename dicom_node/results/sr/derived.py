"""What the forms of a report share: each is made of the built report, and says what that says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.results.kinds import Kind
from dicom_node.results.making import Making
from dicom_node.results.modules import series_description
from inference.types import SlideGeometry


def in_form(making: Making, kind: Kind, what: str, tree: Iterable[Dataset]) -> Dataset:
    """The slide's report with another content tree, as an instance of `kind` of its own.

    Patient, study, evidence, requests, equipment, dates and flags are the report's:
    who gets this one in its place misses nothing but what its class cannot hold. `what` begins the
    Series Description.
    """
    report = making.report
    names = making.names_after(report, kind.name)
    form = Dataset()
    for element in report:
        if element.keyword != "ContentSequence":
            form.add(deepcopy(element))
    form.SOPClassUID = kind.sop_class.uid
    form.SOPInstanceUID = names.uid("instance")
    form.SeriesInstanceUID = names.uid("series")
    form.SeriesNumber = making.asked_series_number(kind)
    form.SeriesDescription = series_description(
        what, making.manifest, making.of_one, making.provenance.language
    )
    if making.predecessor is not None:  # its own, at whoever gets this form
        form.PredecessorDocumentsSequence = predecessors(making.predecessor)
    form.ContentSequence = list(tree)
    form.file_meta = FileMetaDataset()
    form.file_meta.MediaStorageSOPClassUID = UID(kind.sop_class.uid)
    form.file_meta.MediaStorageSOPInstanceUID = UID(form.SOPInstanceUID)
    form.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in ("ImplementationClassUID", "ImplementationVersionName"):
        setattr(form.file_meta, keyword, report.file_meta[keyword].value)
    return form


def predecessors(named: Dataset) -> list[Dataset]:
    """Predecessor Documents Sequence (PS3.3 C.17.2) of one document, by its UIDs."""
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID = named.SOPClassUID
    instance.ReferencedSOPInstanceUID = named.SOPInstanceUID
    series.ReferencedSOPSequence = [instance]
    series.SeriesInstanceUID = named.SeriesInstanceUID
    study.ReferencedSeriesSequence = [series]
    study.StudyInstanceUID = named.StudyInstanceUID
    return [study]


def without_content(item: Dataset) -> Dataset:
    """A content item without the items below it."""
    bare = Dataset()
    for element in item:
        if element.keyword not in ("ContentSequence", "ContentTemplateSequence"):
            bare.add(deepcopy(element))
    return bare


def children(item: Dataset) -> Iterator[Dataset]:
    """The content items right below one, or below the root."""
    yield from item.get("ContentSequence") or ()


def name_of(item: Dataset) -> tuple[str, str]:
    """Code value and scheme of a content item's concept name; empty where it has none."""
    names = item.get("ConceptNameCodeSequence")
    if not names:
        return "", ""
    value = names[0].get("CodeValue") or names[0].get("LongCodeValue") or ""
    return str(value), str(names[0].get("CodingSchemeDesignator", ""))


def meaning_of(item: Dataset) -> str:
    """What a content item's concept name means; empty where it has none."""
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeMeaning) if names else ""


def number_of(item: Dataset) -> tuple[str, str]:
    """Value and unit of a NUM item as people write them: 1 is no unit, braces are not written.

    Where it has no value, why: the meaning of its Numeric Value Qualifier.
    """
    values = item.get("MeasuredValueSequence")
    if not values:
        qualifiers = item.get("NumericValueQualifierCodeSequence")
        return (f"no value: {qualifiers[0].CodeMeaning}" if qualifiers else "no value"), ""
    unit = str(values[0].MeasurementUnitsCodeSequence[0].CodeValue)
    unit = "" if unit == "1" else unit.replace("{", "").replace("}", "")
    return str(values[0].NumericValue), unit


def to_pixels(geometry: SlideGeometry, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(column, row) [K, 2] in the total pixel matrix of points (x_mm, y_mm) [K, 2] on the slide.

    The inverse of `to_slide_mm`; what lies outside by rounding lies on the border.
    """
    right = np.array(geometry.orientation[:2]) * geometry.spacing_col_mm
    down = np.array(geometry.orientation[3:5]) * geometry.spacing_row_mm
    origin = (geometry.origin_x_mm, geometry.origin_y_mm)
    found = np.linalg.solve(np.array([right, down]).T, (points_mm - origin).T).T
    return np.clip(np.round(found, 2), 0, (geometry.cols, geometry.rows))
