"""What a heatmap's Segmentation shows, read from itself: for everything that is made of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node.results.kinds import ATTENTION, HEATMAP
from dicom_node.results.making import Making
from inference.types import Heatmap, Prediction, SlideGeometry


@dataclass(frozen=True, slots=True)
class Layer:
    """The cells of a heatmap as they are in its Segmentation."""

    name: str
    """Segment Label."""
    description: str
    values: NDArray[np.float64]
    """[R, C] in [0, 1]; 0 where the Segmentation is transparent."""
    stride_px: tuple[float, float]
    """Side of a cell in base-level pixels, by rows and by columns."""

    @property
    def drawn(self) -> NDArray[np.float64]:
        """The values that are seen, [N]."""
        return self.values[self.values > 0]


def layer_of(segmentation: Dataset, geometry: SlideGeometry) -> Layer:
    """The first segment of a FRACTIONAL Segmentation of ours, on the slide's own grid."""
    seg = read_only(segmentation)
    shared = seg.SharedFunctionalGroupsSequence[0]
    row_mm, col_mm = (float(mm) for mm in shared.PixelMeasuresSequence[0].PixelSpacing)
    segment = seg.SegmentSequence[0]
    return Layer(
        name=str(segment.SegmentLabel),
        description=str(segment.get("SegmentDescription") or ""),
        values=seg.get_total_pixel_matrix(rescale_fractional=True)[..., 0],
        stride_px=(row_mm / geometry.spacing_row_mm, col_mm / geometry.spacing_col_mm),
    )


def read_only(segmentation: Dataset) -> hd.seg.Segmentation:
    """A Segmentation for highdicom to read: a copy of all its items would take longer than all that
    is made of it. The items are those of `segmentation`, so nothing may be changed in it."""
    own = Dataset()
    own.update(segmentation)
    own.file_meta = segmentation.file_meta
    return hd.seg.Segmentation.from_dataset(own, copy=False)


def values_of(making: Making, segmentation: Dataset) -> NDArray[np.float32]:
    """Values [R, C] of the cells that a Segmentation shows, NaN elsewhere.

    As the model gave them, where the result has the heatmap of that name; else the stored ones.
    """
    result = making.result
    if not isinstance(result, Prediction):
        raise ValueError("found a refusal, expected a prediction: it has no heatmap")
    stored = layer_of(segmentation, result.geometry).values
    kind = next(b.kind for b in making.made if b.dataset is segmentation)
    found = heatmap_of(kind, result.heatmaps)
    exact = found.values if found else None
    shown = stored.astype(np.float32) if exact is None or exact.shape != stored.shape else exact
    return np.where(stored > 0, shown, np.nan).astype(np.float32)


def heatmap_of(kind: str, heatmaps: Iterable[Heatmap]) -> Heatmap | None:
    """The heatmap that the Segmentation of a `kind` is of; None where none has its name."""
    return next((heatmap for heatmap in heatmaps if is_of_map(kind, heatmap.name)), None)


def is_of_map(kind: str, name: str) -> bool:
    """Whether `kind` is that of the Segmentation of the map of this name.

    The whole name is compared: that of one map may end with that of another.
    """
    return any(kind == kind_of_map(usual.name, name) for usual in (HEATMAP, ATTENTION))


def kind_of_map(usual: str, name: str) -> str:
    """The `kind` of the Segmentation of a map: `heatmap-tumor` where `usual` is `heatmap`."""
    return usual if name == usual else f"{usual}-{name}"
