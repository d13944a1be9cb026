"""What every result shares: patient and study of the slide, our equipment, dates, file meta."""

from __future__ import annotations

import math
import re
import unicodedata
from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal

from highdicom import PixelMeasuresSequence
from highdicom.sr import CodedConcept
from pydicom import DataElement, Dataset
from pydicom.uid import UID

from dicom_node import implementation
from dicom_node.results import codes
from dicom_node.results.identity import Provenance
from engines.manifest.whole import Manifest
from inference.errors import MALFORMED
from inference.slide.characters.header import UTF_8
from inference.slide.terms import is_uid
from inference.types import SlideGeometry

_NOMINAL_THICKNESS_MM = 0.001
"""Where the slide states none: about the depth of field of a scanner's objective."""
# Type 2 attributes of the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1)
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
_ASCII = str.maketrans(
    {
        "µ": "u",
        "μ": "u",
        "×": "x",
        "–": "-",
        "—": "-",
        "≥": ">=",
        "≤": "<=",
        "°": " deg",
        "²": "2",
        "³": "3",
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
    }
)

_UNSEEN = {"Cc", "Cf", "Cs"}
"""Controls, marks of direction, half characters (General_Category of Unicode)."""
_JOINERS = "\u200c\u200d"
"""Of these a part of how some scripts are spelled."""
_OFFSET = re.compile(r"([+-]?)([01]\d)([0-5]\d)")


def blank_header(source: Dataset, geometry: SlideGeometry | None) -> Dataset:
    """The slide's header, `in_unicode`, with the type 2 patient and study attributes empty, and
    with the Pixel Measures that were calculated with in the shared groups, wherever the slide
    states them.

    highdicom parses the former on construction and refuses (or logs) values it dislikes; `complete`
    puts them back as they came. The latter it takes for granted, and Number of Frames too, which
    some writers leave out where there is one; and Modality, which is SM (PS3.3 A.32.8), and the
    size of the frames, which no result repeats: a refusal for want of it has a report.
    """
    header = Dataset()
    for element in source:
        if _is_settable(element):
            header.add(element)
    _put(header, "NumberOfFrames", header.get("NumberOfFrames") or 1)
    _put(header, "Modality", "SM")
    for keyword in ("Rows", "Columns"):
        _put(header, keyword, header.get(keyword) or 1)
    if not is_uid(str(header.get("FrameOfReferenceUID") or "")):
        header.pop("FrameOfReferenceUID", None)
    for keyword in _TYPE_2:
        _put(header, keyword, None)
    if geometry is not None and _is_a_size(geometry):
        groups = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
        _put(header, "SharedFunctionalGroupsSequence", groups[:1])
        header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = pixel_measures(
            source, (geometry.spacing_row_mm, geometry.spacing_col_mm)
        )
    return header


def _put(header: Dataset, keyword: str, value: object) -> None:
    """Sets an element of its own: the one that is there belongs to another dataset as well."""
    header.pop(keyword, None)
    setattr(header, keyword, value)


def _is_a_size(geometry: SlideGeometry) -> bool:
    """Whether its spacing is one: a slide that is refused for its spacing has it as it came."""
    spacing_mm = (geometry.spacing_row_mm, geometry.spacing_col_mm)
    return all(math.isfinite(mm) and mm > 0 for mm in spacing_mm)


def _is_settable(element: DataElement) -> bool:
    """Whether highdicom may set the value in an object of its own.

    What is no number in the place of one, pydicom reads as the text that it is, and refuses as soon
    as it is set.
    """
    if element.VR not in ("DS", "IS"):
        return True
    try:
        DataElement(element.tag, element.VR, element.value)
    except MALFORMED:
        return False
    return True


def pixel_measures(
    source: Dataset, spacing_mm: tuple[float, float], times: int = 1
) -> PixelMeasuresSequence:
    """Pixel Measures (PS3.3 C.7.6.16.2.1) of `times` the spacing (row, column), and the thickness
    of the slide.

    Decimal, since a ratio that is not whole would be rounded by viewers.
    """
    spacing = [Decimal(repr(float(mm))) * times for mm in spacing_mm]
    return PixelMeasuresSequence(pixel_spacing=spacing, slice_thickness=_thickness_mm(source))


def _thickness_mm(source: Dataset) -> float:
    """Slice Thickness, or Imaged Volume Depth, which is in um, or one that is nominal: it has to be
    stated (type 1C), and no result depends on it."""
    measures = [
        item
        for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
        for group in (source.get(groups) or ())[:1]
        for item in (group.get("PixelMeasuresSequence") or ())[:1]
    ]
    stated = [item.get("SliceThickness") for item in measures]
    depth_um = source.get("ImagedVolumeDepth")
    thickness = [float(mm) for mm in stated if mm is not None]
    thickness += [] if depth_um is None else [float(depth_um) / 1000]
    return next((mm for mm in thickness if math.isfinite(mm) and mm >= 0), _NOMINAL_THICKNESS_MM)


def complete(
    dataset: Dataset, source: Dataset, manifest: Manifest | None, provenance: Provenance
) -> None:
    """Finishes a highdicom object: study attributes verbatim, our equipment, dates, file meta.

    `source` is the slide's header, `in_unicode`: elements of it become the object's, which is in
    UTF-8. Attributes of the Patient and Study modules (clinical trial ones included) are copied as
    they are; those the slide lacks stay empty where the IOD demands them. Nothing depends on the
    clock, or on the time zone of this machine.
    """
    dataset.copy_patient_and_study_information(source)
    dataset.SpecificCharacterSet = UTF_8
    if "TimezoneOffsetFromUTC" in source:
        dataset.add(deepcopy(source["TimezoneOffsetFromUTC"]))
    if _zone(source) is None:
        dataset.pop("TimezoneOffsetFromUTC", None)
    created_at = _in_zone_of(dataset, provenance.created_at)
    _set_dates(dataset, created_at)
    _set_equipment(dataset, provenance, created_at)
    responsible = manifest.manufacturer if manifest else provenance.device.manufacturer
    codes.declare_private_schemes(dataset, plain(responsible, 64))
    dataset.file_meta.ImplementationClassUID = UID(implementation.CLASS_UID)
    dataset.file_meta.ImplementationVersionName = f"DICOMNODE_{provenance.node_version}"[:16]


def series_description(what: str, manifest: Manifest | None) -> str:
    """Series Description (LO, 64 characters): result, model, version; what is no product says so
    last."""
    if manifest is None:
        return f"{what}: no model applies"
    end = "" if manifest.status == "product" else f" ({manifest.status.upper()})"
    version = f" {manifest.version}"
    room = 64 - len(what) - 2 - len(version) - len(end)
    return plain(f"{what}: {manifest.title[:room].rstrip()}{version}{end}", 64)


def plain(text: str, limit: int | None = None) -> str:
    """A sentence as a value of a result: one line, without backslashes, which separate values, and
    without characters that are seen by nobody; our own signs in ASCII.

    At most `limit` characters; the rest is cut and marked "...". Letters of any script stay.
    """
    line = "".join(
        c
        for c in " ".join(text.translate(_ASCII).replace("\\", "/").split())
        if c in _JOINERS or unicodedata.category(c) not in _UNSEEN
    )
    return line if limit is None or len(line) <= limit else line[: limit - 3].rstrip() + "..."


def _in_zone_of(dataset: Dataset, created_at: datetime) -> datetime:
    """The same instant in the zone that the slide states for all its dates and times, or in UTC.

    Timezone Offset From UTC (PS3.3 C.12.1) speaks for the study's date and time too. Where the
    slide lacks it, nobody knows the zone of those, so that we must not add one.
    """
    if created_at.utcoffset() is None:
        raise ValueError(f"created_at {created_at} has no time zone; expected an aware datetime")
    return created_at.astimezone(_zone(dataset) or UTC)


def _set_dates(dataset: Dataset, created_at: datetime) -> None:
    for kind in ("InstanceCreation", "Content", "Series"):
        setattr(dataset, f"{kind}Date", created_at.strftime("%Y%m%d"))
        setattr(dataset, f"{kind}Time", created_at.strftime("%H%M%S"))


def _zone(header: Dataset) -> tzinfo | None:
    """Time zone of Timezone Offset From UTC, `+HHMM` or `-HHMM` (PS3.3 C.12.1.1.8); the sign may be
    missing, and what is no offset is as good as none."""
    found = _OFFSET.fullmatch(str(header.get("TimezoneOffsetFromUTC") or "").strip())
    if found is None:
        return None
    sign = -1 if found[1] == "-" else 1
    return timezone(sign * timedelta(hours=int(found[2]), minutes=int(found[3])))


def _set_equipment(dataset: Dataset, provenance: Provenance, created_at: datetime) -> None:
    device = provenance.device
    contribution = Dataset()  # replaces highdicom's, which holds the time of day
    # The one attribute of ours that may name its own zone (VR DT, PS3.5 6.2).
    contribution.ContributionDateTime = created_at.strftime("%Y%m%d%H%M%S%z")
    for item in (dataset, contribution):
        item.Manufacturer = device.manufacturer
        item.ManufacturerModelName = device.model
        item.SoftwareVersions = [device.software_version]
        if provenance.engine:
            item.SoftwareVersions = [device.software_version, f"engine {provenance.engine}"[:64]]
        item.DeviceSerialNumber = device.serial
    contribution.PurposeOfReferenceCodeSequence = [
        CodedConcept.from_code(codes.PROCESSING_EQUIPMENT)
    ]
    did = "Inference with bundle" if provenance.bundle_name else "Choice among models of digest"
    contribution.ContributionDescription = f"{did} {provenance.bundle_digest}"
    dataset.ContributingEquipmentSequence = [contribution]
