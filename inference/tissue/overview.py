"""Tissue that the overview of a slide shows outside of what was scanned: said, never analyzed.

A scanner looks for tissue on its overview before it scans. What it misses, pale pieces above all,
is in no level of the slide; only the overview still shows it.
"""

from __future__ import annotations

import numpy as np

from inference.slide.slide import Slide
from inference.tissue.macro.picture import Overview, read_overviews
from inference.tissue.macro.pieces import SMALLEST_MM2, pieces_outside
from inference.tissue.macro.place import LEAST_TISSUE_MM2, Scan, found_shift, laid_over
from inference.tissue.macro.stain import Colors, sorted_by_color
from inference.tissue.tissue import TissueMask
from inference.types import SlideGeometry

DARK = 70
"""Mean of RGB of what gives no light: what lies around the glass, or its edge."""


def outside_scan_mm2(slide: Slide, tissue: TissueMask) -> float:
    """Area of what may be tissue that an overview shows outside of all scans of the slide; 0 where
    nothing is, no overview is, or where the scan lies in it cannot be known. Raises nothing for
    what an overview holds."""
    scanned = slide.scanned
    placed = [found for found in scanned if found is not None]
    here = slide.geometry.frame_of_reference_uid
    if len(placed) < len(scanned) or any(g.frame_of_reference_uid != here for g in placed):
        return 0.0  # nobody knows what those show
    for overview in read_overviews(slide):
        others = tuple(g for g in placed if not _is_covered(g, slide.geometry))
        scan = laid_over(overview, slide.geometry, tissue, slide.levels, others)
        area = _area_mm2(overview, scan, tissue.disputed_mm2)
        if area is not None:
            return area
    return 0.0


def outside_scan_warning(area_mm2: float) -> tuple[str, ...]:
    """What is said of tissue that was not scanned."""
    if area_mm2 < SMALLEST_MM2:
        return ()
    return (
        f"The overview image shows {area_mm2:.1f} mm2 of what may be tissue outside the scanned "
        "area; it was not analyzed.",
    )


def _area_mm2(overview: Overview, scan: Scan, disputed_mm2: float) -> float | None:
    """None where the overview cannot be compared with the scan."""
    pixel_mm = overview.pixel_mm
    colors = sorted_by_color(overview.rgb, scan, pixel_mm)
    if colors is None:
        return None
    pixel_mm2 = pixel_mm[0] * pixel_mm[1]
    if scan.tissue.sum() * pixel_mm2 >= LEAST_TISSUE_MM2:
        shift = found_shift(scan, colors.tissue, pixel_mm)
        if shift is None:
            return None
        scan = scan.moved(shift)
    elif disputed_mm2 >= LEAST_TISSUE_MM2 or not _shows_as_little(scan, colors, pixel_mm2):
        return None  # the overview may show what the scan does show, unrecognized
    dark = overview.rgb.mean(2) < DARK
    return float(pieces_outside(colors, dark, scan.seen, pixel_mm).sum()) * pixel_mm2


def _shows_as_little(scan: Scan, colors: Colors, pixel_mm2: float) -> bool:
    """Whether the overview too has hardly any tissue where a scan without tissue says to lie.

    No tissue confirms the place then. But tissue on the glass, and none in the scan, is outside of
    the scan wherever that lies.
    """
    return float((scan.shown & colors.tissue).sum()) * pixel_mm2 < LEAST_TISSUE_MM2


def _is_covered(one: SlideGeometry, other: SlideGeometry) -> bool:
    """Whether the corners of one matrix lie in another, but for rounding: levels of one scan."""
    right, down = np.array(other.orientation).reshape(2, 3)[:, :2]
    size = other.rows * other.spacing_row_mm, other.cols * other.spacing_col_mm
    near = 2 * max(one.spacing_row_mm, one.spacing_col_mm)
    for row, col in ((0, 0), (0, one.cols), (one.rows, 0), (one.rows, one.cols)):
        x, y, _ = one.to_slide_mm(row, col)
        off = np.array((x - other.origin_x_mm, y - other.origin_y_mm))
        below, along = float(off @ down), float(off @ right)
        if not (-near <= below <= size[0] + near and -near <= along <= size[1] + near):
            return False
    return True
