"""`dicom-node analyze`: from files to report, heatmap and page."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from nodes import ROOT, dicom_node, study_of
from pydicom import dcmread
from rich.console import Console
from several import study
from validators import dciodvfy_errors, template_errors

from dicom_node.commands import demo
from dicom_node.demo.wsm import SlideLabel, write_slide
from inference.phantom.draw import draw
from slides import (
    BENIGN,
    TILE_PX,
    TUMOR,
    as_concatenation,
    base_level,
    new_study_copy,
    truncated_frames,
)


def analyze(*arguments: object, status: int = 0) -> str:
    done = dicom_node("analyze", *map(str, arguments))
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stdout + done.stderr


def heatmap_grid(seg_path):
    """Values 0..1 of a SEG on its grid, and its stride in millimeters, as a viewer reads them."""
    seg = dcmread(seg_path)
    frames = np.atleast_3d(seg.pixel_array).reshape(-1, seg.Rows, seg.Columns)
    grid = np.zeros((seg.TotalPixelMatrixRows, seg.TotalPixelMatrixColumns), np.float32)
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        place = groups.PlanePositionSlideSequence[0]
        row = place.RowPositionInTotalImagePixelMatrix - 1
        col = place.ColumnPositionInTotalImagePixelMatrix - 1
        part = grid[row : row + seg.Rows, col : col + seg.Columns]
        part[:] = frame[: part.shape[0], : part.shape[1]] / 255
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    return grid, float(measures.PixelSpacing[0])


def auc(positive, negative):
    """Area under the ROC curve: how often a positive is above a negative, ties half."""
    above = (positive[:, None] > negative[None]).mean()
    return above + (positive[:, None] == negative[None]).mean() / 2


def test_the_heatmap_and_the_top_patches_fall_on_the_real_tumor_tiles(composed_study, tmp_path):
    answer = json.loads(analyze(composed_study.folder, "--out", tmp_path, "--json"))[0]
    grid, stride_mm = heatmap_grid(answer["objects"]["heatmap-tumor"])
    assert stride_mm == pytest.approx(TILE_PX * 0.0005, rel=1e-6)
    rows, cols = np.indices(composed_study.truth.shape)
    tumor = grid[rows[composed_study.truth == TUMOR], cols[composed_study.truth == TUMOR]]
    benign = grid[rows[composed_study.truth == BENIGN], cols[composed_study.truth == BENIGN]]
    value = auc(tumor, benign)
    print(f"AUC of the heatmap on composed real tiles: {value:.3f}")
    assert value > 0.9
    patches = [g for g in answer["report"] if "patch" in g["group"].lower()]
    assert len(patches) == 5
    top = np.argsort(grid.ravel())[::-1][:5]
    assert (composed_study.truth.ravel()[top] == TUMOR).all()


def test_a_real_converted_slide_with_short_edge_frames_is_analyzed(cmu_study, tmp_path):
    answer = json.loads(analyze(cmu_study.folder, "--out", tmp_path, "--json"))[0]
    assert "report" in answer["objects"]
    names = [row["name"] for group in answer["report"] for row in group["rows"]]
    said = ("Share of tiles in the region", "Reason not predictable")
    assert any(name in said for name in names)


@pytest.mark.parametrize("name", ["composed_study", "cmu_study", "tcga_study", "phantom_study"])
def test_every_object_made_from_a_slide_is_free_of_validator_errors(name, request, tmp_path):
    folder = request.getfixturevalue(name).folder
    objects = json.loads(analyze(folder, "--out", tmp_path, "--json"))[0]["objects"]
    assert "report" in objects
    for path in objects.values():
        assert dciodvfy_errors(path) == []
    assert template_errors(objects["report"]) == []


def test_a_concatenation_gives_the_same_heatmap_as_the_single_instance(phantom_study, tmp_path):
    as_concatenation(phantom_study.folder, tmp_path / "parts", 3)
    whole = json.loads(analyze(phantom_study.folder, "--out", tmp_path / "a", "--json"))[0]
    parts = json.loads(analyze(tmp_path / "parts", "--out", tmp_path / "b", "--json"))[0]
    grid, _ = heatmap_grid(whole["objects"]["heatmap-tumor"])
    again, _ = heatmap_grid(parts["objects"]["heatmap-tumor"])
    np.testing.assert_array_equal(grid, again)


def test_two_runs_on_the_same_files_give_the_same_bytes_and_another_precision_other_uids(
    phantom_study, tmp_path
):
    def made(name: str, *more: str) -> dict[str, bytes]:
        answer = analyze(phantom_study.folder, "--out", tmp_path / name, "--json", *more)
        paths = json.loads(answer)[0]["objects"].values()
        return {str(dcmread(path).SOPInstanceUID): Path(path).read_bytes() for path in paths}

    first, again = made("a"), made("b")
    assert len(first) == 3
    assert first == again
    other = made("c", "--engine", "onnxruntime", "--precision", "fp32")
    assert not other.keys() & first.keys()


def test_slides_of_a_study_differ_in_series_number_and_description_and_name_all_levels(tmp_path):
    study(tmp_path / "two", {"A26 A": "", "A26 B": ""})
    answers = json.loads(analyze(tmp_path / "two", "--out", tmp_path / "out", "--json"))
    objects = [dcmread(path) for answer in answers for path in answer["objects"].values()]
    reports = [ds for ds in objects if ds.Modality == "SR"]
    assert len(reports) == 2
    for keyword in ("SeriesNumber", "SeriesDescription"):
        assert len({ds[keyword].value for ds in objects}) == len(objects)
    for ds, container in zip(reports, ("A26 A", "A26 B"), strict=True):
        assert container in ds.SeriesDescription
        (evidence,) = ds.CurrentRequestedProcedureEvidenceSequence
        named = {
            str(item.ReferencedSOPInstanceUID)
            for series in evidence.ReferencedSeriesSequence
            for item in series.ReferencedSOPSequence
        }
        files = [dcmread(p) for p in (tmp_path / "two" / container).glob("*.dcm")]
        levels = {str(f.SOPInstanceUID) for f in files if f.ImageType[2] == "VOLUME"}
        assert len(levels) == 2
        assert levels <= named
        assert "InstanceCreationDate" not in ds
        assert "The time of analysis is not told" in str(ds)


def test_a_slide_drawn_by_the_demo_is_a_new_study_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "_ROWS", 1024)
    monkeypatch.setattr(demo, "_COLS", 1024)
    drawn = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths, _ = demo._drawn_study(tmp_path / name, Console(quiet=True))
        drawn.append({str(dcmread(path).SOPInstanceUID) for path in paths})
    assert not drawn[0] & drawn[1]


def test_missing_frames_are_said_and_nothing_is_analyzed(phantom_study, tmp_path):
    truncated_frames(phantom_study.folder, tmp_path / "short", missing=2)
    said = analyze(tmp_path / "short", "--out", tmp_path / "out", status=1)
    assert re.search(r"incomplete: .*\d+ of \d+ frames present", " ".join(said.split()))


def test_a_study_of_several_slides_has_a_page_over_them(phantom_study, tmp_path):
    slides, out = tmp_path / "slides", tmp_path / "out"
    shutil.copytree(phantom_study.folder, slides / "A-1")
    for seed, container in ((5, "B-2"), (6, "C-3")):
        write_slide(
            draw(seed, rows=1024, cols=1536).pixels,
            tmp_path / container,
            mpp=0.5,
            study_uid=study_of(phantom_study.folder),
            label=SlideLabel(container_id=f"PHANTOM-{container}"),
        )
    shutil.move(tmp_path / "B-2", slides)
    truncated_frames(tmp_path / "C-3", slides / "C-3")
    said = analyze(slides, "--out", out, status=1)

    overview = out / "study-1" / "index.html"
    assert str(overview) in said.replace("\n", "")
    text = overview.read_text("utf-8")
    assert "<h1>3 slides of one study</h1>" in text
    assert "Slides without a report" in text
    links = dict(re.findall(r'<h2><a href="([^"]+)">Slide ([^<]+)</a>', text))
    assert sorted(links.values()) == ["PHANTOM-A-1", "PHANTOM-B-2"]
    for place, container in links.items():
        page = (overview.parent / place).read_text("utf-8")
        assert f"<h1>Slide {container}</h1>" in page
        assert 'href="../study-1/index.html"' in page


def test_a_study_of_one_slide_has_a_page_of_its_own_only(phantom_study, tmp_path):
    (answer,) = json.loads(analyze(phantom_study.folder, "--out", tmp_path, "--json"))
    assert not (tmp_path / "study-1").exists()
    assert "index.html" not in Path(answer["page"]).read_text("utf-8")


def test_a_folder_without_slides_is_said(tmp_path):
    said = analyze(tmp_path, "--out", tmp_path / "out", status=1)
    assert "no DICOM whole-slide image found" in said


def test_every_study_is_analyzed_by_itself_and_what_is_wrong_with_one_is_said(
    composed_study, tmp_path
):
    good = composed_study.folder
    bad = tmp_path / "in"
    truncated_frames(good, bad / "short")
    new_study_copy(bad / "short", bad / "incomplete", "incomplete")
    shutil.rmtree(bad / "short")
    new_study_copy(good, bad / "twice", "twice")
    ds = dcmread(base_level(bad / "twice"))
    ds.PatientID = "ZZOTHER"
    ds.save_as(bad / "twice" / "again.dcm")
    (bad / "torn.dcm").write_bytes(base_level(good).read_bytes()[:500])
    new_study_copy(good, bad / "nameless", "nameless")
    for path in (bad / "nameless").glob("*.dcm"):
        ds = dcmread(path)
        ds["StudyInstanceUID"].VR = "LO"
        ds.StudyInstanceUID = "ZZDOE JANE"
        ds.save_as(path)
    done = dicom_node("analyze", str(bad), str(good), "--out", str(tmp_path / "out"), "--json")
    assert done.returncode == 1
    assert len(json.loads(done.stdout)) == 1
    assert "have one SOP Instance UID and differ" in done.stderr
    assert "incomplete: VOLUME" in done.stderr
    assert "torn.dcm: StudyInstanceUID is missing or no UID" in done.stderr
    assert "StudyInstanceUID is missing or no UID" in done.stderr
    assert "ZZ" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "case", ["patient_mismatch_levels", "series_uid_missing", "dup_uid_diff_content"]
)
def test_a_case_that_must_not_be_analyzed_ends_in_a_sentence(case, tmp_path):
    folder = ROOT.parent / "shared" / "cases" / "wsm" / case
    if not folder.is_dir():
        pytest.skip("needs ../shared/cases")
    done = dicom_node("analyze", str(folder), "--out", str(tmp_path), "--json")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "process_failed" not in done.stderr
    expected = {
        "patient_mismatch_levels": "files of different patients",
        "series_uid_missing": "dicom-node: ",
        "dup_uid_diff_content": "have one SOP Instance UID and differ",
    }
    assert expected[case] in done.stderr


def test_what_is_asked_for_lies_beside_the_rest(phantom_study, tmp_path):
    done = analyze(phantom_study.folder, "--out", tmp_path, "--objects", "report,summary,set")
    assert "not made" not in done
    (folder,) = tmp_path.iterdir()
    found = {path.name for path in folder.iterdir()}
    made = {"heatmap-tumor.dcm", "region-tumor.dcm", "report.dcm", "summary.dcm", "set.dcm"}
    assert found == made | {"report.html", "regions.geojson"}
    regions = json.loads((folder / "regions.geojson").read_text("utf-8"))
    seg, _ = heatmap_grid(folder / "heatmap-tumor.dcm")
    tiles = [f for f in regions["features"] if f["properties"]["objectType"] == "tile"]
    assert len(tiles) == (seg > 0).sum()
