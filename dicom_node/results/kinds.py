"""Kinds of result objects: one pure table that delivery, `check` and the builders read.

To add a kind: a module with `make(making) -> Iterable[BuiltObject]`, and one line here.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.sop_classes import COMPREHENSIVE_3D_SR, SEGMENTATION, SopClass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    name: str
    """Begins the `kind` of each object: a heatmap is `heatmap-tumor`."""
    sop_class: SopClass
    module: str
    """Imported when such an object is made: it may load what a listener must not."""
    needs_prediction: bool


HEATMAP = Kind("heatmap", SEGMENTATION, "dicom_node.results.seg.heatmap", needs_prediction=True)
REPORT = Kind("report", COMPREHENSIVE_3D_SR, "dicom_node.results.sr.report", needs_prediction=False)

KINDS = (HEATMAP, REPORT)
"""In the order in which they are made and delivered: the report last, it cites the others."""


def result_classes() -> dict[str, SopClass]:
    """SOP classes of all kinds by UID."""
    return {kind.sop_class.uid: kind.sop_class for kind in KINDS}
