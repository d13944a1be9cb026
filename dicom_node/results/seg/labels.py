"""What a map and its region are called, for people: in labels, descriptions and the report."""

from __future__ import annotations

from highdicom.color import CIELabColor

from dicom_node.results.modules import plain
from engines.manifest.outputs import HeatmapOutput
from engines.manifest.values import Code
from engines.manifest.whole import Manifest

_ROOM = 64
"""Characters of LO."""
_FINDING, _ATTENTION = (230, 120, 0), (0, 114, 178)
"""Orange and blue of a palette that people with color blindness tell apart; neither is a color of
hematoxylin or eosin."""

_CLASSES = (
    (240, 228, 66), (70, 70, 70), (0, 114, 178), (86, 180, 233), (204, 121, 167), (0, 158, 115),
    (230, 159, 0), (213, 94, 0), (153, 153, 153),
)  # fmt: skip
"""Colors of Okabe and Ito, which people with color blindness tell apart; black is lighter here, so
that it is seen on a dark page."""


def quantity(output: HeatmapOutput) -> str:
    """What a value of the map is: "Tumor probability", or where a model looked."""
    if output.shows == "attention":
        return "Attention of the model"
    return f"{output.name[:1].upper()}{output.name[1:]} probability"


def of_heatmap(output: HeatmapOutput, manifest: Manifest) -> str:
    """Segment Label (LO) of a map, such as "Tumor probability per tile (research)"."""
    return _marked(f"{quantity(output)} per tile", manifest)


def of_region(output: HeatmapOutput, manifest: Manifest) -> str:
    """Segment Label (LO) of a region, such as "Tumor probability >= 0.5 (research)"."""
    return _marked(f"{quantity(output)} >= {output.threshold:g}", manifest)


def of_class(code: Code, manifest: Manifest) -> str:
    """Segment Label (LO) of a class of tissue, such as "Stroma (research)"."""
    return _marked(code.meaning, manifest)


def of_classes(manifest: Manifest) -> str:
    """What a Segmentation of nothing but classes of tissue is called."""
    return _marked("Classes of tissue", manifest)


def class_color(nth: int) -> CIELabColor:
    """The color of the `nth` class of a map, 0-based; those after the ninth are lighter."""
    lighter = nth // len(_CLASSES)
    rgb = (c + (255 - c) * min(lighter, 3) // 4 for c in _CLASSES[nth % len(_CLASSES)])
    return CIELabColor.from_rgb(*rgb)


def color(output: HeatmapOutput) -> CIELabColor:
    """The color that a viewer is recommended to draw it in."""
    return CIELabColor.from_rgb(*(_ATTENTION if output.shows == "attention" else _FINDING))


def _marked(name: str, manifest: Manifest) -> str:
    """With the status of what is no product, which is never cut off."""
    mark = "" if manifest.status == "product" else f" ({manifest.status})"
    return plain(name, _ROOM - len(mark)) + mark
