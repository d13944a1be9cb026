"""Coded concepts of the results: the standard ones used, and our private scheme in one table."""

from __future__ import annotations

from collections.abc import Iterator

from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag

from engines.manifest.values import Code as ManifestCode
from inference.types import Reason

SCHEME = "99DICOMNODE"
SCHEME_UID = "2.25.195484575299127036157843200891886821850"
SCHEME_NAME = "dicom-node results"
SCHEME_VERSION = "1"
_DESIGNATOR = Tag("CodingSchemeDesignator")


def _private(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


# Viewers cut a concept name at 28 characters: the distinguishing words come first.
INTENDED_USE = _private("USE", "Intended use")
ASSESSMENT = _private("ASSESSMENT", "Assessment by the model")
NOT_PREDICTABLE = _private("NOT-PREDICTABLE", "Not predictable")
REASON = _private("REASON", "Reason not predictable")
CAUTION = _private("CAUTION", "Caution")
READ_COMMENTS = _private("READ-COMMENTS", "Read the comments")
HEATMAP_VALUE = _private("HEATMAP-VALUE", "Heatmap value")
TISSUE_ANALYZED = _private("TISSUE-ANALYZED", "Tissue analyzed")
TILES_ANALYZED = _private("TILES-ANALYZED", "Tiles analyzed")

REASONS: dict[Reason, Code] = {
    Reason.NO_VOLUME_LEVEL: _private("NA-VOLUME", "No volume image"),
    Reason.SPACING_MISSING: _private("NA-SPACING", "Pixel spacing missing"),
    Reason.SPACING_IMPLAUSIBLE: _private("NA-IMPLAUSIBLE", "Pixel spacing implausible"),
    Reason.SPACING_TOO_COARSE: _private("NA-COARSE", "Resolution too low"),
    Reason.GEOMETRY_MISSING: _private("NA-GEOMETRY", "Position on slide missing"),
    Reason.PHOTOMETRIC_INTERPRETATION: _private("NA-PHOTOMETRIC", "Color encoding unsupported"),
    Reason.PIXEL_FORMAT: _private("NA-PIXELS", "Pixel format unsupported"),
    Reason.STAIN: _private("NA-STAIN", "Stain unsupported"),
    Reason.NO_TISSUE: _private("NA-NO-TISSUE", "No tissue found"),
    Reason.TOO_LITTLE_TISSUE: _private("NA-TISSUE", "Too little tissue"),
    Reason.FRAMES_UNREADABLE: _private("NA-FRAMES", "Image frames unreadable"),
    Reason.FRAME_POSITIONS: _private("NA-POSITIONS", "Frame positions invalid"),
    Reason.TISSUE_MISSING: _private("NA-MISSING", "Tissue missing in data"),
    Reason.SEVERAL_REGIONS: _private("NA-REGIONS", "Several scanned regions"),
    Reason.LEVELS_DIFFER: _private("NA-LEVELS", "Levels differ in content"),
    Reason.MODEL_OUTPUT: _private("NA-OUTPUT", "Model output invalid"),
    Reason.INCOMPLETE: _private("NA-INCOMPLETE", "Slide incomplete"),
    Reason.ANALYSIS_FAILED: _private("NA-ANALYSIS", "Analysis failed"),
    Reason.RESULTS_FAILED: _private("NA-RESULTS", "Results not representable"),
    Reason.NO_MODEL: _private("NA-MODEL", "No model applies"),
}

PRIVATE: tuple[Code, ...] = (
    INTENDED_USE,
    ASSESSMENT,
    NOT_PREDICTABLE,
    REASON,
    CAUTION,
    READ_COMMENTS,
    HEATMAP_VALUE,
    TISSUE_ANALYZED,
    TILES_ANALYZED,
    *REASONS.values(),
)
"""Every code of our scheme. A published value keeps its meaning for ever."""

COMMENT = Code("121106", "DCM", "Comment")
DEVICE = Code("121007", "DCM", "Device")
SPECIMEN = Code("121027", "DCM", "Specimen")
FOR_RESEARCH = Code("113009", "DCM", "For Research")
OF_INTEREST = Code("113000", "DCM", "Of Interest")
PERCENTILE = Code("121415", "DCM", "Percentile Ranking of measurement")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
# PS3.16 CID 100 has no microscopy; validators refuse "Light microscopy" here.
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
SLIDE = Code("1179252003", "SCT", "Slide")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
SOURCE = Code("260753009", "SCT", "Source")
DIAGNOSTIC_REPORT = Code("18748-4", "LN", "Diagnostic imaging report")

PERCENT = Code("%", "UCUM", "Percent")
NO_UNITS = Code("1", "UCUM", "no units")
SQUARE_MM = Code("mm2", "UCUM", "square millimeter")


def concept(code: ManifestCode) -> CodedConcept:
    """The manifest's code as a highdicom concept."""
    return CodedConcept(code.value, code.scheme, code.meaning)


def declare_private_schemes(dataset: Dataset, responsible: str) -> None:
    """Declares in `dataset` every private coding scheme (99...) that its codes use (PS3.3 C.12.1).

    Ours with its UID; a bundle's own with `responsible`, the manufacturer of the bundle.
    """
    designators = sorted({d for d in _designators(dataset) if d.startswith("99")})
    if not designators:
        return
    dataset.CodingSchemeIdentificationSequence = [_declared(d, responsible) for d in designators]


def _declared(designator: str, responsible: str) -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = designator
    if designator == SCHEME:
        item.CodingSchemeUID = SCHEME_UID
        item.CodingSchemeName = SCHEME_NAME
        item.CodingSchemeVersion = SCHEME_VERSION
        responsible = "dicom-node project"
    item.CodingSchemeResponsibleOrganization = responsible
    return item


def _designators(dataset: Dataset) -> Iterator[str]:
    for tag in list(dataset.keys()):
        element = dataset[tag]
        if element.VR == "SQ":
            for item in element.value:
                yield from _designators(item)
        elif tag == _DESIGNATOR:
            yield str(element.value)
