"""Tile features of one slide, with the tissue mask, grid, tiles and refusals of `inference`.

OUT/mpp-0.5/SLIDE.h5 is the bag of a slide at 0.5 um per pixel (layout: feature_files.py). The cells
at the finest magnification are those that the node analyzes. A second, coarser magnification has
the same origin and a stride that is an exact multiple k, so that the fine cell (row, col) lies in
the coarse cell (row // k, col // k); there too a cell counts from LEAST_TISSUE_SHARE of tissue on.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from glob import escape
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

import inference
from engines.manifest.claims import Applicability
from engines.manifest.tensors import TileInput
from inference import quality
from inference.durable import SUFFIX
from inference.errors import FramesUnreadable, Refused, SlideUnreadable
from inference.slide.rules.likeness import tiles_differ
from inference.slide.rules.scale import PLAUSIBLE_MPP
from inference.slide.slide import Slide, open_slide
from inference.tiles.agreement import Expected, tile_means
from inference.tiles.grid import stream
from inference.tiles.order import Source
from inference.tiles.planning import plan_tiles
from training.errors import TrainingError
from training.tiles import slide_files
from training.tiles.encoders import Encoder
from training.tiles.feature_files import Origin, read_origin, write_h5
from training.tiles.slide_files import SlideFiles

Tick = Callable[[int, int], None]
"""Told the tiles done and to do of a slide."""
SMALLEST_TILE_PX, LARGEST_TILE_PX = 32, 1024
"""What engines.manifest.TileInput takes."""
_WHOLE = 1e-6


@dataclass(frozen=True)
class Outcome:
    """What became of a slide."""

    slide: str
    state: Literal["written", "skipped", "refused"]
    reason: str = ""
    """The sentence for a slide that was refused."""
    tiles: int = 0
    """Instances of its bag at the finest magnification."""


def magnifications(encoder: Encoder, wanted: Sequence[float]) -> tuple[float, ...]:
    """One or two magnifications in um per pixel, finest first; empty means the encoder's own.

    Raises TrainingError for an encoder that states none, and for two that make no common grid.
    """
    if not wanted and encoder.mpp is None:
        raise TrainingError(
            f"encoder {encoder.name}: found no magnification, expected one: nothing says at which "
            "it was trained; give the um per pixel (--mpp 0.5)."
        )
    mpps = tuple(sorted(wanted)) or (encoder.mpp or 0.0,)
    ratio = mpps[-1] / mpps[0]
    if len(mpps) > 2 or abs(ratio - round(ratio)) > _WHOLE or (len(mpps) == 2 and ratio < 1.5):
        raise TrainingError(
            f"found magnifications {', '.join(f'{m:g}' for m in mpps)} um per pixel, expected one "
            "or two, the coarser a whole multiple of the finer; choose for example 0.5 and 1."
        )
    if not SMALLEST_TILE_PX <= encoder.tile_px <= LARGEST_TILE_PX:
        raise TrainingError(
            f"encoder {encoder.name}: found tiles of {encoder.tile_px} px, expected "
            f"{SMALLEST_TILE_PX} to {LARGEST_TILE_PX}; choose another encoder."
        )
    low, high = PLAUSIBLE_MPP
    if not (low < mpps[0] and mpps[-1] < high):
        raise TrainingError(
            f"found {mpps[0]:g} to {mpps[-1]:g} um per pixel, expected {low:g} to {high:g}; "
            "give the magnification in micrometers per pixel."
        )
    return mpps


def feature_path(out: Path, slide: str, mpp: float) -> Path:
    """The file of a slide at a magnification."""
    return out / f"mpp-{mpp:g}" / f"{slide}.h5"


def extract_slide(
    slide: SlideFiles,
    encoder: Encoder,
    out: Path,
    mpps: Sequence[float],
    *,
    tick: Tick | None = None,
) -> Outcome:
    """Write the files of a slide that are not there yet, made by this encoder of these contents.

    A slide that inference would refuse is refused with the same sentence, and so is one that the
    encoder breaks at. Raises OSError when a file cannot be read or written.
    """
    if is_finished(slide, encoder, out, mpps):
        return Outcome(slide.slide, "skipped")
    content = slide_digest(slide.paths)
    try:
        coarsest = mpps[0] * (1 + encoder.mpp_tolerance)
        with (
            _dicom_of(slide, out) as paths,
            open_slide(paths, icc=encoder.icc, coarsest_mpp=coarsest) as opened,
        ):
            written = [
                _write(slide.slide, opened, bag, encoder, out, content, tick or _ignore)
                for bag in _plan(opened, encoder, mpps)
            ]
    except Refused as refused:
        return Outcome(slide.slide, "refused", refused.verdict.detail)
    except (SlideUnreadable, FramesUnreadable, _TooLittle, TrainingError) as error:
        return Outcome(slide.slide, "refused", str(error))
    return Outcome(slide.slide, "written", tiles=written[0])


@contextmanager
def _dicom_of(slide: SlideFiles, out: Path) -> Iterator[Sequence[Path]]:
    """The DICOM files of a slide; those of an SVS or TIFF lie beside the features meanwhile."""
    (first, *others) = slide.paths
    if others or not slide_files.is_research_slide(first):
        yield slide.paths
        return
    from training.tiles import research_slides  # what reads TIFF is in the extra

    folder = out / f".{slide.slide}.dicom"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    try:
        yield research_slides.as_dicom(first, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_finished(slide: SlideFiles, encoder: Encoder, out: Path, mpps: Sequence[float]) -> bool:
    """Whether the files of a slide are there, made by this encoder of these very contents.

    Reads the slide once, unless its files are missing or made otherwise.
    """
    origins = [read_origin(feature_path(out, slide.slide, mpp)) for mpp in mpps]
    made = {(o.encoder_digest, o.tile_px, o.slide_digest) for o in origins if o}
    wanted = (encoder.digest, encoder.tile_px)
    if None in origins or len(made) != 1 or next(iter(made))[:2] != wanted:
        return False
    return made == {(*wanted, slide_digest(slide.paths))}


def slide_digest(paths: Sequence[Path]) -> str:
    """SHA-256 of the contents of the files, whatever their order, names and times."""
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


@dataclass(frozen=True, eq=False)
class _Bag:
    """The cells of a slide at one magnification."""

    mpp: float
    source: Source
    expected: Expected | None


class _TooLittle(Exception):
    """The slide has too little detail or tissue: the sentence of inference.quality."""


def _plan(slide: Slide, encoder: Encoder, mpps: Sequence[float]) -> list[_Bag]:
    wanted = _tile_input(encoder, mpps)
    coarse = quality.magnification_refusal(slide.mpp, wanted)
    if coarse:
        raise _TooLittle(coarse[1])
    plan = plan_tiles(slide, wanted, ())  # what the node would cut
    tissue = plan.tissue
    disputed = quality.dispute_refusal(tissue.area_mm2, tissue.disputed_mm2)
    for source in plan.sources:
        little = disputed or quality.tissue_refusal(
            tissue.area_mm2, len(source.cells), Applicability(minimum_tissue_mm2=0)
        )
        if little:
            raise _TooLittle(little[1])
    bags = zip(mpps, plan.sources, plan.expected, strict=True)
    return [_Bag(mpp, source, expected) for mpp, source, expected in bags]


def _tile_input(encoder: Encoder, mpps: Sequence[float]) -> TileInput:
    return TileInput(
        tile_px=encoder.tile_px,
        mpp=mpps[0],
        coarse_mpp=mpps[1] if len(mpps) > 1 else None,
        mpp_tolerance=encoder.mpp_tolerance,
        batch=encoder.batch,
        icc=encoder.icc,
        scaled_decoding=encoder.scaled_decoding,
    )


def _write(
    name: str,
    slide: Slide,
    bag: _Bag,
    encoder: Encoder,
    out: Path,
    content: str,
    tick: Tick,
) -> int:
    """The file of a bag; how many tiles it has."""
    feats = np.empty((len(bag.source.cells), encoder.width), np.float32)
    means = np.empty((len(feats), 3), np.float32)
    done = 0
    tick(0, len(feats))
    for batch in stream(bag.source.level, bag.source.grid, bag.source.cells, encoder.batch):
        feats[done : done + len(batch.cells)] = encoder(batch.pixels)
        means[done : done + len(batch.cells)] = tile_means(batch.pixels)
        done += len(batch.cells)
        tick(done, len(feats))
    believed = _believed(bag, means)
    feats, cells = feats[believed], bag.source.cells[believed]
    coords = cells[:, ::-1].astype(np.int64) * bag.source.grid.stride_px
    origin = Origin(
        slide=name,
        slide_digest=content,
        encoder=encoder.name,
        encoder_digest=encoder.digest,
        engine=encoder.engine,
        mpp=bag.mpp,
        mpp_tolerance=encoder.mpp_tolerance,
        tile_px=encoder.tile_px,
        base_mpp=slide.mpp,
        patch_size_level0=bag.source.grid.stride_px,
        grid_rows=bag.source.grid.rows,
        grid_cols=bag.source.grid.cols,
        inference_digest=inference_digest(),
    )
    path = feature_path(out, name, bag.mpp)
    _sweep(path)
    write_h5(path, feats, coords, origin)
    return len(feats)


def _believed(bag: _Bag, means: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[N] the tiles that are what another level shows too. Raises _TooLittle where many are not."""
    if bag.expected is None:
        return np.ones(len(means), np.bool_)
    unlike = bag.expected.contradicted(means)
    refusal, _ = tiles_differ(int(unlike.sum()), bag.expected.count)
    if refusal:
        raise _TooLittle(refusal)
    return ~unlike


def _sweep(path: Path) -> None:
    """Removes what workers left that were killed while they wrote this file.

    One worker at a time has the slide; others write beside it, so the folder is not swept.
    """
    for part in path.parent.glob(f".{escape(path.name)}.*{SUFFIX}"):
        part.unlink(missing_ok=True)


@cache
def inference_digest() -> str:
    """SHA-256 of the source of `inference`, its folders included, with the place of each file."""
    folder = Path(str(inference.__file__)).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _ignore(done: int, total: int) -> None:
    """For callers that do not watch."""
