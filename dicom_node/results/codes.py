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
MOST_OF_VALUE = 16
"""Characters of Code Value (SH, PS3.5 6.2); a longer one would be a Long Code Value, which viewers
do not read."""
_DESIGNATOR = Tag("CodingSchemeDesignator")


def _private(value: str, meaning: str) -> Code:
    if not 1 <= len(value) <= MOST_OF_VALUE:
        raise ValueError(
            f"code value {value!r} of {SCHEME}: found {len(value)} characters, expected 1 to "
            f"{MOST_OF_VALUE} (SH); give it a shorter one"
        )
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
TUMOR_MAP = _private("TUMOR-MAP", "Tumor probability map")
TOP_TILE = _private("TOP-TILE", "Tile of a highest value")
THRESHOLD = _private("THRESHOLD", "Threshold of the region")
AREA_ABOVE = _private("AREA-ABOVE", "Area of tiles in the region")
SHARE_ABOVE = _private("SHARE-ABOVE", "Share of tiles in the region")
INTERVAL = _private("INTERVAL", "Interval of the number")
UNCERTAINTY = _private("UNCERTAINTY", "Uncertainty of the numbers")
NOT_KNOWN = _private("NOT-KNOWN", "Not known")
NOT_ASSESSED = _private("NOT-ASSESSED", "Not assessed")
CLASSES_COUNTED = _private("CLASSES-COUNTED", "Classes counted")
TILES_COUNTED = _private("TILES-COUNTED", "Tiles counted")
CLASS_PROBABILITY = _private("CLASS-PROB", "Probability of the class")
NO_CLASS = _private("NO-CLASS", "No class stands out")
# What a report says first, in sentences, each under its own name.
SAID_SLIDE = _private("SLIDE", "Slide")
SAID_CASE = _private("CASE", "Case")
SAID_STATUS = _private("STATUS", "What this may be used for")
SAID_ASSESSABLE = _private("ASSESSABLE", "Could the slide be assessed")
SAID_CASE_JUDGED = _private("CASE-ASSESSABLE", "Could the case be assessed")
SAID_RESULT = _private("RESULT", "Result")
SAID_ANALYZED = _private("ANALYZED", "What was analyzed")
SAID_LEFT_OUT = _private("NOT-ANALYZED", "What was left out")
SAID_LIMIT = _private("LIMIT", "Limit of the model")
SAID_PERFORMANCE = _private("PERFORMANCE", "Measured performance")
HEATMAP = _private("HEATMAP", "Heatmap")
REGION = _private("REGION", "Region")
ATTENTION_MAP = _private("ATTENTION-MAP", "Map of attention")
IN_CASE = _private("IN-CASE", "Use in the case")
USED = _private("USED", "Used")
LEFT_OUT = _private("LEFT-OUT", "Left out")
WITHDRAWN = _private("WITHDRAWN", "Withdrawn")
WITHDRAWN_REPORT = _private("WITHDRAWN-REPORT", "What is withdrawn")
WITHDRAWN_MODEL = _private("WITHDRAWN-MODEL", "What had made it")
WITHDRAWN_AT = _private("WITHDRAWN-AT", "When it was withdrawn")

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
    Reason.OTHER_MODEL: _private("NA-OTHER", "Slide of another model"),
    Reason.NO_SLIDE: _private("NA-SLIDES", "No slide can be used"),
}

# What students of ours say: their manifests write these.
RISK_SCORE = _private("risk-score", "Risk score")
SURVIVAL = tuple(
    _private(f"survival-{months}m", f"{months // 12}-year OS probability")
    for months in (12, 24, 36, 60)
)
ATTENTION = _private("attention", "Attention of the model")
_TISSUES = {
    "ADI": "Adipose tissue",
    "DEB": "Debris",
    "LYM": "Lymphocytic tissue",
    "MUC": "Mucus",
    "MUS": "Smooth muscle",
    "NORM": "Normal mucosa",
    "STR": "Stroma",
    "TUM": "Tumor epithelium",
}
OF_TISSUE = (
    _private("TISSUE-MAP", "Tissue and tumor of tiles"),
    _private("TISSUE-CLASS", "Class of tissue"),
    # Adipose and lymphocytic tissue have codes of SNOMED CT.
    *(_private(f"TISSUE-{k}", m) for k, m in _TISSUES.items() if k not in ("ADI", "LYM")),
    *(_private(f"AREA-{k}", f"Area of {m.lower()}") for k, m in _TISSUES.items()),
    *(_private(f"SHARE-{k}", f"Share of {m.lower()}") for k, m in _TISSUES.items()),
    _private("TUMOR-STROMA", "Tumor-stroma ratio"),
    _private("LYM-NEAR-TUM", "Lymphocytes around tumor"),
)
OF_GLIOMA = (
    _private("GLIOMA-DX", "Glioma diagnosis"),
    _private("GLIOMA-GBM", "Glioblastoma, IDH-wildtype"),
    _private("GLIOMA-ASTRO", "Astrocytoma, IDH-mutant"),
    _private("GLIOMA-OLIGO", "Oligodendroglioma, codeleted"),
    _private("GLIOMA-GRADE", "Glioma grade"),
    *(_private(f"GLIOMA-G{grade}", f"Glioma, grade {grade}") for grade in (2, 3, 4)),
)

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
    TUMOR_MAP,
    TOP_TILE,
    THRESHOLD,
    AREA_ABOVE,
    SHARE_ABOVE,
    INTERVAL,
    UNCERTAINTY,
    NOT_KNOWN,
    NOT_ASSESSED,
    CLASSES_COUNTED,
    TILES_COUNTED,
    CLASS_PROBABILITY,
    NO_CLASS,
    SAID_SLIDE,
    SAID_CASE,
    SAID_STATUS,
    SAID_ASSESSABLE,
    SAID_CASE_JUDGED,
    SAID_RESULT,
    SAID_ANALYZED,
    SAID_LEFT_OUT,
    SAID_LIMIT,
    SAID_PERFORMANCE,
    HEATMAP,
    REGION,
    ATTENTION_MAP,
    IN_CASE,
    USED,
    LEFT_OUT,
    WITHDRAWN,
    WITHDRAWN_REPORT,
    WITHDRAWN_MODEL,
    WITHDRAWN_AT,
    *REASONS.values(),
    RISK_SCORE,
    *SURVIVAL,
    ATTENTION,
    *OF_TISSUE,
    *OF_GLIOMA,
)
"""Every code of our scheme. A published value keeps its meaning for ever."""

MEASUREMENT_METHOD = Code("370129005", "SCT", "Measurement Method")
COMMENT = Code("121106", "DCM", "Comment")
DEVICE = Code("121007", "DCM", "Device")
SPECIMEN = Code("121027", "DCM", "Specimen")
SPECIMEN_UID = Code("121039", "DCM", "Specimen UID")
SPECIMEN_IDENTIFIER = Code("121041", "DCM", "Specimen Identifier")
FOR_RESEARCH = Code("113009", "DCM", "For Research")
OF_INTEREST = Code("113000", "DCM", "Of Interest")
REJECTED_FOR_SAFETY = Code("113037", "DCM", "Rejected for Patient Safety Reasons")
REJECTED_FOR_QUALITY = Code("113001", "DCM", "Rejected for Quality Reasons")
WRONG_WORKLIST_ENTRY = Code("113038", "DCM", "Incorrect Modality Worklist Entry")
PERCENTILE = Code("121415", "DCM", "Percentile Ranking of measurement")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
ACQUISITION_EQUIPMENT = Code("109101", "DCM", "Acquisition Equipment")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
SEGMENTATION = Code("113076", "DCM", "Segmentation")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
# PS3.16 CID 100 has no microscopy; validators refuse "Light microscopy" here.
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
SLIDE = Code("1179252003", "SCT", "Slide")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
SOURCE = Code("260753009", "SCT", "Source")
DIAGNOSTIC_REPORT = Code("18748-4", "LN", "Diagnostic imaging report")

PERCENT = Code("%", "UCUM", "Percent")
NO_UNITS = Code("1", "UCUM", "no units")
RATIO = Code("{ratio}", "UCUM", "ratio")
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
