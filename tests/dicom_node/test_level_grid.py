"""Segmentations on the grid of a level: the same values in the same places, pixel for pixel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from form_inputs import EDITS, built, predicted, slide_files
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from result_inputs import PROVENANCE, STRIDE, manifest, values, volume
from structlog.testing import capture_logs
from validators import dciodvfy_errors

from dicom_node.config.peers import Destination
from dicom_node.deliver.choose import plan
from dicom_node.deliver.forms.chains import forms_after, next_forms
from dicom_node.ledger.rows import Result
from dicom_node.results import kinds
from dicom_node.results.build import build_objects
from dicom_node.results.files import write
from dicom_node.results.making import BuiltObject, Making, series_number_of
from dicom_node.view.items import evidence_of
from engines.manifest.whole import Manifest
from inference.slide.files import SlideFiles
from inference.types import Heatmap
from slides import PhantomStudy

LEVEL = frozenset({"level"})


def spacing_of(ds: Dataset) -> list[float]:
    measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    return [float(mm) for mm in measures.PixelSpacing]


def matrix(ds: Dataset) -> np.ndarray:
    """Stored values, [H, W]."""
    seg = hd.seg.Segmentation.from_dataset(ds)
    stored = seg.get_total_pixel_matrix(rescale_fractional=False, skip_overlap_checks=True)
    return np.asarray(stored[..., 0])


def with_region() -> Manifest:
    known = manifest()
    (tumor,) = known.heatmaps
    outputs = tuple(o for o in known.outputs if o != tumor)
    changed = tumor.model_copy(update={"threshold": 0.5})
    return known.model_copy(update={"outputs": (*outputs, changed)})


@pytest.fixture(scope="module", params=["latin", "turned"])
def made(
    request: pytest.FixtureRequest,
    phantom_study: PhantomStudy,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[Dataset], dict[str, Dataset]]:
    """Headers of the levels, the largest first, and the Segmentations as files hold them."""
    folder = tmp_path_factory.mktemp("level")
    slide = slide_files(phantom_study.folder, folder / "slide", EDITS[request.param])
    source = dcmread(slide.base_path, stop_before_pixels=True)
    making = Making(source, predicted(source), with_region(), PROVENANCE, slide, 0, wanted=LEVEL)
    found = {b.kind: b.dataset for b in build_objects(making) if "report" not in b.kind}
    for name, ds in found.items():
        write(ds, folder / f"{name}.dcm")
    headers = [dcmread(path, stop_before_pixels=True) for path in slide.paths]
    volumes = [h for h in headers if h.ImageType[2] == "VOLUME"]
    ordered = sorted(volumes, key=lambda h: -int(h.TotalPixelMatrixColumns))
    assert len(ordered) == 3
    return ordered, {name: dcmread(folder / f"{name}.dcm") for name in found}


@pytest.mark.parametrize("kind", ["heatmap-tumor", "region-tumor"])
def test_matrix_spacing_origin_and_tiles_are_those_of_the_smallest_level(made, kind):
    (*_, smallest), objects = made
    ds = objects[f"level-{kind}"]
    for keyword in ("TotalPixelMatrixRows", "TotalPixelMatrixColumns", "Rows", "Columns",
                    "FrameOfReferenceUID", "ImageOrientationSlide"):  # fmt: skip
        assert ds[keyword].value == smallest[keyword].value, keyword
    assert spacing_of(ds) == spacing_of(smallest)
    mine, theirs = (d.TotalPixelMatrixOriginSequence[0] for d in (ds, smallest))
    for axis in "XY":
        keyword = f"{axis}OffsetInSlideCoordinateSystem"
        assert float(mine[keyword].value) == float(theirs[keyword].value)
    assert ds.SegmentationType == objects[kind].SegmentationType
    assert ds.SOPInstanceUID != objects[kind].SOPInstanceUID


@pytest.mark.parametrize("kind", ["heatmap-tumor", "region-tumor"])
def test_each_pixel_has_the_value_of_the_tile_under_its_middle(made, kind):
    (base, *_, smallest), objects = made
    stored, drawn = matrix(objects[kind]), matrix(objects[f"level-{kind}"])
    ratio = [s / b for s, b in zip(spacing_of(smallest), spacing_of(base), strict=True)]
    seen = set()
    for row in range(drawn.shape[0]):
        for col in range(drawn.shape[1]):
            cell = int((row + 0.5) * ratio[0] // STRIDE), int((col + 0.5) * ratio[1] // STRIDE)
            assert drawn[row, col] == stored[cell], (row, col)
            seen.add(cell)
    assert {tuple(map(int, cell)) for cell in np.argwhere(stored)} <= seen


def test_validators_and_readers_take_it(made, tmp_path):
    _, objects = made
    for kind in ("level-heatmap-tumor", "level-region-tumor"):
        write(objects[kind], tmp_path / "one.dcm")
        assert dciodvfy_errors(tmp_path / "one.dcm") == []
        read = hd.seg.segread(tmp_path / "one.dcm")
        assert read.number_of_segments == 1
        frames = [f.PlanePositionSlideSequence[0] for f in read.PerFrameFunctionalGroupsSequence]
        places = {(f.RowPositionInTotalImagePixelMatrix, f.ColumnPositionInTotalImagePixelMatrix)
                  for f in frames}  # fmt: skip
        assert len(places) == read.NumberOfFrames, "every frame of the level is there once"


def test_a_finer_level_is_taken_where_a_tile_would_have_no_pixel(phantom_study, tmp_path):
    slide = slide_files(phantom_study.folder, tmp_path / "slide", EDITS["latin"])
    source = dcmread(slide.base_path, stop_before_pixels=True)
    grid = Heatmap("tumor", np.nan_to_num(values(source, 3)), ())
    fine = replace(predicted(source), heatmaps=(grid,), stride_px=3)
    making = Making(source, fine, manifest(), PROVENANCE, slide, 0, wanted=LEVEL)
    ds = next(b.dataset for b in build_objects(making) if b.kind == "level-heatmap-tumor")
    levels = [dcmread(p, stop_before_pixels=True) for p in slide.paths]
    widths = sorted(int(h.TotalPixelMatrixColumns) for h in levels if h.ImageType[2] == "VOLUME")
    assert ds.TotalPixelMatrixColumns == widths[1]


def test_a_slide_without_a_level_of_modest_size_keeps_todays_grid_and_the_log_says_why(tmp_path):
    source = volume(rows=4000, cols=6000)
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = tmp_path / "base.dcm"
    dcmwrite(path, source, enforce_file_format=True)
    slide = SlideFiles("s", (path,), (str(source.SOPInstanceUID),), path)
    making = Making(
        dcmread(path), predicted(source), manifest(), PROVENANCE, slide, 0, wanted=LEVEL
    )
    with capture_logs() as said:
        found = [b.kind for b in build_objects(making)]
    assert found == ["heatmap-tumor", "report"]
    (line,) = [e for e in said if e["event"] == "no_level_fits"]
    assert "6000 x 4000 px, more than 4 million pixels" in line["reason"]


def test_the_same_slide_gives_the_same_uid_and_another_content_another(phantom_study, tmp_path):
    slide = slide_files(phantom_study.folder, tmp_path / "slide", EDITS["latin"])
    (first, again) = (built(slide, wanted=LEVEL) for _ in range(2))
    uids = [str(m["level-heatmap-tumor"].dataset.SOPInstanceUID) for m in (first, again)]
    assert uids[0] == uids[1] != str(first["heatmap-tumor"].dataset.SOPInstanceUID)


# -- who is sent which -----------------------------------------------------------------------------


def destination(**more: object) -> Destination:
    fixed = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    return Destination.model_validate({**fixed, **more})


def result(kind: str, uid: str) -> Result:
    return Result(uid, "1", kind, "s", f"{uid}.dcm", "x")


def test_a_destination_gets_one_grid_each_and_is_told_where_no_level_fits():
    old, new = destination(name="old", heatmap_grid="level"), destination(name="new")
    goes = plan([old, new], {})
    assert goes.asked == {"level"}
    made = [result(kind, kind) for kind in ("report", "heatmap-tumor", "level-heatmap-tumor",
                                             "region-tumor")]  # fmt: skip
    assert goes.routes(made) == {
        "old": {"report", "level-heatmap-tumor", "region-tumor"},
        "new": {"report", "heatmap-tumor", "region-tumor"},
    }
    assert goes.told(made) == {
        "old": [
            "region-tumor of slide s is sent on the grid of the tiles: no level of the slide fits "
            "it; the log says why"
        ]
    }


def test_a_destination_that_refuses_the_grid_of_a_level_gets_that_of_the_tiles():
    assert forms_after("level-heatmap-tumor", None) == ["heatmap"]
    assert forms_after("level-region-tumor", {}) == ["region"]
    assert forms_after("report", None) == next_forms("report", None) != []
    goes = plan([destination(heatmap_grid="level")], {}, {"pacs": {"level": "A900"}})
    assert "level" not in goes.asked
    made = [result(kind, kind) for kind in ("report", "heatmap-tumor")]
    assert goes.routes(made) == {"pacs": {"report", "heatmap-tumor"}}


def test_a_level_of_another_slide_or_model_stands_for_nothing():
    goes = plan([destination(heatmap_grid="level")], {})
    other = replace(result("level-heatmap-tumor", "2"), slide="t")
    model = replace(result("level-heatmap-tumor", "3"), model="m")
    assert goes.routes([result("heatmap-tumor", "1"), other, model]) == {"pacs": {"1"}}


def test_without_segmentations_nothing_is_laid_on_a_level():
    assert not plan([destination(heatmap_grid="level", objects=["report"])], {}).asked


# -- series numbers --------------------------------------------------------------------------------


def making_of(number: int) -> Making:
    source = volume()
    slide = SlideFiles("s", (Path("a"),), (str(source.SOPInstanceUID),), Path("a"))
    return Making(source, predicted(source), manifest(), PROVENANCE, slide, number)


def test_no_series_number_is_that_of_another_object_however_many_maps_or_slides_there_are():
    asked = [kind for kind in kinds.KINDS if kind.asked]
    found: list[int] = []
    for number in (0, 1, 2, 298, 299, 300, 1099, 1100, 5000):
        one = making_of(number)
        found += [series_number_of(number, nth) for nth in range(40)]
        found += [one.asked_series_number(kind, nth) for kind in asked for nth in range(40)]
    assert len(set(found)) == len(found)
    assert max(found) < 2**31


def test_the_usual_numbers_are_what_they_were():
    assert [series_number_of(2, nth) for nth in (0, 1, 9)] == [9021, 9022, 9030]
    assert making_of(2).asked_series_number(kinds.SET) == 20271
    places = [kind.place for kind in kinds.KINDS if kind.asked]
    assert len(set(places)) == len(places)


def test_eleven_maps_of_a_slide_have_numbers_that_the_next_slide_has_not():
    known = manifest()
    (tumor,) = known.heatmaps
    others = [tumor.model_copy(update={"name": f"map {n}"}) for n in range(10)]
    many = known.model_copy(update={"outputs": (*known.outputs, *others)})

    def numbers(number: int) -> list[int]:
        one = making_of(number)
        first = predicted(one.source).heatmaps[0]
        maps = (first, *(replace(first, name=f"map {n}") for n in range(10)))
        result = replace(predicted(one.source), heatmaps=maps)
        built: list[BuiltObject] = build_objects(replace(one, result=result, manifest=many))
        return [int(b.dataset.SeriesNumber) for b in built]

    found = [*numbers(0), *numbers(1)]
    assert len(found) == len(set(found)) == 24


def test_the_series_of_a_variant_is_named_in_the_language_of_the_results(
    phantom_study: PhantomStudy, tmp_path: Path
):
    slide = slide_files(phantom_study.folder, tmp_path / "slide", EDITS["latin"])
    found = built(slide, wanted=LEVEL, student=with_region(), language="de")
    for name, start in {
        "level-heatmap-tumor": "Tumor-Heatmap auf Ebene ",
        "level-region-tumor": "Tumorwahrscheinlichkeit >= 0,5 auf Ebene ",
    }.items():
        said = str(found[name].dataset.SeriesDescription)
        assert said.startswith(start)
        assert "RESEARCH" not in said


# -- sets ------------------------------------------------------------------------------------------


def test_a_set_names_what_its_destination_is_sent_and_nothing_else(
    phantom_study: PhantomStudy, tmp_path: Path
):
    slide = slide_files(phantom_study.folder, tmp_path / "slide", EDITS["latin"])
    source = dcmread(slide.base_path, stop_before_pixels=True)
    usual = ["report", "heatmap", "region", "set"]
    goes = plan(
        [
            destination(name="new", objects=usual),
            destination(name="all", objects=[*usual, "attention"]),
            destination(name="old", objects=[*usual, "attention"], heatmap_grid="level"),
            destination(name="text", objects=["report-text", "set"]),
            destination(name="none", objects=["report"]),
        ],
        {},
    )
    making = Making(
        source, predicted(source), with_region(), PROVENANCE, slide, 0,
        wanted=goes.wanted.kinds, sets=goes.wanted.sets,
    )  # fmt: skip
    made = build_objects(making)
    by_uid = {str(b.dataset.SOPInstanceUID): b for b in made}
    rows = [result(b.kind, uid) for uid, b in by_uid.items()]
    sets = {b.kind for b in made if b.kind.startswith("set")}
    assert len(sets) == len(goes.wanted.sets) == 4
    assert {"set", "set-on-level"} < sets
    numbers = [int(b.dataset.SeriesNumber) for b in made]
    assert len(set(numbers)) == len(numbers)
    for name, sent in goes.routes(rows).items():
        own = [by_uid[uid].dataset for uid in sent if by_uid[uid].kind in sets]
        assert len(own) == (name != "none")
        for one in own:
            assert evidence_of(one) - {str(source.SOPInstanceUID)} == sent - {
                str(one.SOPInstanceUID)
            }
    kinds_at_old = {by_uid[uid].kind for uid in goes.routes(rows)["old"]}
    assert kinds_at_old == {"report", "level-heatmap-tumor", "level-region-tumor", "set-on-level"}


def test_the_name_of_a_set_fits_its_column_whatever_is_sent():
    every = frozenset(kind.name for kind in kinds.KINDS)
    names = {
        kinds.Selection(some, on_level).own_kind
        for some in (every, every - {"heatmap"}, frozenset({"summary"}))
        for on_level in (False, True)
    }
    assert len(names) == 6
    assert all(len(name) <= 32 and kinds.kind_of(name) == kinds.SET for name in names)


def test_the_report_is_the_same_whatever_grid_a_destination_is_sent(
    phantom_study: PhantomStudy, tmp_path: Path
):
    slide = slide_files(phantom_study.folder, tmp_path / "slide", EDITS["latin"])
    uids = {
        str(built(slide, wanted=wanted)["report"].dataset.SOPInstanceUID)
        for wanted in (frozenset[str](), LEVEL, frozenset({"level", "set"}))
    }
    assert len(uids) == 1
