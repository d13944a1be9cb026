"""Folds: bands within the tissue that take more light than the tissue around, in every channel.

Where tissue lies double or threefold both of its stains are, and a crowd of nuclei or blood has
more of one. Density against the surroundings at low power follows Palokangas et al. (Proc. SPIE
6512, 2007) and Kothari et al. (J Pathol Inform 4:22, 2013), which take saturation less intensity;
the limits are our own. Not found: folds narrower than about 50 um, folds of very pale tissue, and
edges that are rolled up, which look like the epithelium of a surface.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.condition.picture import Picture, box_means, spread
from inference.tissue.regions import Mask, Regions

AROUND_UM = 400.0
"""How far around a place its tissue is compared."""
TIMES_AROUND = 1.6
"""Density of a fold over that of the tissue around it, in the channel that shows it least: of
doubled tissue it is 2, less what the fold itself adds to its surroundings."""
LEAST = (16, 50, 24)
"""Least densities of red, green and blue, in hundredths: twice those of pale tissue."""
SMALLEST_MM2 = 0.012
SHORTEST_UM = 250.0
LEAST_ELONGATION = 4.0
"""Length squared over area: 2.5 of a disk and of a square, 4 of a band thrice as long as wide."""
NEAR_INK_UM = 80.0
RIM_UM = 64.0
LEAST_INSIDE = 0.75
"""Share of tissue in the rim of a fold. Epithelium has a surface on one side, and blood lies in
vessels, beside a gap."""
_COARSE = 4


def find_folds(picture: Picture, ink: Mask) -> Mask:
    """[h, w] where tissue is folded; what is near `ink` is left out."""
    faded = spread(ink, picture.px(NEAR_INK_UM), np.maximum) if ink.any() else ink
    tissue = picture.tissue & ~faded
    smooth = [_smooth(density) for density in picture.densities]
    dense = tissue.copy()
    for density, lowest in zip(smooth, LEAST, strict=True):
        dense &= density >= lowest
    if not dense.any():
        return dense
    reach = max(1, round(AROUND_UM / picture.mpp / _COARSE))
    around = np.maximum(box_means(_means(tissue), reach), 1e-6)
    for density in smooth:
        mean = box_means(_means(np.where(tissue, density, np.uint8(0))), reach) / around
        limit = np.minimum(mean * np.float32(TIMES_AROUND), 255).astype(np.uint8)
        limit = limit.repeat(_COARSE, 0).repeat(_COARSE, 1)
        dense &= density >= limit[: dense.shape[0], : dense.shape[1]]
    bands = _bands(dense, picture)
    return bands if not bands.any() else _within(bands, picture)


def _bands(dense: Mask, picture: Picture) -> Mask:
    """The regions that are long, and longer than wide."""
    regions = Regions.of(dense)
    if not len(regions.areas):
        return dense
    heights, widths = regions.extents()
    length = np.hypot(heights, widths)
    long = (length >= SHORTEST_UM / picture.mpp) & (length**2 >= LEAST_ELONGATION * regions.areas)
    return regions.painted(long & (regions.areas >= picture.area_px(SMALLEST_MM2)))


def _within(bands: Mask, picture: Picture) -> Mask:
    """The bands with tissue on all sides."""
    regions = Regions.of(bands)
    reach = picture.px(RIM_UM)
    keep = np.zeros(len(regions.areas), np.bool_)
    for number in range(len(keep)):
        here = regions.numbers == number
        rows, starts, stops = regions.rows[here], regions.starts[here], regions.stops[here]
        top, left = max(int(rows.min()) - reach, 0), max(int(starts.min()) - reach, 0)
        box = (
            slice(top, int(rows.max()) + 1 + reach),
            slice(left, int(stops.max()) + reach),
        )
        own = np.zeros(bands[box].shape, np.bool_)
        for row, start, stop in zip(rows - top, starts - left, stops - left, strict=True):
            own[row, start:stop] = True
        rim = spread(own, reach, np.maximum) & ~own
        keep[number] = picture.tissue[box][rim].mean() >= LEAST_INSIDE if rim.any() else False
    return regions.painted(keep)


def _smooth(density: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """3 x 3 means; the outermost pixels as they are."""
    smooth = density.copy()
    rows = density[:-2].astype(np.uint16) + density[1:-1] + density[2:]
    smooth[1:-1, 1:-1] = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) // 9
    return smooth


def _means(values: NDArray[Any]) -> NDArray[np.float32]:
    """[ceil(h / 4), ceil(w / 4)] means of squares, what is outside counting as nothing."""
    height, width = (-(-n // _COARSE) * _COARSE for n in values.shape)
    whole = np.zeros((height, width), np.uint16)
    whole[: values.shape[0], : values.shape[1]] = values
    rows = whole[0::_COARSE] + whole[1::_COARSE] + whole[2::_COARSE] + whole[3::_COARSE]
    total = rows[:, 0::_COARSE] + rows[:, 1::_COARSE] + rows[:, 2::_COARSE] + rows[:, 3::_COARSE]
    return np.asarray(total / np.float32(_COARSE**2), np.float32)
