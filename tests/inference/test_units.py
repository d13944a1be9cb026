"""Units in sentences are written as people write them, and words that look like units stay."""

from __future__ import annotations

import pytest

from inference.outputs.units import for_people


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("4.57 mm2 in tiles of 112 x 112 um.", "4.57 mm² in tiles of 112 x 112 µm."),
        ("scanned at 0.499 um per pixel.", "scanned at 0.499 µm per pixel."),
        ("mit 0,499 um je Pixel gescannt", "mit 0,499 µm je Pixel gescannt"),
        ("224 px at 0.5 um/px", "224 px at 0.5 µm/px"),
        ("(1.5 mm2): Glas 3 (1 mm2).", "(1.5 mm²): Glas 3 (1 mm²)."),
        ("20 um", "20 µm"),
        ("per tile of 112 um by a classifier", "per tile of 112 µm by a classifier"),
        ("not square: 0.5 um by 0.6 um.", "not square: 0.5 µm by 0.6 µm."),
        ("die 3 um am nächsten liegt", "die 3 µm am nächsten liegt"),
        ("wuchs von 5 auf 7 um den Tumor", "wuchs von 5 auf 7 um den Tumor"),
        ("B in und um A, 2 von 43", "B in und um A, 2 von 43"),
        ("sank von 5 um 3 auf 2", "sank von 5 um 3 auf 2"),
        ("container 7 mm21", "container 7 mm21"),
    ],
)  # fmt: skip
def test_square_millimeters_and_micrometers(text: str, read: str) -> None:
    assert for_people(text) == read
