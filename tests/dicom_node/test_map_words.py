"""What the page says of a map's coded type: a sentence, never a lone finding."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.view.page.maps import _about
from dicom_node.view.segments import HeatmapPicture


def heat(shows: str) -> HeatmapPicture:
    empty = np.zeros((1, 1), np.uint8)
    return HeatmapPicture(
        pixels=np.zeros((1, 1, 4), np.uint8),
        levels=empty,
        name="Tumor probability per tile (research)",
        shows=shows,
        tracking="heatmap tumor",
        description="",
        lowest=0.1,
        highest=0.9,
        area_mm2=1.0,
    )


def test_the_type_is_told_as_what_the_values_are_about_and_no_finding():
    (text,) = _about(heat("Neoplasm"), (), has_numbers=False)
    assert "coded as “Neoplasm”, which is no finding" in text
    assert "Type:" not in text


@pytest.mark.parametrize("shows", ["", "Tumor"])
def test_a_type_that_the_name_says_already_is_not_said_again(shows):
    (text,) = _about(heat(shows), (), has_numbers=False)
    assert text == "Values 0.10 to 0.90 over 1 mm²."
