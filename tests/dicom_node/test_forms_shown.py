"""Pictures, annotations, maps and sets show the heatmap where it is, and name what they tie."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from form_inputs import EDITS, built, predicted, slide_files
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian
from result_inputs import STRIDE, geometry

from dicom_node import implementation
from dicom_node.commands.studies_of_files import Unusable, find_studies
from dicom_node.results.ann import geojson
from dicom_node.results.files import write
from dicom_node.results.identity import Provenance
from dicom_node.results.overlay.drawing import FAINTEST, STRONGEST
from dicom_node.services.store.status import STATUS_OF, StoreStatus
from dicom_node.spool.identity import read_identity
from dicom_node.spool.refusals import Refused, Why
from inference.heatmap import color
from inference.types import SlideGeometry
from slides import PhantomStudy

SHOWN = frozenset({"overlay", "capture", "annotations", "map", "set"})
BANNER_PX = 72


@pytest.fixture(scope="module", params=["latin", "turned", "turned twice"])
def shown(
    request: pytest.FixtureRequest,
    phantom_study: PhantomStudy,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Dataset, dict[str, Dataset]]:
    """Header of the slide, and what was made of it as it is read from files."""
    folder = tmp_path_factory.mktemp("shown")
    slide = slide_files(phantom_study.folder, folder / "slide", EDITS[request.param])
    made = built(slide, wanted=SHOWN)
    for name, one in made.items():
        write(one.dataset, folder / f"{name}.dcm")
    source = dcmread(slide.base_path, stop_before_pixels=True)
    return source, {name: dcmread(folder / f"{name}.dcm") for name in made}


def grid(source: Dataset) -> np.ndarray:
    """The values that were predicted, NaN where none was."""
    (heatmap,) = predicted(source).heatmaps
    return np.asarray(heatmap.values)


def whole(image: Dataset) -> np.ndarray:
    """RGB of a tiled image, put together as PS3.3 C.7.6.17.3 says."""
    rows, cols, side = image.TotalPixelMatrixRows, image.TotalPixelMatrixColumns, image.Rows
    across = -(-cols // side)
    full = np.zeros((-(-rows // side) * side, across * side, 3), np.uint8)
    for n, frame in enumerate(image.pixel_array.reshape(-1, side, side, 3)):
        top, left = n // across * side, n % across * side
        full[top : top + side, left : left + side] = frame
    return full[:rows, :cols]


def turns(source: Dataset) -> int:
    """Quarters to the left after which +X of the slide points down."""
    quarters = {(0, -1, 0, -1, 0, 0): 2, (1, 0, 0, 0, 1, 0): 3, (0, 1, 0, 1, 0, 0): 0}
    return quarters[tuple(int(v) for v in source.ImageOrientationSlide)]


def slide_in(image: Dataset, source: Dataset) -> np.ndarray:
    """RGB of the slide in the picture, turned back to lie as in its own pixels."""
    rows, cols = source.TotalPixelMatrixRows, source.TotalPixelMatrixColumns
    scale = 2048 / max(rows, cols)
    height, width = round(rows * scale), round(cols * scale)
    if turns(source) % 2:
        height, width = width, height
    picture = whole(image)[BANNER_PX : BANNER_PX + height, :width]
    return np.rot90(picture, -turns(source))


def test_each_cell_of_the_picture_has_the_color_of_its_value(shown, phantom_study):
    source, made = shown
    picture = slide_in(made["overlay"], source).astype(float)
    below = np.asarray(phantom_study.phantom.pixels, float)
    scale = 2048 / max(below.shape[:2])
    wrong = 0
    values = grid(source)
    for row, col in np.argwhere(np.isfinite(values)):
        top, left = row * STRIDE, col * STRIDE
        bottom, right = min(top + STRIDE, below.shape[0]), min(left + STRIDE, below.shape[1])
        tissue = below[top + 8 : bottom - 8, left + 8 : right - 8].mean((0, 1))
        y = slice(round((top + 8) * scale), round((bottom - 8) * scale))
        x = slice(round((left + 8) * scale), round((right - 8) * scale))
        value = max(float(values[row, col]), 1 / 255)
        share = FAINTEST + (STRONGEST - FAINTEST) * value
        expected = tissue * (1 - share) + color(np.float32(value)) * share
        wrong += np.abs(picture[y, x].mean((0, 1)) - expected).max() > 8
    assert wrong == 0
    outside = picture[40, picture.shape[1] - 40]
    assert np.abs(outside - below[60, -60]).max() < 25, "no color where there is no value"


def test_the_picture_lies_on_the_slide_where_it_says(shown):
    source, made = shown
    image = made["overlay"]
    place = geometry(source)
    spacing = image.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    origin = image.TotalPixelMatrixOriginSequence[0]
    theirs = SlideGeometry(
        str(image.FrameOfReferenceUID),
        float(origin.XOffsetInSlideCoordinateSystem),
        float(origin.YOffsetInSlideCoordinateSystem),
        tuple(float(v) for v in image.ImageOrientationSlide),
        float(spacing[0]),
        float(spacing[1]),
        image.TotalPixelMatrixRows,
        image.TotalPixelMatrixColumns,
    )
    height, width, _ = np.rot90(slide_in(image, source), turns(source)).shape
    corners = np.array([[(0, 0), (0, place.cols)], [(place.rows, 0), (place.rows, place.cols)]])
    turned = np.rot90(corners, turns(source))
    for n, m in np.ndindex(2, 2):
        found = theirs.to_slide_mm(BANNER_PX + n * height, m * width)
        np.testing.assert_allclose(found, place.to_slide_mm(*turned[n, m]), atol=2e-3)
    assert [round(float(v)) for v in image.ImageOrientationSlide[3:]] == [1, 0, 0], "upright"
    assert image.FrameOfReferenceUID != source.FrameOfReferenceUID, "it is no level of the slide"


def test_the_picture_is_a_pyramid_of_two_levels_in_one_series(shown):
    _, made = shown
    first, small = made["overlay"], made["overlay-small"]
    same = ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "FrameOfReferenceUID")
    for keyword in (*same, "ImageType", "ImageOrientationSlide", "ContainerIdentifier"):
        assert small[keyword].value == first[keyword].value, keyword
    assert small.SOPInstanceUID != first.SOPInstanceUID
    assert (first.InstanceNumber, small.InstanceNumber) == (1, 2)
    specimens = [ds.SpecimenDescriptionSequence[0].SpecimenUID for ds in (first, small)]
    assert specimens[0] == specimens[1]
    spacings = [
        [
            float(mm)
            for mm in ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
        ]
        for ds in (first, small)
    ]
    np.testing.assert_allclose(spacings[1], [4 * mm for mm in spacings[0]], rtol=1e-7)
    origins = [ds.TotalPixelMatrixOriginSequence[0] for ds in (first, small)]
    for axis in "XY":
        keyword = f"{axis}OffsetInSlideCoordinateSystem"
        values = [float(o[keyword].value) for o in origins]
        assert values[0] == pytest.approx(values[1], abs=1e-9)
    large, reduced = whole(first).astype(float), whole(small).astype(float)
    assert reduced.shape[:2] == tuple(-(-n // 4) for n in large.shape[:2])
    rows, cols = (n // 4 for n in large.shape[:2])
    mean = large[: 4 * rows, : 4 * cols].reshape(rows, 4, cols, 4, 3).mean((1, 3))
    assert np.abs(mean - reduced[:rows, :cols]).mean() < 3


def test_a_picture_says_that_it_is_derived_lossy_and_free_of_patient_data(shown):
    source, made = shown
    assert list(made["overlay"].ImageType) == ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
    assert list(made["capture"].ImageType) == ["DERIVED", "SECONDARY"]
    assert {made[name].Modality for name in ("overlay", "capture")} == {"SM", "GM"}
    for name in ("overlay", "capture"):
        image = made[name]
        assert image.BurnedInAnnotation == "NO"
        assert image.LossyImageCompression == "01"
        assert list(image.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_10918_1"]
        assert float(image.LossyImageCompressionRatio[0]) == float(
            source.LossyImageCompressionRatio
        )
        references = [str(i.ReferencedSOPInstanceUID) for i in image.SourceImageSequence]
        segmentation = made["heatmap-tumor"].SOPInstanceUID
        assert references == [str(source.SOPInstanceUID), str(segmentation)]


def test_every_series_says_of_which_slide_it_is(shown):
    source, made = shown
    for name, one in made.items():
        assert str(source.ContainerIdentifier) in one.SeriesDescription, name


def test_the_capture_is_the_same_picture(shown):
    _, made = shown
    np.testing.assert_allclose(
        made["capture"].pixel_array.astype(int), whole(made["overlay"]).astype(int), atol=40
    )


def test_every_tile_is_annotated_with_its_value_on_its_cell(shown, tmp_path):
    source, made = shown
    made["annotations"].save_as(tmp_path / "ann.dcm")
    (group,) = hd.ann.annread(tmp_path / "ann.dcm").get_annotation_groups()
    corners = group.get_graphic_data(coordinate_type="3D")
    _, values, units = group.get_measurements()
    cells = np.argwhere(np.isfinite(grid(source)))
    assert len(corners) == len(cells) == len(values) > 50
    assert units[0].value == "1"
    place = geometry(source)
    for (row, col), outline, value in zip(cells, corners, values[:, 0], strict=True):
        bottom, right = min((row + 1) * STRIDE, place.rows), min((col + 1) * STRIDE, place.cols)
        ring = [(row * STRIDE, col * STRIDE), (row * STRIDE, right), (bottom, right)]
        expected = [place.to_slide_mm(*at) for at in [*ring, (bottom, col * STRIDE)]]
        np.testing.assert_allclose(outline, expected, atol=1e-4)
        assert value == pytest.approx(grid(source)[row, col], abs=1e-6)


def test_the_map_gives_the_values_back(shown, tmp_path):
    source, made = shown
    made["map"].save_as(tmp_path / "map.dcm")
    image = hd.imread(tmp_path / "map.dcm")
    stored = image.get_total_pixel_matrix(apply_real_world_transform=False)
    read = (stored.astype(float) - 1) / 65534
    values = grid(source)
    assert ((stored == 0) == np.isnan(values)).all()
    np.testing.assert_allclose(read[stored > 0], values[np.isfinite(values)], atol=1e-5)
    mapping = image.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    slope, intercept = mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept
    assert 1 * slope + intercept == pytest.approx(0, abs=1e-9)
    assert 65535 * slope + intercept == pytest.approx(1)
    origin = made["map"].TotalPixelMatrixOriginSequence[0]
    mine = source.TotalPixelMatrixOriginSequence[0]
    assert origin.XOffsetInSlideCoordinateSystem == mine.XOffsetInSlideCoordinateSystem
    spacing = made["map"].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    assert float(spacing[0]) == pytest.approx(geometry(source).spacing_row_mm * STRIDE)


def test_the_set_names_the_slide_and_everything_that_was_made_of_it(shown):
    source, made = shown
    selection = made["set"]
    named = {
        str(i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for i in selection.ContentSequence
        if i.ValueType in ("IMAGE", "COMPOSITE")
    }
    others = {str(ds.SOPInstanceUID) for name, ds in made.items() if name != "set"}
    assert named == {str(source.SOPInstanceUID), *others}
    listed = {
        str(image.ReferencedSOPInstanceUID)
        for study in selection.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for image in series.ReferencedSOPSequence
    }
    assert listed == named
    assert selection.ConceptNameCodeSequence[0].CodeMeaning == "For Research"


# ---- QuPath ------------------------------------------------------------------------------------


def qupath_would_read(feature: dict) -> None:
    """What QuPath 0.4 asks of an object that it reads: named types, numbers, rings that close."""
    assert set(feature) == {"type", "id", "geometry", "properties"}
    assert feature["type"] == "Feature"
    uuid.UUID(feature["id"])
    assert feature["geometry"]["type"] == "Polygon"
    for ring in feature["geometry"]["coordinates"]:
        assert len(ring) >= 4
        assert ring[0] == ring[-1]
        assert all(len(point) == 2 for point in ring)
    properties = feature["properties"]
    assert properties["objectType"] in ("annotation", "detection", "tile", "cell", "tmaCore")
    assert properties["isLocked"] is True
    for color_of in (properties, properties.get("classification", {})):
        if "color" in color_of:
            assert len(color_of["color"]) == 3
            assert all(isinstance(c, int) and 0 <= c <= 255 for c in color_of["color"])
    assert isinstance(properties.get("classification", {}).get("name", ""), str)
    for name, value in properties.get("measurements", {}).items():
        assert isinstance(name, str)
        assert isinstance(value, float)


def test_the_regions_for_qupath_are_what_it_reads_in_pixels_of_the_base_level(
    phantom_study, tmp_path
):
    slide = slide_files(phantom_study.folder, tmp_path / "slide", EDITS["turned"])
    source = dcmread(slide.base_path, stop_before_pixels=True)
    segmentation = built(slide, wanted=frozenset())["heatmap-tumor"]
    result = predicted(source)
    text = geojson.to_text(result, [segmentation])
    assert text == geojson.to_text(result, [segmentation])
    read = json.loads(text)
    assert read["type"] == "FeatureCollection"
    for feature in read["features"]:
        qupath_would_read(feature)
    assert len({f["id"] for f in read["features"]}) == len(read["features"])
    tissue, first, second, *tiles = read["features"]
    assert tissue["properties"]["classification"]["name"] == "Tissue analyzed"
    (ring,) = tissue["geometry"]["coordinates"]
    assert ring[:2] == [[200, 100], [1500, 100]], "x is the column"
    label = "Tumor probability per tile (research)"
    assert first["properties"]["measurements"] == {label: 1.0}
    (ring,) = second["geometry"]["coordinates"]
    assert ring[0] == [4 * STRIDE, 3 * STRIDE]
    assert ring[2] == [5 * STRIDE, 4 * STRIDE]
    assert len(tiles) == np.isfinite(grid(source)).sum()
    assert {t["properties"]["objectType"] for t in tiles} == {"tile"}


# ---- our own pictures that come back -----------------------------------------------------------


class Held:
    """Bytes of a dataset as the spool gives them."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def size_bytes(self) -> int:
        return len(self._content)

    def read_at(self, offset: int, count: int) -> bytes:
        return self._content[offset : offset + count]


def test_our_own_picture_is_refused_as_a_slide(phantom_study, tmp_path):
    slide = slide_files(phantom_study.folder, tmp_path / "slide", EDITS["latin"])
    overlay = built(slide, wanted=frozenset({"overlay"}))["overlay"].dataset
    write(overlay, tmp_path / "overlay.dcm")
    content = (tmp_path / "overlay.dcm").read_bytes()
    meta = 144 + dcmread(tmp_path / "overlay.dcm").file_meta.FileMetaInformationGroupLength
    with pytest.raises(Refused) as refusal:
        read_identity(Held(content[meta:]), ExplicitVRLittleEndian)
    assert refusal.value.why is Why.OWN_RESULT
    assert STATUS_OF[refusal.value.why] is StoreStatus.OWN_RESULT
    found = find_studies([tmp_path])
    assert [(p.name, why) for p, why in found.skipped] == [
        ("overlay.dcm", "a result of a dicom-node")
    ]
    with pytest.raises(Unusable):
        find_studies([tmp_path / "overlay.dcm"])


def test_our_results_are_known_by_their_manufacturer():
    provenance = Provenance("b", "1", "sha256:0", "e", "0", created_at=None)  # type: ignore[arg-type]
    for one in (provenance, replace(provenance, bundle_name="")):
        assert one.device.manufacturer == implementation.MANUFACTURER


def test_analyze_refuses_a_kind_that_there_is_none_of(capsys):
    from dicom_node.cli import main

    with pytest.raises(SystemExit):
        main(["analyze", "x", "--out", str(Path("y")), "--objects", "summary,picture"])
    said = capsys.readouterr().err
    assert "found picture; expected some of annotations, attention, capture" in said
