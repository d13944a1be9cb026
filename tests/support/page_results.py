"""Results to show on a page: a report with its heatmaps and a region, a refusal, maps alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import bundles
import highdicom as hd
import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dicom_node.results.identity import Provenance
from dicom_node.results.modules import blank_header, pixel_measures
from dicom_node.results.seg.heatmap import build_segmentation
from dicom_node.results.sr.report import build_report
from engines.manifest.reading import manifest_of
from engines.manifest.whole import Manifest
from inference.slide.slide import open_slide
from inference.types import Heatmap, NotAssessable, Patch, Prediction, Reason, SlideGeometry
from slides import SlideStudy, base_level

PROVENANCE = Provenance(
    bundle_name="tiny",
    bundle_version="1.0.0",
    bundle_digest="sha256:" + "12" * 32,
    engine="test",
    node_version="0",
    created_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
)
STRIDE = 224
HOT = (2, 9)
"""Grid cell, row and column, with the highest value."""


@dataclass(frozen=True)
class Results:
    """Files of one slide's objects."""

    segs: tuple[Path, ...]
    sr: Path

    @property
    def seg(self) -> Path:
        """The first heatmap."""
        return self.segs[0]


def manifest(*maps: str, scores: bool = True) -> Manifest:
    """The tiny student with maps of these names, and with or without numbers for the slide."""
    values = bundles.manifest()
    numbers = [out for out in values["outputs"] if out["kind"] != "heatmap"]
    (heatmap,) = [out for out in values["outputs"] if out["kind"] == "heatmap"]
    shown = []
    for name in maps:
        shown.append(deepcopy(heatmap) | {"name": name})
        if name != heatmap["name"]:
            shown[-1]["type"]["meaning"] = name.capitalize()
    values["outputs"] = (numbers if scores else []) + shown
    return manifest_of(values)


MANIFEST = manifest("tumor")


def prediction(geometry: SlideGeometry, made_with: Manifest = MANIFEST) -> Prediction:
    """Analyzed in a block of the upper right only; one hot cell in it."""
    values = np.full(
        (math.ceil(geometry.rows / STRIDE), math.ceil(geometry.cols / STRIDE)), np.nan, np.float32
    )
    values[1:4, 8:11] = 0.0
    values[HOT] = 0.875
    outline = np.array([[224, 1792], [224, 2464], [896, 2464], [896, 1792], [224, 1792]], float)
    patches = (Patch(*HOT, 0.875), Patch(1, 8, 0.001))
    has_scores = bool(made_with.scores)
    return Prediction(
        geometry=geometry,
        stride_px=STRIDE,
        scores={"risk": 1.2345} if has_scores else {},
        percentiles={"risk": 91.0} if has_scores else {},
        survivals={"survival": (0.9, 0.25)} if has_scores else {},
        heatmaps=tuple(Heatmap(out.name, values, patches) for out in made_with.heatmaps),
        tissue_outlines=(outline,),
        tissue_area_mm2=4.5,
        tiles_analyzed=9,
        levels=(),
        warnings=("This slide is <unlike> the training slides.",),
    )


def write_results(
    study: SlideStudy,
    folder: Path,
    made_with: Manifest = MANIFEST,
    *,
    with_region: bool = False,
    warnings: Sequence[str] | None = None,
) -> Results:
    """The report of a slide and its Segmentations."""
    source = dcmread(base_level(study.folder), stop_before_pixels=True)
    with open_slide(study.paths) as slide:
        result = prediction(slide.geometry, made_with)
    if warnings is not None:
        result = replace(result, warnings=tuple(warnings))
    inputs = [source.SOPInstanceUID]
    segs = [
        build_segmentation(
            source, result, heatmap, made_with, PROVENANCE, input_uids=inputs, series_number=9001
        )
        for heatmap in result.heatmaps
    ]
    if with_region:
        segs.append(region(source, result, segs[0]))
    report = build_report(
        source,
        result,
        made_with,
        PROVENANCE,
        segmentations=segs,
        input_uids=inputs,
        series_number=9002,
    )
    saved = tuple(save(seg, folder / f"seg-{n}.dcm") for n, seg in enumerate(segs))
    return Results(saved, save(report, folder / "sr.dcm"))


def region_of(study: SlideStudy, *, at_least: float = 0.5) -> Dataset:
    """The region of a slide's first map."""
    source = dcmread(base_level(study.folder), stop_before_pixels=True)
    with open_slide(study.paths) as slide:
        result = prediction(slide.geometry)
    inputs = [source.SOPInstanceUID]
    heatmap = build_segmentation(
        source,
        result,
        result.heatmaps[0],
        MANIFEST,
        PROVENANCE,
        input_uids=inputs,
        series_number=9001,
    )
    return region(source, result, heatmap, at_least=at_least)


def region(
    source: Dataset, result: Prediction, heatmap: Dataset, *, at_least: float = 0.5
) -> Dataset:
    """The tiles at or above a threshold as a BINARY Segmentation over the whole slide."""
    mask = np.nan_to_num(result.heatmaps[0].values) >= at_least
    description = deepcopy(heatmap.SegmentSequence[0])
    description.SegmentLabel = "Tumor, tiles at or above 0.5"
    description.SegmentDescription = "Tiles at or above the threshold."
    base_mm = (result.geometry.spacing_row_mm, result.geometry.spacing_col_mm)
    seg = hd.seg.Segmentation(
        source_images=[blank_header(source, result.geometry)],
        pixel_array=mask.astype(np.uint8)[np.newaxis],
        segmentation_type="BINARY",
        segment_descriptions=[hd.seg.SegmentDescription.from_dataset(description)],
        series_instance_uid=generate_uid(),
        series_number=9003,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="tests",
        manufacturer_model_name="tests",
        software_versions="0",
        device_serial_number="0",
        content_label="REGION",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        pixel_measures=pixel_measures(source, base_mm, times=result.stride_px),
        tile_pixel_array=True,
        tile_size=(64, 64),
        omit_empty_frames=False,
    )
    seg.TotalPixelMatrixOriginSequence = deepcopy(source.TotalPixelMatrixOriginSequence)
    return seg


def refusal(study: SlideStudy) -> Dataset:
    """The report of a slide that could not be judged."""
    source = dcmread(base_level(study.folder), stop_before_pixels=True)
    verdict = NotAssessable(Reason.NO_TISSUE, "Found 0.01 mm2 of tissue.", None, ())
    return build_report(
        source,
        verdict,
        MANIFEST,
        PROVENANCE,
        segmentations=[],
        input_uids=[source.SOPInstanceUID],
        series_number=9002,
    )


def save(ds: Dataset, path: Path) -> Path:
    """Writes a dataset as a file; returns its path."""
    ds.save_as(path, enforce_file_format=True)
    return path
