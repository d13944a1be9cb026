"""Segments of classes: of each class of tissue the tiles whose most probable class it is.

No tile is of two of them; glass and other background has none.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dicom_node.results import codes
from dicom_node.results.modules import plain
from dicom_node.results.seg import labels
from dicom_node.results.seg.layer import Part
from engines.manifest.outputs import HeatmapOutput
from engines.manifest.whole import Manifest
from inference.types import ClassMap, Prediction


def parts_of(result: Prediction, manifest: Manifest) -> list[Part]:
    """A segment for each class of tissue of each map that speaks of the slide, also where no tile
    is of it: the same class has the same number on every slide."""
    found = {one.name: one for one in result.class_maps}
    return [
        part
        for output in manifest.class_maps
        if output.name in found
        for part in _of_map(output, found[output.name], manifest)
    ]


def _of_map(output: HeatmapOutput, found: ClassMap, manifest: Manifest) -> Iterator[Part]:
    meanings = [code.meaning for code in output.classes]
    for nth, code in enumerate(output.tissue):
        told = f"Tiles whose most probable class is {code.meaning}. {output.description}"
        yield Part(
            label=labels.of_class(code, manifest),
            description=plain(told, 1024),
            tracking=plain(f"class {output.name}: {code.meaning}", 64),
            category=codes.concept(output.category),
            type=codes.concept(code),
            color=labels.class_color(nth),
            pixels=(found.classes == meanings.index(code.meaning)).astype(np.uint8),
        )
