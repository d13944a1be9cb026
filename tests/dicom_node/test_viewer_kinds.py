"""What the heart of Slim shows of every kind of object that it knows, whoever the patient is.

dicom-microscopy-viewer in headless Chromium. The pictures stay in tests/output/viewer-kinds: look
at them. `tests/long/viewers.py` takes those of OHIF.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from viewer import layers
from viewer.installed import installed
from viewer_studies import BLUE, VIOLET, SeenStudy, drawn_slide, seen_study

OUTPUT = Path(__file__).parents[1] / "output" / "viewer-kinds"
SHOWN = {
    "latin": ("heatmap-tumor", "region-tumor", "report", "annotations", "map"),
    "japanese": ("heatmap-tumor", "report"),
    "korean": ("region-tumor", "report"),
    "turned": ("heatmap-tumor", "report", "annotations"),
    "turned twice": ("heatmap-tumor", "report"),
    "quarter turn": ("region-tumor", "report"),
    "refused": ("report",),
}
"""Kinds by study; each picture takes seconds."""
BANNER = (156, 28, 28)


@pytest.fixture(scope="module")
def modules() -> Path:
    return installed()


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[SeenStudy]:
    folder = tmp_path_factory.mktemp("seen")
    slide = drawn_slide(folder / "drawn")
    asked = frozenset({"annotations", "map"})
    wanted = {name: asked & set(kinds) for name, kinds in SHOWN.items()}
    wanted["latin"] |= {"overlay"}
    return [seen_study(name, slide, folder / name, wanted[name]) for name in SHOWN]


@pytest.fixture(scope="module")
def said(modules: Path, studies: list[SeenStudy]) -> dict[str, list[str]]:
    """What each layer is called in the viewer, by the name of its picture."""
    answer = layers.take(modules, studies, SHOWN, OUTPUT)
    assert answer["errors"] == []
    names: dict[str, list[str]] = answer["names"]
    return names


def picture(name: str) -> np.ndarray:
    return np.asarray(Image.open(OUTPUT / f"{name}.png").convert("RGB")).astype(int)


def changed(study: str, kind: str) -> np.ndarray:
    """Where the layer is drawn."""
    return np.abs(picture(f"{study}-{kind}") - picture(study)).max(axis=2) > 12


def colored(study: str, *colors: tuple[int, int, int]) -> np.ndarray:
    """Where the slide has one of these colors."""
    slide = picture(study)
    masks = [np.abs(slide - color).max(axis=2) < 25 for color in colors]
    mask: np.ndarray = np.logical_or.reduce(masks)
    assert mask.sum() > 2000, "the slide is not on the picture"
    return mask


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("study", ["latin", "japanese", "turned", "turned twice"])
def test_the_heatmap_covers_what_reaches_the_floor(said, study):
    assert said[f"{study}-heatmap-tumor"] == ["Tumor probability per tile (research)"]
    assert overlap(changed(study, "heatmap-tumor"), colored(study, VIOLET, BLUE)) > 0.9


@pytest.mark.parametrize("study", ["latin", "korean", "quarter turn"])
def test_the_region_covers_what_reaches_the_threshold(said, study):
    (label,) = said[f"{study}-region-tumor"]
    assert "0.5" in label
    assert overlap(changed(study, "region-tumor"), colored(study, BLUE)) > 0.9


@pytest.mark.parametrize(
    "study", ["latin", "japanese", "korean", "turned", "turned twice", "quarter turn"]
)
def test_the_places_of_the_report_lie_on_the_highest_tiles(said, study):
    _, *places = said[f"{study}-report"]
    assert places.count("POLYGON") == 5, "five tiles"
    assert set(places) == {"POLYLINE", "POLYGON"}, "and the tissue of each map, by its outline"
    blue = colored(study, BLUE)
    assert (changed(study, "report") & blue).sum() > 150


def test_the_place_of_a_refusal_is_the_border_of_the_slide_and_nothing_else(said):
    _, *places = said["refused-report"]
    assert places == ["POLYLINE"]
    drawn = changed("refused", "report")
    rows, cols = np.nonzero(np.abs(picture("refused") - 243).max(axis=2) < 4)
    top, bottom, left, right = rows.min(), rows.max(), cols.min(), cols.max()
    assert not drawn[top + 6 : bottom - 6, left + 6 : right - 6].any()
    rows, cols = np.nonzero(drawn)
    found = [rows.min(), rows.max(), cols.min(), cols.max()]
    np.testing.assert_allclose(found, [top, bottom, left, right], atol=6)


def test_names_of_all_scripts_are_read(said):
    names = {study: json.dumps(said[f"{study}-report"][0], ensure_ascii=False) for study in SHOWN}
    assert "Jérôme" in names["latin"]
    assert "山田" in names["japanese"]
    assert "홍" in names["korean"]


@pytest.mark.parametrize("study", ["latin", "turned"])
def test_every_tile_above_the_floor_is_annotated_where_it_is(said, study):
    assert said[f"{study}-annotations"] == ["Tumor probability per tile (research)"]
    drawn, tissue = changed(study, "annotations"), colored(study, VIOLET, BLUE)
    rows, cols = np.nonzero(drawn)
    assert rows.size > 1000, "no annotation is drawn"
    found = [rows.min(), rows.max(), cols.min(), cols.max()]
    rows, cols = np.nonzero(tissue)
    wanted = [rows.min(), rows.max(), cols.min(), cols.max()]
    np.testing.assert_allclose(found, wanted, atol=6)


def test_the_map_is_brightest_where_the_value_is_highest(said):
    """It is drawn opaque and smoothed, black where nothing was analyzed: so the viewer draws."""
    assert said["latin-map"]
    light, blue = picture("latin-map").sum(axis=2), colored("latin", BLUE)
    tissue, slide = colored("latin", VIOLET), picture("latin")
    assert light[blue].mean() > 1.3 * light[tissue].mean()
    glass = (slide.min(axis=2) > 235) & (slide.max(axis=2) < 250)
    assert np.median(light[glass]) < 30
    light[slide.min(axis=2) > 250] = 0  # the page beside the slide
    rows, cols = np.nonzero(light >= np.percentile(light[blue], 99))
    middle = [np.nonzero(blue)[axis].mean() for axis in (0, 1)]
    np.testing.assert_allclose([np.median(rows), np.median(cols)], middle, atol=12)


def test_the_drawn_picture_opens_as_a_whole(said):
    """Its banner from end to end, and the legend below the slide: nothing is out of the window."""
    seen = picture("latin-overlay")
    height, width = seen.shape[:2]
    rows, cols = np.nonzero(np.abs(seen - BANNER).max(axis=2) < 30)
    assert rows.size > 1000, "the banner is not seen"
    assert 0 < cols.min() < cols.max() < width - 1
    assert rows.max() < height / 4
    written = np.nonzero((seen.max(axis=2) < 90).sum(axis=1))[0]
    assert written.max() > rows.max() + (cols.max() - cols.min()) / 2, "the legend is not seen"
    assert written.max() < height - 1
