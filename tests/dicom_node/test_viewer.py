"""A viewer that pathologists use draws the heatmap over the tissue it belongs to.

dicom-microscopy-viewer (the heart of Slim) in headless Chromium. The pictures stay in
tests/output/viewer: look at them.
"""

import io
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nodes import dicom_node
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit
from result_inputs import prediction, segment, volume
from scoring import scoring_student
from viewer.dicomweb import serve
from viewer.installed import SUPPORT, installed, pages

from dicom_node.results.files import write
from inference.types import Heatmap

TESTS = Path(__file__).parents[1]
OUTPUT = TESTS / "output" / "viewer"
STRIDE = 200
ROWS, COLS = 3000, 4100  # neither is a multiple of tile or stride
BLOCK_CELLS = (slice(2, 7), slice(11, 14))  # off center in both directions, not square
BLUE = (30, 30, 200)


@pytest.fixture(scope="module")
def modules() -> Path:
    return installed()


def picture() -> np.ndarray:
    """A slide: white glass, a pale oblique piece of tissue, and in it one blue block."""
    row, col = np.mgrid[0:ROWS, 0:COLS]
    slide = np.full((ROWS, COLS, 3), 245, np.uint8)
    tissue = ((row - 1400) / 1200) ** 2 + ((col - 2000 - 0.2 * row) / 1700) ** 2 < 1
    slide[tissue] = (235, 190, 215)
    rows, cols = (slice(s.start * STRIDE, s.stop * STRIDE) for s in BLOCK_CELLS)
    slide[rows, cols] = BLUE
    return slide


def level(slide: np.ndarray, scale: int) -> Dataset:
    """The slide at 1/`scale` as a JPEG WSM instance."""
    height, width = -(-ROWS // scale), -(-COLS // scale)
    small = np.asarray(Image.fromarray(slide).resize((width, height), Image.Resampling.BOX))
    # the spacing of a level is the width of the slide divided by its columns
    spacing = (f"{0.000499 * ROWS / height:.10f}", f"{0.000499 * COLS / width:.10f}")
    if scale == 1:
        spacing = ("0.000499", "0.000499")
    ds = volume(height, width, tile_px=256, scale=scale, spacing=spacing)
    ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    tiles = []
    for top in range(0, height, 256):
        for left in range(0, width, 256):
            tile = np.full((256, 256, 3), 255, np.uint8)
            part = small[top : top + 256, left : left + 256]
            tile[: part.shape[0], : part.shape[1]] = part
            jpeg = io.BytesIO()
            Image.fromarray(tile).save(jpeg, "JPEG", quality=92, subsampling="4:2:2")
            tiles.append(jpeg.getvalue())
    ds.PixelData = encapsulate(tiles)
    return ds


def box(mask: np.ndarray) -> np.ndarray:
    """Top, left, bottom, right of the pixels in `mask`."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([rows[0], cols[0], rows[-1] + 1, cols[-1] + 1])


@pytest.fixture(scope="module")
def pictures(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Screenshots [768, 1024, 3] of the slide without and with the heatmap."""
    folder = tmp_path_factory.mktemp("study")
    slide = picture()
    levels = [level(slide, scale) for scale in (1, 4, 16)]
    grid = np.full((-(-ROWS // STRIDE), -(-COLS // STRIDE)), np.nan, np.float32)
    grid[BLOCK_CELLS] = 1
    result = replace(
        prediction(volume(ROWS, COLS)), stride_px=STRIDE, heatmaps=(Heatmap("tumor", grid, ()),)
    )
    heatmap = segment(levels[0], result)
    files = []
    for index, ds in enumerate([*levels, heatmap]):
        files.append(folder / f"{index}.dcm")
        write(ds, files[-1])
    return screenshots(modules, files, OUTPUT)


def screenshots(modules: Path, files: list[Path], output: Path) -> dict[str, np.ndarray]:
    """What the viewer shows of a slide and its heatmap, the last of the files, on and off."""
    output.mkdir(parents=True, exist_ok=True)
    slide, heatmap = (dcmread(path, stop_before_pixels=True) for path in (files[0], files[-1]))
    with serve(files, pages(modules)) as address:
        query = (
            f"study={heatmap.StudyInstanceUID}&slide={slide.SeriesInstanceUID}"
            f"&heatmap={heatmap.SeriesInstanceUID}"
        )
        chromium = shutil.which("chromium") or ""
        page = f"{address}/viewer.html?{query}"
        done = subprocess.run(
            [
                "node",
                SUPPORT / "screenshot.js",
                modules,
                chromium,
                page,
                output,
            ],
            capture_output=True,
            text=True,
            timeout=240,
            env={**os.environ, "HOME": str(files[-1].parent)},
        )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["errors"] == []
    assert said["legends"] == ["Neoplasm"]
    return {
        name: np.asarray(Image.open(output / f"{name}.png").convert("RGB")).astype(int)
        for name in ("slide", "heatmap")
    }


def test_the_viewer_draws_the_heatmap_exactly_on_the_tissue_it_was_computed_on(pictures):
    blue = np.abs(pictures["slide"] - BLUE).max(axis=2) < 40
    changed = np.abs(pictures["heatmap"] - pictures["slide"]).max(axis=2) > 20
    assert blue.sum() > 5000, "the slide is not on the picture"
    assert changed.sum() > 5000, "the heatmap is not on the picture"
    height, width = np.subtract(box(blue)[2:], box(blue)[:2])
    off = np.abs(box(changed) - box(blue)) / [height, width, height, width]
    assert off.max() <= 0.02, f"heatmap at {box(changed)}, tissue at {box(blue)}"
    assert (changed & blue).sum() / (changed | blue).sum() > 0.95


def test_tissue_that_was_not_analyzed_stays_as_it_is(pictures):
    pale = np.abs(pictures["slide"] - (235, 190, 215)).max(axis=2) < 10
    assert pale.sum() > 50_000
    assert np.abs(pictures["heatmap"] - pictures["slide"])[pale].max() <= 8


def test_the_heatmap_of_a_slide_of_real_tiles_covers_its_tissue(modules, composed_study, tmp_path):
    bundle = scoring_student(tmp_path / "scoring")  # its map has no floor: all of it is drawn
    done = dicom_node(
        "analyze",
        str(composed_study.folder),
        "--bundle",
        str(bundle),
        "--out",
        str(tmp_path),
        "--json",
    )
    heatmap = Path(json.loads(done.stdout)[0]["objects"]["heatmap-tumor"])

    shown = screenshots(modules, [*composed_study.paths, heatmap], OUTPUT / "real-tiles")

    tissue = shown["slide"].min(axis=2) < 225
    changed = np.abs(shown["heatmap"] - shown["slide"]).max(axis=2) > 20
    height, width = np.subtract(box(tissue)[2:], box(tissue)[:2])
    off = np.abs(box(changed) - box(tissue)) / [height, width, height, width]
    assert off.max() <= 0.03, f"heatmap at {box(changed)}, tissue at {box(tissue)}"
