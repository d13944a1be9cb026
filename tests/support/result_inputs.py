"""What results are made of: a small slide, a manifest, a prediction."""

import io
from datetime import datetime, timedelta, timezone

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from dicom_node.results.content import settle
from dicom_node.results.identity import Provenance, result_uid
from dicom_node.results.seg.heatmap import build_segmentation
from dicom_node.results.sr.report import build_report
from engines.manifest.reading import manifest_of
from engines.manifest.whole import Manifest
from inference.types import Heatmap, NotAssessable, Patch, Prediction, Reason, SlideGeometry

STRIDE = 224
SPACING = "0.000499"
DIGEST = "sha256:" + "ab" * 32


def code(value: str, meaning: str, scheme: str = "99DICOMNODE") -> dict[str, str]:
    return {"value": value, "scheme": scheme, "meaning": meaning}


def manifest(status: str = "research") -> Manifest:
    scalars = [
        {"name": name, "dtype": "float32", "shape": [1]} for name in ("risk", "tumor_fraction")
    ]
    return manifest_of(
        {
            "schema_version": 1,
            "name": "phantom-student",
            "version": "0.3.1",
            "title": "Phantom student",
            "manufacturer": "Tests",
            "status": status,
            "intended_use": "Tests only. Predicts nothing about a patient.",
            "input": {"tile_px": 224, "mpp": 0.5, "mpp_tolerance": 0.1},
            "graphs": {
                "encoder": {
                    "file": "encoder.onnx",
                    "inputs": [],
                    "outputs": [{"name": "tumor", "dtype": "float32", "shape": ["N"]}],
                },
                "aggregator": {
                    "file": "aggregator.onnx",
                    "inputs": [],
                    "outputs": [
                        *scalars,
                        {"name": "survival", "dtype": "float32", "shape": [3]},
                    ],
                },
            },
            "finding": {
                "code": code("C125201", "Overall Survival", "NCIt"),
                "reference_cohort": "phantom cohort, 400 drawn slides",
            },
            "outputs": [
                {
                    "kind": "score",
                    "name": "risk",
                    "tensor": "risk",
                    "code": code("RISK", "Risk score"),
                    "unit": code("{score}", "score", "UCUM"),
                    "direction": "higher-is-worse",
                    "percentiles": list(np.linspace(-3, 3, 101)),
                },
                {
                    "kind": "score",
                    "name": "tumor_fraction",
                    "tensor": "tumor_fraction",
                    "code": code("TUMOR-FRACTION", "Tumor fraction"),
                    "unit": code("1", "no units", "UCUM"),
                    "direction": "none",
                    "percentiles": list(np.linspace(0, 1, 101)),
                },
                {
                    "kind": "survival",
                    "name": "os",
                    "tensor": "survival",
                    "times_months": [12, 36, 60],
                    "codes": [code(f"OS-{y}Y", f"{y}-year OS probability") for y in (1, 3, 5)],
                },
                {
                    "kind": "heatmap",
                    "name": "tumor",
                    "graph": "encoder",
                    "tensor": "tumor",
                    "category": code("49755003", "Morphologically Abnormal Structure", "SCT"),
                    "type": code("108369006", "Neoplasm", "SCT"),
                    "description": "Tumor probability of each tile, calibrated; not rescaled.",
                    "top_patches": 3,
                },
            ],
            "applicability": {"minimum_tissue_mm2": 0.1},
            "training": {
                "digest": "none",
                "data": ["drawn"],
                "simulated": "everything",
                "metrics": [],
            },
            "probe": {
                "file": "probe.npz",
                "tolerance": {
                    "encoder/tumor": 1e-3,
                    "aggregator/risk": 1e-3,
                    "aggregator/tumor_fraction": 1e-3,
                    "aggregator/survival": 1e-3,
                },
            },
        }
    )


PROVENANCE = Provenance(
    bundle_name="phantom-student",
    bundle_version="0.3.1",
    bundle_digest=DIGEST,
    engine="onnxruntime CPU fp32",
    node_version="0.1.0",
    created_at=datetime(2026, 3, 4, 23, 30, 15, 250000, tzinfo=timezone(timedelta(hours=1))),
)


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def volume(
    rows: int = 4000,
    cols: int = 6000,
    *,
    spacing: tuple[str, str] = (SPACING, SPACING),
    tile_px: int = 240,
    scale: int = 1,
) -> Dataset:
    """Header of a VOLUME instance without pixels, in a study whose attributes need care."""
    ds = Dataset()
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    ds.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    ds.SOPInstanceUID = result_uid("test", "volume", str(scale))
    _patient_and_study(ds)
    _series_and_slide(ds)
    ds.ImageType = ["ORIGINAL" if scale == 1 else "DERIVED", "PRIMARY", "VOLUME", "NONE"]
    ds.InstanceNumber = scale
    ds.Rows = ds.Columns = tile_px
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = rows, cols
    ds.NumberOfFrames = -(-rows // tile_px) * -(-cols // tile_px)
    ds.ImagedVolumeHeight = rows * float(spacing[0])
    ds.ImagedVolumeWidth = cols * float(spacing[1])
    ds.ImagedVolumeDepth = 0.001
    measures = Dataset()
    measures.PixelSpacing = list(spacing)
    measures.SliceThickness = "0.001"
    optical_path = Dataset()
    optical_path.OpticalPathIdentifier = "1"
    kind = Dataset()
    kind.FrameType = ds.ImageType
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.WholeSlideMicroscopyImageFrameTypeSequence = [kind]
    shared.OpticalPathIdentificationSequence = [optical_path]
    ds.SharedFunctionalGroupsSequence = [shared]
    return ds


def _patient_and_study(ds: Dataset) -> None:
    ds.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    ds.PatientID = "P-17"
    ds.IssuerOfPatientID = "HOSPITAL"
    ds.PatientBirthDate = "19500102"
    ds.PatientSex = "O"
    ds.PatientAge = "075Y"
    ds.StudyInstanceUID = result_uid("test", "study")
    ds.StudyID = "S1"
    ds.StudyDate, ds.StudyTime = "20260304", "0915"
    ds.AccessionNumber = "A26-000123"
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "LIS"
    ds.IssuerOfAccessionNumberSequence = [issuer]
    ds.ReferringPhysicianName = "Sato^Hanako=佐藤^花子"
    ds.StudyDescription = "Resection, H and E"
    ds.ClinicalTrialSponsorName = "Sponsor"
    ds.ClinicalTrialProtocolID = "T1"
    ds.ClinicalTrialProtocolName = ""
    ds.ClinicalTrialSiteID = ds.ClinicalTrialSiteName = ""
    ds.ClinicalTrialSubjectID = "17"
    ds.ClinicalTrialTimePointID = ""


def _series_and_slide(ds: Dataset) -> None:
    ds.Modality = "SM"
    ds.SeriesInstanceUID = result_uid("test", "series")
    ds.SeriesNumber = 1
    ds.Manufacturer, ds.ManufacturerModelName = "Scanner maker", "Scanner"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "1", "1"
    ds.ContentDate, ds.ContentTime, ds.AcquisitionDateTime = "20260304", "091500", "20260304"
    ds.FrameOfReferenceUID = result_uid("test", "frame of reference")
    ds.PositionReferenceIndicator = "SLIDE_CORNER"
    ds.VolumetricProperties = "VOLUME"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.BurnedInAnnotation, ds.SpecimenLabelInImage, ds.FocusMethod = "NO", "NO", "AUTO"
    ds.ExtendedDepthOfField, ds.AcquisitionContextSequence = "NO", []
    ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", "12.5"
    ds.LossyImageCompressionMethod = "ISO_10918_1"
    ds.TotalPixelMatrixFocalPlanes = ds.NumberOfOpticalPaths = 1
    ds.DimensionOrganizationType = "TILED_FULL"
    organization = Dataset()
    organization.DimensionOrganizationUID = result_uid("test", "dimensions")
    ds.DimensionOrganizationSequence = [organization]
    ds.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem = "25.0"
    origin.YOffsetInSlideCoordinateSystem = "50.0"
    ds.TotalPixelMatrixOriginSequence = [origin]
    ds.ContainerIdentifier = "A26-000123 A1"
    ds.IssuerOfTheContainerIdentifierSequence = []
    ds.ContainerTypeCodeSequence = [coded("433466003", "SCT", "Microscope slide")]
    specimen = Dataset()
    specimen.SpecimenIdentifier = "A26-000123 A1-1"
    specimen.SpecimenUID = result_uid("test", "specimen")
    specimen.IssuerOfTheSpecimenIdentifierSequence = []
    specimen.SpecimenTypeCodeSequence = [coded("1179252003", "SCT", "Slide")]
    specimen.SpecimenPreparationSequence = []
    ds.SpecimenDescriptionSequence = [specimen]
    path = Dataset()
    path.OpticalPathIdentifier = "1"
    path.IlluminationTypeCodeSequence = [coded("111744", "DCM", "Brightfield illumination")]
    path.IlluminationColorCodeSequence = [coded("414298005", "SCT", "Full Spectrum")]
    ds.OpticalPathSequence = [path]


def geometry(source: Dataset) -> SlideGeometry:
    measures = source.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    origin = source.TotalPixelMatrixOriginSequence[0]
    return SlideGeometry(
        frame_of_reference_uid=source.FrameOfReferenceUID,
        origin_x_mm=float(origin.XOffsetInSlideCoordinateSystem),
        origin_y_mm=float(origin.YOffsetInSlideCoordinateSystem),
        orientation=tuple(float(v) for v in source.ImageOrientationSlide),
        spacing_row_mm=float(measures.PixelSpacing[0]),
        spacing_col_mm=float(measures.PixelSpacing[1]),
        rows=source.TotalPixelMatrixRows,
        cols=source.TotalPixelMatrixColumns,
    )


def values(source: Dataset, stride_px: int = STRIDE) -> np.ndarray:
    """A heatmap with background, zeros, ones and everything between."""
    shape = (
        -(-source.TotalPixelMatrixRows // stride_px),
        -(-source.TotalPixelMatrixColumns // stride_px),
    )
    grid = np.random.default_rng(7).random(shape, dtype=np.float32)
    grid[0, 0], grid[1, 1], grid[2, 2] = 0, 1, 1e-6
    grid[:, shape[1] // 2 :] = np.nan
    return grid


def prediction(source: Dataset, **changes: object) -> Prediction:
    square = np.array([[100, 200], [100, 2800], [3900, 2800], [3900, 200], [100, 200]], float)
    grid = values(source, int(str(changes.get("stride_px", STRIDE))))
    fields = {
        "geometry": geometry(source),
        "stride_px": STRIDE,
        "scores": {"risk": 1.23456, "tumor_fraction": 0.0123456},
        "percentiles": {"risk": 91.4, "tumor_fraction": 3.2},
        "survivals": {"os": (0.91234, 0.71, 0.5)},
        "heatmaps": (
            Heatmap("tumor", grid, (Patch(1, 1, 1.0), Patch(17, 3, 0.98765), Patch(3, 4, 0.9))),
        ),
        "tissue_outlines": (square, square / 10),
        "tissue_area_mm2": 4.56789,
        "unscanned_mm2": 0.0,
        "tiles_analyzed": int(np.isfinite(grid).sum()),
        "levels": (),
        "warnings": ("The slide is unlike the training slides: distance 4.1 µm², limit 3.",),
    }
    return Prediction(**{**fields, **changes})


def refusal(source: Dataset | None) -> NotAssessable:
    place = None if source is None else geometry(source)
    return NotAssessable(Reason.NO_TISSUE, "Found 0.02 mm² of tissue; 0.1 are needed.", place, ())


def segment(source: Dataset, result: Prediction, **changes: object) -> Dataset:
    arguments = {"input_uids": [source.SOPInstanceUID], "series_number": 9001, **changes}
    return settle(
        build_segmentation(source, result, result.heatmaps[0], manifest(), PROVENANCE, **arguments)
    )


def report(source: Dataset, result: Prediction | NotAssessable, **changes: object) -> Dataset:
    arguments = {
        "segmentations": [],
        "input_uids": [source.SOPInstanceUID],
        "series_number": 9002,
        **changes,
    }
    return settle(build_report(source, result, manifest(), PROVENANCE, **arguments))


def to_bytes(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


REPORTS = ["sr", "refused", "refused-without-position"]
