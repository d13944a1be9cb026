from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import generate_frames
from wsidicom import WsiDicom

from dicom_node.demo.wsm import COLON, SlideLabel, write_slide
from inference.phantom.draw import DRAWN
from inference.specimen.deciding import decide
from inference.specimen.says import read_specimens
from slides import (
    BENIGN,
    TILE_PX,
    TUMOR,
    ComposedStudy,
    PhantomStudy,
    SlideStudy,
    as_concatenation,
    base_level,
    changed_pixel_copy,
    new_study_copy,
    truncated_frames,
    without_spacing,
)


def _errors(path: Path) -> str:
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy (Debian package dicom3tools)")
    done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
    report = done.stdout + done.stderr
    assert "VLWholeSlideMicroscopyImage" in report
    return "\n".join(line for line in report.splitlines() if line.startswith("Error"))


def test_every_level_of_a_written_slide_is_valid(phantom_study: PhantomStudy) -> None:
    assert len(phantom_study.paths) == 3
    for path in phantom_study.paths:
        assert _errors(path) == ""


def test_a_reader_that_is_not_ours_sees_the_pixels_where_they_were_drawn(
    phantom_study: PhantomStudy,
) -> None:
    pixels = phantom_study.phantom.pixels
    with WsiDicom.open(phantom_study.folder) as slide:
        assert (slide.size.height, slide.size.width) == pixels.shape[:2]
        assert slide.mpp.width == pytest.approx(0.5)
        region = np.asarray(slide.read_region((1300, 700), 0, (400, 300)).convert("RGB"))
    difference = np.abs(region.astype(int) - pixels[700:1000, 1300:1700])
    assert difference.mean() < 8  # JPEG
    assert np.abs(region.astype(int) - pixels[716:1016, 1300:1700]).mean() > 14


def test_a_drawn_slide_says_that_it_is_drawn(phantom_study: PhantomStudy) -> None:
    for path in phantom_study.paths:
        header = dcmread(path, stop_before_pixels=True)
        assert header.SeriesDescription == DRAWN
        assert header.PatientName == "Phantom^Drawn"


def test_a_seed_fixes_every_byte_and_no_seed_gives_another_study(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    first, again, fresh = (
        write_slide(pixels, tmp_path / name, mpp=0.5, levels=2, seed=seed)
        for name, seed in (("a", "s"), ("b", "s"), ("c", None))
    )
    for one, other, unlike in zip(first, again, fresh, strict=True):
        assert one.read_bytes() == other.read_bytes()
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            assert dcmread(one)[keyword].value != dcmread(unlike)[keyword].value


def test_pixels_that_are_no_rgb_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 3\]"):
        write_slide(np.zeros((64, 64), np.uint8), tmp_path, mpp=0.5)


def test_a_composed_slide_holds_the_tiles_where_its_truth_says(
    composed_study: ComposedStudy,
) -> None:
    truth = composed_study.truth
    ds = dcmread(base_level(composed_study.folder), stop_before_pixels=True)
    assert (ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns) == tuple(
        np.array(truth.shape) * TILE_PX
    )
    assert (truth == TUMOR).sum() == 30
    assert not np.array_equal(truth, truth[::-1])
    assert not np.array_equal(truth, truth[:, ::-1])
    with WsiDicom.open(composed_study.folder) as slide:
        for kind, dark in ((TUMOR, True), (BENIGN, True), (-1, False)):
            row, col = np.argwhere(truth == kind)[0] * TILE_PX
            tile = slide.read_region((int(col), int(row)), 0, (TILE_PX, TILE_PX))
            assert (np.asarray(tile.convert("RGB")).mean() < 235) == dark


def test_the_real_slides_are_converted(cmu_study: SlideStudy, tcga_study: SlideStudy) -> None:
    for study, rows, mpp in ((cmu_study, 2967, 0.499), (tcga_study, 3567, 0.5)):
        ds = dcmread(base_level(study.folder), stop_before_pixels=True)
        measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        assert ds.TotalPixelMatrixRows == rows
        assert measures.PixelSpacing[0] * 1000 == pytest.approx(mpp, abs=1e-3)
        assert len(study.paths) > 4


def test_a_changed_pixel_copy_differs_in_one_byte(
    phantom_study: PhantomStudy, tmp_path: Path
) -> None:
    changed_pixel_copy(phantom_study.folder, tmp_path / "copy")
    differing = [
        sum(a != b for a, b in zip(p.read_bytes(), q.read_bytes(), strict=True))
        for p, q in zip(phantom_study.paths, sorted((tmp_path / "copy").iterdir()), strict=True)
    ]
    assert sorted(differing) == [0, 0, 1]


def test_spoilt_copies_are_spoilt_as_they_say(phantom_study: PhantomStudy, tmp_path: Path) -> None:
    folder = phantom_study.folder
    frames = int(dcmread(base_level(folder)).NumberOfFrames)
    for path in without_spacing(folder, tmp_path / "scale"):
        groups = dcmread(path).SharedFunctionalGroupsSequence[0]
        assert "PixelSpacing" not in groups.PixelMeasuresSequence[0]
    truncated_frames(folder, tmp_path / "short", missing=3)
    short = dcmread(base_level(tmp_path / "short"))
    assert short.NumberOfFrames == frames
    assert len(list(generate_frames(short.PixelData))) == frames - 3


def test_a_copy_is_another_study_with_its_references_intact(
    phantom_study: PhantomStudy, tmp_path: Path
) -> None:
    new = [dcmread(p) for p in new_study_copy(phantom_study.folder, tmp_path / "new", "x")]
    old = [dcmread(p) for p in phantom_study.paths]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PyramidUID"):
        assert len({ds[keyword].value for ds in new}) == 1
        assert new[0][keyword].value != old[0][keyword].value
    assert not {ds.SOPInstanceUID for ds in new} & {ds.SOPInstanceUID for ds in old}
    assert all(ds.SOPClassUID == old[0].SOPClassUID for ds in new)
    assert all(ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID for ds in new)


def test_a_concatenation_holds_every_frame_once(
    phantom_study: PhantomStudy, tmp_path: Path
) -> None:
    paths = as_concatenation(phantom_study.folder, tmp_path / "parts", 3)
    parts = [ds for ds in map(dcmread, paths) if "ConcatenationUID" in ds]
    parts.sort(key=lambda ds: ds.InConcatenationNumber)
    whole = dcmread(base_level(phantom_study.folder))

    assert [ds.InConcatenationNumber for ds in parts] == [1, 2, 3]
    assert sum(ds.NumberOfFrames for ds in parts) == whole.NumberOfFrames
    assert [ds.ConcatenationFrameOffsetNumber for ds in parts] == [
        0,
        parts[0].NumberOfFrames,
        parts[0].NumberOfFrames + parts[1].NumberOfFrames,
    ]
    assert len({ds.SOPInstanceUID for ds in parts}) == 3
    decoded = np.concatenate([ds.pixel_array for ds in parts])
    assert np.array_equal(decoded, whole.pixel_array)


def test_a_slide_says_its_organ_where_it_is_given_one_and_else_none(
    phantom_study: PhantomStudy, tmp_path: Path
) -> None:
    pixels = np.full((300, 500, 3), 240, np.uint8)
    paths = write_slide(pixels, tmp_path, mpp=0.5, levels=2, label=SlideLabel(organ=COLON))
    for path in paths:
        found = decide(read_specimens(dcmread(path, stop_before_pixels=True)))
        assert found.organ is not None
        assert found.organ.name == "colon"
        assert found.beside == ()
        assert _errors(path) == ""
    for path in phantom_study.paths:
        found = decide(read_specimens(dcmread(path, stop_before_pixels=True)))
        assert (found.organ, found.is_silent) == (None, True)
