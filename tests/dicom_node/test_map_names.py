"""Of several maps each object, place and mark is of its own map, whatever their names share."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pypdf import PdfReader
from result_inputs import PROVENANCE, geometry, manifest, prediction, volume

from dicom_node.results.ann import geojson
from dicom_node.results.build import build_objects
from dicom_node.results.files import write
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.pdf.page import Page, page_bytes
from dicom_node.results.pdf.said import said_by
from dicom_node.view.page.maps import map_cards
from dicom_node.view.reading import read_groups
from dicom_node.view.segments import overlays
from engines.manifest.outputs import HeatmapOutput
from inference.heatmap import top_patches
from inference.slide.files import SlideFiles
from inference.types import Heatmap, Prediction

HEADER = Path("header.dcm")


def maps(*named: tuple[str, str, float]) -> Making:
    """Of a student with these maps: name, what it shows, and the value of every tile."""
    source, says = volume(), manifest()
    one = next(o for o in says.outputs if isinstance(o, HeatmapOutput))
    others = [o for o in says.outputs if not isinstance(o, HeatmapOutput)]
    outputs = [
        one.model_copy(update={"name": name, "shows": shows, "top_patches": 2})
        for name, shows, _ in named
    ]
    result = prediction(source)
    analyzed = np.isfinite(result.heatmaps[0].values)
    heatmaps = []
    for name, _, value in named:
        values = np.where(analyzed, value, np.nan).astype(np.float32)
        heatmaps.append(Heatmap(name, values, top_patches(values, 2)))
    return Making(
        source,
        replace(result, heatmaps=tuple(heatmaps)),
        says.model_copy(update={"outputs": (*others, *outputs)}),
        PROVENANCE,
        SlideFiles("k", (HEADER,), (source.SOPInstanceUID,), HEADER),
        0,
        wanted=frozenset({"annotations", "map"}),
    )


def made(making: Making) -> dict[str, BuiltObject]:
    return {b.kind: b for b in build_objects(making)}


def annotated(annotations: Dataset) -> dict[str, set[float]]:
    """The values of each group, rounded, by its label."""
    found = {}
    for group in annotations.AnnotationGroupSequence:
        stored = group.MeasurementsSequence[0].MeasurementValuesSequence[0].FloatingPointValues
        values = np.frombuffer(stored, np.float32)
        found[str(group.AnnotationGroupLabel)] = {round(v, 3) for v in values.tolist()}
    return found


def highest(parametric_map: Dataset) -> float:
    stored = np.frombuffer(parametric_map.PixelData, np.uint16)
    return round((int(stored.max()) - 1) / 65534, 3)


@pytest.mark.parametrize("names", [("tumor", "non-tumor"), ("non-tumor", "tumor")])
def test_a_map_whose_name_ends_with_anothers_keeps_its_own_values(names):
    first, second = names
    objects = made(maps((first, "finding", 0.9), (second, "finding", 0.1)))
    assert annotated(objects["annotations"].dataset) == {
        f"{first.capitalize()} probability per tile (research)": {0.9},
        f"{second.capitalize()} probability per tile (research)": {0.1},
    }
    assert highest(objects["map"].dataset) == 0.9
    assert highest(objects["map-2"].dataset) == 0.1


def test_maps_that_are_called_as_their_kinds_keep_their_own_values():
    objects = made(maps(("heatmap", "finding", 0.3), ("attention", "attention", 0.6)))
    assert {"heatmap", "attention"} <= set(objects)
    assert annotated(objects["annotations"].dataset) == {
        "Heatmap probability per tile (research)": {0.3},
        "Attention of the model per tile (research)": {0.6},
    }


# ---- places for QuPath -------------------------------------------------------------------------


def marked(making: Making, *shown: str) -> dict[str, tuple[str, dict[str, float]]]:
    """The places of the file for QuPath, by name: their class and their numbers."""
    assert isinstance(making.result, Prediction)
    objects = made(making)
    text = geojson.to_text(making.result, [objects[kind] for kind in shown])
    places = [feature["properties"] for feature in json.loads(text)["features"]]
    return {
        p["name"]: (p["classification"]["name"], p["measurements"])
        for p in places
        if "top patch" in p["name"]
    }


@pytest.mark.parametrize("shown", [("tumor",), ("tumor", "attention"), ("attention", "tumor")])
def test_the_places_for_qupath_have_the_name_and_the_values_of_their_own_map(shown):
    making = maps(("attention", "attention", 0.2), ("tumor", "finding", 0.9))
    of_kind = {"attention": "attention", "tumor": "heatmap-tumor"}
    label = {
        "attention": "Attention of the model per tile (research)",
        "tumor": "Tumor probability per tile (research)",
    }
    value = {"attention": 0.2, "tumor": 0.9}
    expected = {
        f"{name} top patch {number}": (label[name], {label[name]: value[name]})
        for name in shown
        for number in (1, 2)
    }
    assert marked(making, *(of_kind[name] for name in shown)) == expected


def test_a_map_of_another_result_is_told_and_not_paired_by_its_place():
    making = maps(("tumor", "finding", 0.9), ("stroma", "finding", 0.1))
    objects = made(making)
    assert isinstance(making.result, Prediction)
    other = replace(making.result, heatmaps=making.result.heatmaps[1:])
    with pytest.raises(ValueError, match=r"found heatmap-tumor, expected .* a map of: stroma"):
        geojson.to_text(other, [objects["heatmap-tumor"]])


# ---- boxes on the page -------------------------------------------------------------------------

PICTURE = (40, 60)


def boxes(making: Making, folder: Path, *left_out: str) -> list[list[int]]:
    """The numbers of the boxes on the card of each map of the page, without the maps left out."""
    objects = made(replace(making, wanted=None))
    paths = []
    for kind, built in objects.items():
        if kind.startswith(("heatmap", "attention")) and kind not in left_out:
            paths.append(folder / f"{len(paths)}.dcm")
            write(built.dataset, paths[-1])
    place = geometry(making.source)
    page = map_cards(
        place,
        np.zeros((*PICTURE, 3), np.uint8),
        "",
        overlays(paths, place, PICTURE),
        read_groups(objects["report"].dataset),
        has_numbers=False,
    )
    cards = re.findall(r"<section.*?</section>", page, re.DOTALL)
    assert len(cards) == len(paths)
    return [[int(n) for n in re.findall(r"<title>Patch (\d+)", card)] for card in cards]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("tumor", "stroma"),
        ("tumor", "stroma (inner)"),
        ("stroma (inner)", "stroma (outer)"),
        ("tumor", "s" * 60),
        ("tumor", "stroma ( " + "s" * 50 + " )"),
        ("tumor", "tumor top patch"),
    ],
)
def test_the_boxes_of_a_map_are_drawn_on_its_own_card(first, second, tmp_path):
    making = maps((first, "finding", 0.9), (second, "finding", 0.1))
    assert boxes(making, tmp_path) == [[1, 2], [3, 4]]


def test_boxes_of_a_map_that_cannot_be_told_apart_are_drawn_on_none(tmp_path):
    making = maps(("stroma inner", "finding", 0.9), ("stroma (inner)", "finding", 0.1))
    assert boxes(making, tmp_path) == [[], []]


def test_boxes_of_a_map_that_is_not_shown_are_drawn_on_none(tmp_path):
    making = maps(("tumor", "finding", 0.9), ("stroma", "finding", 0.1))
    assert boxes(making, tmp_path, "heatmap-tumor") == [[3, 4]]


# ---- names for people --------------------------------------------------------------------------


def test_a_series_is_called_by_the_whole_name_of_its_map():
    making = maps(("tumor", "finding", 0.9), ("stroma (inner)", "finding", 0.1))
    described = [
        str(built.dataset.SeriesDescription)
        for kind, built in made(making).items()
        if kind.startswith("heatmap")
    ]
    assert described[0].startswith("Tumor probability map")
    assert described[1].startswith("Stroma (inner) probability map")


def test_the_summary_names_the_map_of_each_place_where_there_are_several():
    for named, lines in [
        ((("tumor", "finding", 0.9),), ["1 Tile of a highest value: "]),
        (
            (("tumor", "finding", 0.9), ("attention", "attention", 0.1)),
            ["1 Tile of a highest value (tumor): ", "3 Tile of a highest value (attention): "],
        ),
    ]:
        said = said_by(made(maps(*named))["report"].dataset)
        page = page_bytes(Page((), said, "No picture.", "20260304", "n", "", "", "2.25.1", "x"))
        (sheet, *_) = PdfReader(io.BytesIO(page)).pages
        text = " ".join(sheet.extract_text().split())
        assert [line for line in lines if line not in text] == []
