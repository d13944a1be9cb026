"""What every result shares: patient and study of the slide, our equipment, dates, file meta."""

from __future__ import annotations

import math
import unicodedata
from decimal import Decimal

from highdicom import PixelMeasuresSequence
from pydicom import DataElement, Dataset
from pydicom.uid import UID

from dicom_node import implementation
from dicom_node.config.languages import Language
from dicom_node.results import codes
from dicom_node.results.carried.dates import set_dates
from dicom_node.results.carried.equipment import set_equipment
from dicom_node.results.carried.orders import set_orders
from dicom_node.results.carried.specimens import set_specimens
from dicom_node.results.identity import Provenance
from dicom_node.results.language.speaking import phrase
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

_MOST_OF_CONTAINER = 20
_UNSEEN = {"Cc", "Cf", "Cs"}
"""Controls, marks of direction, half characters (General_Category of Unicode)."""
_JOINERS = "\u200c\u200d"
"""Of these a part of how some scripts are spelled."""


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
    when = set_dates(dataset, source, provenance)
    set_equipment(dataset, source, provenance, when)
    set_orders(dataset, source)
    set_specimens(dataset, source)
    responsible = manifest.manufacturer if manifest else provenance.device.manufacturer
    codes.declare_private_schemes(dataset, plain(responsible, 64))
    dataset.file_meta.ImplementationClassUID = UID(implementation.CLASS_UID)
    dataset.file_meta.ImplementationVersionName = f"DICOMNODE_{provenance.node_version}"[:16]


def series_description(
    what: str,
    manifest: Manifest | None,
    source: Dataset | None = None,
    language: Language = "en",
) -> str:
    """Series Description (LO, 64 characters): result, container, model, version; what is no product
    says so last.

    Of a container without room its end: that tells slides apart. `source` is the slide's header.
    """
    what = phrase(what, language)
    end, title = f": {phrase('no model applies', language)}", ""
    if manifest is not None:
        status = (
            ""
            if manifest.status == "product"
            else f" ({phrase(manifest.status.upper(), language)})"
        )
        title, end = f": {manifest.title}", f" {manifest.version}{status}"
    container = plain(str(source.get("ContainerIdentifier") or "")) if source else ""
    room = min(_MOST_OF_CONTAINER, 64 - len(what) - 1 - len(end))
    which = f" {container[-room:].lstrip()}" if container and room > 0 else ""
    room = 64 - len(what) - len(which) - len(end)
    return plain(f"{what}{which}{title[:room].rstrip(' :')}{end}", 64)


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
