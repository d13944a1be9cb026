"""The frozen values that cross the doors of inference.

Letters in shapes: N tiles, H and W pixels, R and C rows and columns of the tile grid, K points or
classes.
Pixel coordinates are 0-based on the base level's total pixel matrix, (row, col), measured from the
top left corner of the top left pixel. Grid coordinates are 0-based.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

NOTHING = 255
"""In the place of a class where nothing was analyzed."""


class Reason(StrEnum):
    """Why a slide is not assessable."""

    NO_VOLUME_LEVEL = "no-volume-level"
    SPACING_MISSING = "spacing-missing"
    SPACING_IMPLAUSIBLE = "spacing-implausible"
    SPACING_TOO_COARSE = "spacing-too-coarse"
    GEOMETRY_MISSING = "geometry-missing"
    PHOTOMETRIC_INTERPRETATION = "photometric-interpretation"
    PIXEL_FORMAT = "pixel-format"
    STAIN = "stain"
    NO_TISSUE = "no-tissue"
    TOO_LITTLE_TISSUE = "too-little-tissue"
    FRAMES_UNREADABLE = "frames-unreadable"
    FRAME_POSITIONS = "frame-positions"
    TISSUE_MISSING = "tissue-missing"
    SEVERAL_REGIONS = "several-regions"
    LEVELS_DIFFER = "levels-differ"
    MODEL_OUTPUT = "model-output"
    INCOMPLETE = "incomplete"
    ANALYSIS_FAILED = "analysis-failed"
    RESULTS_FAILED = "results-failed"
    NO_MODEL = "no-model"
    OTHER_MODEL = "other-model"
    """Of a slide in a case: the student of the case is not for it."""
    NO_SLIDE = "no-slide"
    """Of a case: none of its slides can be used."""


@dataclass(frozen=True, slots=True)
class SlideGeometry:
    """How the base level's total pixel matrix lies on the slide (PS3.3 C.8.12.4, C.7.6.17.3)."""

    frame_of_reference_uid: str
    origin_x_mm: float
    origin_y_mm: float
    orientation: tuple[float, float, float, float, float, float]
    """ImageOrientationSlide: direction of increasing column, then of increasing row."""
    spacing_row_mm: float
    """Distance between rows: PixelSpacing[0]."""
    spacing_col_mm: float
    """Distance between columns: PixelSpacing[1]."""
    rows: int
    cols: int

    def to_slide_mm(self, row_px: float, col_px: float) -> tuple[float, float, float]:
        """Slide coordinates (x_mm, y_mm, z_mm) of a point of the total pixel matrix."""
        right, down = self.orientation[:3], self.orientation[3:]
        along, below = col_px * self.spacing_col_mm, row_px * self.spacing_row_mm
        x, y, z = (r * along + d * below for r, d in zip(right, down, strict=True))
        return self.origin_x_mm + x, self.origin_y_mm + y, z


NOT_NEEDED = "left aside: other levels were nearer to the wanted scale"
"""`LevelAccount.used_as` of a level that nothing is wrong with."""


@dataclass(frozen=True, slots=True)
class LevelAccount:
    """What became of one instance handed in: read, or left aside and why."""

    sop_instance_uid: str
    flavor: str
    """ImageType value 3: VOLUME, THUMBNAIL, LABEL, OVERVIEW."""
    rows: int
    cols: int
    mpp: float | None
    frames: int
    used_as: str
    """'tiles', 'tissue', 'tiles and tissue', or why it was left aside."""

    @property
    def is_level(self) -> bool:
        """Whether it is a level of the slide that was read, or could have been."""
        return self.used_as == NOT_NEEDED or not self.used_as.startswith("left aside")


@dataclass(frozen=True, slots=True)
class Patch:
    """One cell of the tile grid, by 0-based grid row and column, with its heatmap value."""

    row: int
    col: int
    value: float


@dataclass(frozen=True, slots=True)
class Heatmap:
    """Values in [0, 1] on the tile grid; NaN where nothing was analyzed."""

    name: str
    values: NDArray[np.float32]
    """[R, C]; cell (r, c) covers base rows [r * stride_px, (r + 1) * stride_px), columns alike."""
    top_patches: tuple[Patch, ...]
    """Highest values first."""


@dataclass(frozen=True, slots=True)
class ClassMap:
    """The classes of the tiles of a slide, as a map of the manifest names them."""

    name: str
    classes: NDArray[np.uint8]
    """[R, C] on the tile grid: place of the most probable class among those of the manifest, of
    equal ones the first; NOTHING where nothing was analyzed."""
    shares: NDArray[np.float32]
    """[N, K] in [0, 1]: probability of each class in each tile analyzed, in raster order."""

    def tiles_of(self, place: int) -> int:
        """How many tiles are of the class in that place."""
        return int((self.classes == place).sum())


@dataclass(frozen=True, slots=True)
class Measured:
    """A quantity that was counted, or why it has no value."""

    value: float | None
    """mm2, a share in [0, 1], or a ratio; None where there is no sound one."""
    tiles: int
    """Tiles of its classes, where it is counted."""
    of: int
    """All tiles of tissue there; of a ratio, those of its other side."""
    why: str = ""
    """A sentence; empty where there is a value."""
    beside: str = ""
    """What of a case it leaves out, in a sentence."""


@dataclass(frozen=True, slots=True)
class Found:
    """In how many of the tiles that were looked at something was found."""

    tiles: int
    of: int
    """Tiles looked at, all of which were analyzed."""

    @property
    def share(self) -> float | None:
        """In [0, 1]; None where no tile was looked at."""
        return self.tiles / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class Condition:
    """What befell a slide before it was analyzed; None of what was not measured."""

    blurred: Found | None = None
    """Out of focus."""
    folded: Found | None = None
    """Tissue lies double."""
    inked: Found | None = None
    """Pen, or black dirt."""
    bubbles: Found | None = None
    """Air under the cover slip."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the student says of one slide."""

    geometry: SlideGeometry
    stride_px: int
    """Side of a grid cell in base-level pixels."""
    scores: dict[str, float]
    """By output name of the manifest."""
    percentiles: dict[str, float]
    """Percentile (0-100) in the reference cohort, for scores that have a table."""
    survivals: dict[str, tuple[float, ...]]
    """Survival probabilities in [0, 1], at the times of the manifest."""
    heatmaps: tuple[Heatmap, ...]
    tissue_outlines: tuple[NDArray[np.float64], ...]
    """Closed outlines [K, 2] (row_px, col_px), first point repeated last, largest area first."""
    tissue_area_mm2: float
    """Without tissue of tiles that could not be read."""
    tiles_analyzed: int
    levels: tuple[LevelAccount, ...]
    warnings: tuple[str, ...]
    """Sentences a reader of the report must know, such as: the stain is not stated."""
    base: str = ""
    """SOP Instance UID of the image that has this geometry, or of its first part."""
    condition: Condition | None = None
    """None where it was not measured: in results of earlier versions."""
    intervals: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    """Low and high of each number of an output that has an interval, by output name."""
    class_maps: tuple[ClassMap, ...] = ()
    """Maps of several classes; of one that must not speak of this organ `not_assessed` says why."""
    measures: dict[str, Measured] = field(default_factory=dict)
    """What was counted on them, by output name."""
    not_assessed: dict[str, str] = field(default_factory=dict)
    """Why an output says nothing of this slide, in a sentence, by output name."""
    probabilities: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Of each class in [0, 1], in the order of the manifest, by output name."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Cells of the grid that are no tile, by the reason (`inference.tiles.left_out.Why`); empty in
    results of earlier versions."""
    unscanned_mm2: float | None = None
    """Area of the matrix that was not scanned or is in no file; None where it was not measured: of
    cases, and in results of earlier versions."""


@dataclass(frozen=True, slots=True)
class NotAssessable:
    """A refusal that becomes a report: the coded reason and one sentence for people."""

    reason: Reason
    detail: str
    geometry: SlideGeometry | None
    levels: tuple[LevelAccount, ...]
    base: str = ""
    """SOP Instance UID of the image that would have been analyzed, or of its first part."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a slide is: tiles done of those with tissue, since `elapsed_s`."""

    tiles_done: int
    tiles_total: int
    elapsed_s: float
    tiles_kept: int = 0
    """Of those done, how many an earlier run had left."""

    @property
    def tiles_per_s(self) -> float:
        """Mean rate of this run so far; 0 before the first batch."""
        done = self.tiles_done - self.tiles_kept
        return done / self.elapsed_s if self.elapsed_s > 0 else 0.0
