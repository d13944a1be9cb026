"""What is expected of OHIF is what the README says, and what differs from it is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from viewer import ohif
from viewer.ohif import BREAKS, NOT_SHOWN, SHOWN, Seen, differences

from dicom_node.results import kinds

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
ROWS = {
    kinds.REPORT.name: "Report",
    kinds.HEATMAP.name: "Heatmap",
    kinds.REGION.name: "Region",
    kinds.REPORT_ENHANCED.name: "`report-enhanced`, `set`",
    kinds.SET.name: "`report-enhanced`, `set`",
}
"""Where a kind is not named by its own name alone."""
SAYS = {
    BREAKS: ("**the page breaks**",),
    NOT_SHOWN: ("not shown", "**a black field**", "a black field", "taken and **nothing drawn**"),
    SHOWN: ("shown", "the same", "as a whole", "**every sentence"),
}


def cells(row: str) -> list[str]:
    table = README[README.index("Who shows what") :]
    (line,) = [one for one in table.splitlines() if one.startswith(f"| {row} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("kind", [k.name for k in kinds.KINDS if k != kinds.ATTENTION])
@pytest.mark.parametrize(("mode", "column"), [("microscopy", 2), ("viewer", 3)])
def test_the_table_of_the_readme_says_what_is_expected(kind, mode, column):
    said = cells(ROWS.get(kind, f"`{kind}`"))[column]
    assert said.startswith(SAYS[ohif.EXPECTED[mode].get(kind, NOT_SHOWN)]), said


def test_what_ohif_shows_as_known_is_no_difference():
    seen = [
        Seen("slide", SHOWN, ""),
        Seen("report", NOT_SHOWN, ""),
        Seen("heatmap-tumor", BREAKS, f"TypeError at {ohif.NO_IMAGES}"),
        Seen("level-region-tumor", BREAKS, f"TypeError at {ohif.NO_IMAGES}"),
        Seen("foreign-tiled-full", BREAKS, f"TypeError at {ohif.NO_IMAGES}"),
        Seen("overlay-small", BREAKS, f"TypeError at {ohif.RACE}"),
    ]
    assert differences("viewer", seen) == []


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (Seen("heatmap-tumor", SHOWN, ""), "found 'shown', README says 'the page breaks'"),
        (Seen("report", SHOWN, ""), "found 'shown', README says 'not shown'"),
        (Seen("summary", NOT_SHOWN, ""), "found 'not shown', README says 'shown'"),
        (Seen("map", BREAKS, "TypeError at elsewhere"), "breaks elsewhere than known: TypeError"),
        (Seen("capture", BREAKS, "TypeError"), "found 'the page breaks', README says 'shown'"),
        (
            Seen("overlay-small", BREAKS, "TypeError"),
            "found 'the page breaks', README says 'shown'",
        ),
    ],
)
def test_what_ohif_mends_or_spoils_is_told(one, told):
    (sentence,) = differences("viewer", [one])
    assert sentence.startswith(f"viewer, {one.kind}: ")
    assert told in sentence


def test_a_black_field_and_the_slide_again_are_nothing_shown(tmp_path):
    drawn = np.zeros((900, 1400, 3), np.uint8)
    drawn[100:700, 300:900] = (200, 120, 180)
    marked = drawn.copy()
    marked[300:420, 500:620] = (0, 255, 0)
    pictures = {1: drawn, 2: np.zeros_like(drawn), 3: drawn, 4: marked}
    for n, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / f"viewer-{n}.png")
    rows = {
        n: {"n": n, "broke": False, "changed": True, "grid": [280, 50, 1100, 890]} for n in pictures
    }
    slides = [ohif.field(tmp_path, "viewer", rows[1])]

    def outcome(n: int, kind: str, **more: object) -> str:
        return ohif.outcome({**rows[n], **more}, kind, tmp_path, "viewer", slides)[0]

    assert outcome(1, "slide") == SHOWN
    assert outcome(2, "report") == NOT_SHOWN
    assert outcome(3, "set") == NOT_SHOWN
    assert outcome(4, "report") == SHOWN
    assert outcome(4, "annotations", changed=False) == NOT_SHOWN
    assert outcome(2, "map", broke=True, seen="TypeError") == BREAKS
