"""The card of what was drawn, of a slide that nobody scanned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicom_node.view import pictures
from dicom_node.view.page.markup import card
from inference.phantom.draw import Kind

_KIND_COLORS = {
    Kind.GLASS: (250, 250, 250),
    Kind.STROMA: (240, 176, 200),
    Kind.GLAND: (150, 96, 190),
    Kind.TUMOR: (196, 40, 60),
    Kind.LYMPHOCYTES: (40, 52, 120),
    Kind.FAT: (250, 226, 140),
    Kind.PEN: (40, 140, 230),
    Kind.FOLD: (70, 70, 70),
}


def drawn_card(truth: NDArray[np.uint8], width_px: int) -> str:
    """What stands where in a label map [H, W] of `Kind`, in colors with their names."""
    colors = np.zeros((256, 3), np.uint8)
    for kind, color in _KIND_COLORS.items():
        colors[kind] = color
    factor = max(1, truth.shape[1] // width_px + 1)
    small = Image.fromarray(truth[::factor, ::factor])
    uri = pictures.data_uri(colors[np.asarray(small)], "png")
    legend = "".join(
        '<span><svg class="swatch" viewBox="0 0 12 12" aria-hidden="true">'
        f'<rect width="12" height="12" fill="rgb{color}"/></svg>{kind.name.lower()}</span>'
        for kind, color in _KIND_COLORS.items()
    )
    aspect = truth.shape[1] / truth.shape[0]
    body = (
        f'<div class="frame" style="--aspect: {aspect:.3f}">'
        f'<img src="{uri}" alt="What was drawn where on the slide"></div>'
        f'<div class="legend kinds">{legend}</div>'
    )
    return card("What was drawn", body)
