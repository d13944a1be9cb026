"""What a map and its region are called, for people: in labels, descriptions and the report."""

from __future__ import annotations

from highdicom.color import CIELabColor

from dicom_node.results.modules import plain
from engines.manifest.outputs import HeatmapOutput
from engines.manifest.whole import Manifest

_ROOM = 64
"""Characters of LO."""
_FINDING, _ATTENTION = (230, 120, 0), (0, 114, 178)
"""Orange and blue of a palette that people with color blindness tell apart; neither is a color of
hematoxylin or eosin."""


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


def color(output: HeatmapOutput) -> CIELabColor:
    """The color that a viewer is recommended to draw it in."""
    return CIELabColor.from_rgb(*(_ATTENTION if output.shows == "attention" else _FINDING))


def _marked(name: str, manifest: Manifest) -> str:
    """With the status of what is no product, which is never cut off."""
    mark = "" if manifest.status == "product" else f" ({manifest.status})"
    return plain(name, _ROOM - len(mark)) + mark
