"""Studies to look at in viewers, with every kind of object that the node makes of them.

They differ in what viewers are known to stumble over: names of other scripts, several slides of a
study, a slide that lies turned on the glass, a slide without a result. The values are made up, so
that no model runs; everything else is the shipped bundle's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from foreign_segmentations import foreign_segmentations
from form_inputs import ALL_KINDS, EDITS, slide_files
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from result_inputs import PROVENANCE, geometry

from dicom_node.demo.wsm import SlideLabel, write_slide
from dicom_node.results.build import objects_of
from dicom_node.results.files import write
from dicom_node.results.making import Making
from engines.bundle import open_bundle
from engines.manifest.whole import Manifest
from inference.composition.scope import out_of_scope
from inference.slide.files import SlideFiles
from inference.types import Heatmap, NotAssessable, Patch, Prediction, Reason
from slides import SlideStudy, base_level, new_study_copy

NAMES = (
    "latin",
    "japanese",
    "korean",
    "turned",
    "turned twice",
    "quarter turn",
    "two slides",
    "refused",
    "foreign",
)
"""`turned` lies mirrored, `turned twice` by 180 degrees, `quarter turn` by 90; of `foreign` nothing
is the node's: its Segmentations are made as highdicom's guide says."""
ROWS, COLS, STRIDE = 2048, 3072, 224
FLOOR, THRESHOLD = 0.1, 0.5
"""Of the shipped bundle's map."""
VIOLET, BLUE = (215, 150, 205), (30, 30, 200)
CRUMB, SQUARE = (slice(600, 880), slice(900, 1186)), (slice(600, 1500), slice(900, 2300))
"""Rows and columns of what lies on glass; the first is the 0.02 mm² that a refusal speaks of."""
PEAK = (4, 9)
"""Grid cell, row and column, where the value is 1; it falls off with the distance in cells."""


@dataclass(frozen=True)
class SeenStudy:
    """A study, its slides by the names of their folders, and what was made of each by kind."""

    name: str
    slides: dict[str, SlideFiles]
    objects: dict[str, dict[str, Path]]

    @property
    def files(self) -> list[Path]:
        """Slides first."""
        levels = [path for slide in self.slides.values() for path in slide.paths]
        return [*levels, *(p for made in self.objects.values() for p in made.values())]

    @property
    def uid(self) -> str:
        """Study Instance UID."""
        return str(dcmread(self.files[0], stop_before_pixels=True).StudyInstanceUID)


def seen_study(
    name: str, of: SlideStudy, folder: Path, wanted: frozenset[str] = ALL_KINDS
) -> SeenStudy:
    """The study `name`, one of NAMES, made of a slide in the new `folder`; `wanted` names those of
    the kinds that are made only where they are asked for."""
    first = SlideStudy(folder / "copy")
    new_study_copy(of.folder, first.folder, f"seen: {name}")
    shown = first.folder
    if name == "refused":
        shown = _drawn_beside(first, folder / "glass", _glass(CRUMB))
    slides = {"a": slide_files(shown, folder / "a", EDITS.get(name, _nothing))}
    if name == "two slides":
        beside = _drawn_beside(first, folder / "copy-b", _glass(SQUARE))
        slides["b"] = slide_files(beside, folder / "b", _nothing)
    if name == "foreign":
        smallest = min(slides["a"].paths, key=lambda path: path.stat().st_size)
        return SeenStudy(name, slides, {"a": foreign_segmentations(smallest, folder / "foreign")})
    objects = {}
    for number, (slide_name, slide) in enumerate(slides.items()):
        objects[slide_name] = _made(slide, number, wanted, refused=name == "refused")
    return SeenStudy(name, slides, objects)


def drawn_slide(folder: Path) -> SlideStudy:
    """A slide that is violet where the values reach the shipped floor and blue in the region."""
    grid = np.nan_to_num(values(-(-ROWS // STRIDE), -(-COLS // STRIDE)))
    colors = np.full((*grid.shape, 3), 243, np.uint8)
    colors[grid >= FLOOR], colors[grid >= THRESHOLD] = VIOLET, BLUE
    pixels = colors.repeat(STRIDE, 0).repeat(STRIDE, 1)[:ROWS, :COLS]
    write_slide(np.ascontiguousarray(pixels), folder, mpp=0.5, levels=3, seed="seen: drawn")
    return SlideStudy(folder)


def values(rows: int, cols: int) -> NDArray[np.float32]:
    """[R, C]: 1 at PEAK, less with the distance; NaN in a frame one cell wide and in a corner."""
    row, col = np.mgrid[0:rows, 0:cols]
    grid = (1 / (1 + 0.15 * ((row - PEAK[0]) ** 2 + (col - PEAK[1]) ** 2))).astype(np.float32)
    grid[[0, -1], :] = grid[:, [0, -1]] = np.nan
    grid[: rows // 2, : cols // 3] = np.nan
    return grid


def _made(
    slide: SlideFiles, number: int, wanted: frozenset[str], *, refused: bool
) -> dict[str, Path]:
    source = dcmread(slide.base_path, stop_before_pixels=True)
    manifest = open_bundle("default").manifest
    result = _refusal(source) if refused else _prediction(source, manifest)
    built, trouble = objects_of(
        result, lambda r: Making(source, r, manifest, PROVENANCE, slide, number, wanted=wanted)
    )
    assert trouble == ""
    paths = {one.kind: slide.base_path.with_name(f"made-{one.kind}.dcm") for one in built}
    for one in built:
        write(one.dataset, paths[one.kind])
    return paths


def _prediction(source: Dataset, manifest: Manifest) -> Prediction:
    place = geometry(source)
    grid = values(-(-place.rows // STRIDE), -(-place.cols // STRIDE))
    top, left, bottom, right = STRIDE, STRIDE, place.rows - STRIDE, place.cols - STRIDE
    outline = [[top, left], [top, right], [bottom, right], [bottom, left], [top, left]]
    best = np.argsort(np.nan_to_num(grid, nan=-1), axis=None)[::-1][:5]
    places = [np.unravel_index(n, grid.shape) for n in best]
    patches = tuple(Patch(int(r), int(c), float(grid[r, c])) for r, c in places)
    return Prediction(
        geometry=place,
        stride_px=STRIDE,
        scores={},
        percentiles={},
        survivals={},
        heatmaps=(Heatmap("tumor", grid, patches),),
        tissue_outlines=(np.array(outline, float),),
        tissue_area_mm2=1.25,
        tiles_analyzed=int(np.isfinite(grid).sum()),
        levels=(),
        warnings=(),
        # No organ is told of the drawn slide.
        not_assessed={
            **{one.name: out_of_scope(one.organs, None) for one in manifest.class_maps},
            **{one.name: out_of_scope(one.organs, None) for one in manifest.measures},
        },
    )


def _refusal(source: Dataset) -> NotAssessable:
    detail = "Found 0.02 mm² of tissue; 0.1 are needed."
    return NotAssessable(Reason.NO_TISSUE, detail, geometry(source), ())


def _nothing(ds: Dataset) -> None:
    """The slide as it is."""


def _glass(piece: tuple[slice, slice]) -> NDArray[np.uint8]:
    """Glass with one violet piece, uint8 RGB [H, W, 3]."""
    pixels = np.full((ROWS, COLS, 3), 243, np.uint8)
    pixels[piece] = (170, 90, 160)
    return pixels


def _drawn_beside(first: SlideStudy, folder: Path, pixels: NDArray[np.uint8]) -> Path:
    """Another slide of the same study and patient."""
    source = dcmread(base_level(first.folder), stop_before_pixels=True)
    keywords = ("PatientID", "AccessionNumber")
    patient_id, accession = (str(source[keyword].value) for keyword in keywords)
    label = SlideLabel(
        str(source.PatientName), patient_id, accession, "DRAWN-B-1", str(source.StudyDescription)
    )
    write_slide(
        pixels, folder, mpp=0.5, levels=3, seed="seen: b", label=label,
        study_uid=str(source.StudyInstanceUID),
    )  # fmt: skip
    return folder
