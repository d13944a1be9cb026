"""Attention as a Segmentation of its own: where a model looked, which is no finding."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.results.kinds import ATTENTION
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.seg.heatmap import maps_of


def make(making: Making) -> Iterator[BuiltObject]:
    """A Segmentation for each map of attention."""
    yield from maps_of(making, "attention", ATTENTION.name)
