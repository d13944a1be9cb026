"""Kinds of result objects: one pure table that delivery, `check` and the builders read.

To add a kind: a module with `make(making) -> Iterable[BuiltObject]`, and one line here. Its Series
Number is `making.series_number` and 1 to 9 more, one that no other kind takes.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.sop_classes import COMPREHENSIVE_3D_SR, SEGMENTATION, SopClass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    name: str
    """The `kind` of each object, or its beginning before a hyphen: a heatmap is `heatmap-tumor`."""
    sop_class: SopClass
    module: str
    """Imported when such an object is made: it may load what a listener must not."""
    needs_prediction: bool


HEATMAP = Kind("heatmap", SEGMENTATION, "dicom_node.results.seg.heatmap", needs_prediction=True)
REPORT = Kind("report", COMPREHENSIVE_3D_SR, "dicom_node.results.sr.report", needs_prediction=False)

REGION = Kind("region", SEGMENTATION, "dicom_node.results.seg.region", needs_prediction=True)
ATTENTION = Kind(
    "attention", SEGMENTATION, "dicom_node.results.seg.attention", needs_prediction=True
)

KINDS = (HEATMAP, REGION, ATTENTION, REPORT)
"""In the order in which they are made and delivered: the report last, it cites the heatmaps."""


def kind_of(name: str) -> Kind | None:
    """The line of an object by its own `kind`."""
    return next((k for k in KINDS if name == k.name or name.startswith(f"{k.name}-")), None)


def result_classes() -> dict[str, SopClass]:
    """SOP classes of all kinds by UID."""
    return {kind.sop_class.uid: kind.sop_class for kind in KINDS}
