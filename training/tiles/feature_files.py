"""Files of tile or region features: the readers, and the HDF5 file that this package writes.

Read: HDF5 (`feats` or `features` [N, D] or [1, N, D], maybe `coords`: CLAM, TRIDENT, STAMP, ours),
PyTorch `.pt` (a tensor, or a dict with those keys), NumPy `.npz` with many slides in one array.

Written, one file per slide and magnification, N tiles in raster order:
    /feats     float32 [N, D]
    /features  the same dataset under the name that CLAM and TRIDENT look for
    /coords    int64 [N, 2]: (x, y), i.e. (column, row), of the cell's top left corner in pixels of
               the base level; row and column of the grid are (y, x) // patch_size_level0
and the fields of Origin as attributes. STAMP takes `feats`; coordinates it wants in um, and it
mistakes a stride of 224 pixels for its first format, so its positions are off by a factor there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import h5py
import numpy as np
from numpy.typing import NDArray

from inference.durable import whole
from training.errors import TrainingError

Floats = NDArray[np.float32]
KEYS = ("feats", "features")
COORDINATES = "x, y (column, row) of the cell's top left corner in pixels of the base level"
_REDO = "extract the features of this slide again"


@dataclass(frozen=True, eq=False)
class Features:
    """The bag of one slide."""

    feats: Floats
    """[N, D], finite, N >= 1."""
    coords: NDArray[np.int64] | None
    """[N, 2] as the file has them (rounded where it has fractions); None where it has none."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the file: str, int or float."""


@dataclass(frozen=True)
class Origin:
    """Where the features of a file come from, written as its attributes."""

    slide: str
    slide_digest: str
    """SHA-256 of the contents of the slide's files."""
    encoder: str
    encoder_digest: str
    engine: str
    mpp: float
    """Micrometers per pixel of the tiles."""
    mpp_tolerance: float
    tile_px: int
    base_mpp: float
    patch_size_level0: int
    """Stride of the grid in pixels of the base level."""
    grid_rows: int
    grid_cols: int
    inference_digest: str
    """SHA-256 of the source of `inference`, which made mask, grid and tiles."""


def read_bag(path: Path, *, slide: str | None = None, width: int | None = None) -> Floats:
    """Features float32 [N, D] of one slide; see `read`."""
    return read(path, slide=slide, width=width).feats


def read(path: Path, *, slide: str | None = None, width: int | None = None) -> Features:
    """The bag in a file, checked: finite, not empty, and of `width` where that is given.

    `slide` names the slide in a file that holds many (.npz); to read many of them use `read_all`.
    Raises TrainingError.
    """
    if not path.is_file():
        raise TrainingError(f"{path}: found no file, expected features; name an existing file.")
    if path.suffix == ".npz":
        return Features(_one_of(read_all(path, width=width), slide, path), None)
    readers = {".h5": _read_h5, ".hdf5": _read_h5, ".pt": _read_pt, ".pth": _read_pt}
    if path.suffix not in readers:
        raise TrainingError(
            f"{path}: found a file of type {path.suffix or 'none'}, expected .h5, .pt or .npz; "
            "convert it."
        )
    arrays, attributes = readers[path.suffix](path)
    feats = _bag(_featured(arrays, path), width, path)
    return Features(feats, _coords(arrays.get("coords"), len(feats), path), attributes)


def read_all(path: Path, *, width: int | None = None) -> dict[str, Floats]:
    """Bags float32 [N, D] by slide id of an .npz with `feats` [sum N, D], `offsets`, `slide_id`."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except (ValueError, BadZipFile, EOFError) as error:
        raise TrainingError(
            f"{path}: found what is no .npz of plain arrays ({error}), expected feats, offsets and "
            "slide_id; copy it again."
        ) from error
    missing = {"feats", "offsets", "slide_id"} - set(found)
    if missing:
        raise TrainingError(
            f"{path}: found arrays {sorted(found)}, expected feats, offsets and slide_id; "
            f"{sorted(missing)} missing, choose another file."
        )
    feats, offsets, ids = found["feats"], found["offsets"].tolist(), found["slide_id"].tolist()
    fits = len(offsets) == len(ids) + 1 and offsets[0] == 0 and offsets[-1] == len(feats)
    if not fits or len(set(ids)) != len(ids):
        raise TrainingError(
            f"{path}: found {len(ids)} slide ids, {len(offsets)} offsets for {len(feats)} rows, "
            "expected distinct ids and one offset more than ids, from 0 to the last row; "
            "copy the file again."
        )
    return {
        slide: _bag(feats[first:last], width, path, slide)
        for slide, first, last in zip(ids, offsets, offsets[1:], strict=False)
    }


def write_h5(path: Path, feats: Floats, coords: NDArray[np.int64], origin: Origin) -> None:
    """Write the file of one slide: it is there whole or not at all.

    `feats` [N, D], `coords` [N, 2] (x, y). The same arrays and origin give the same bytes. Raises
    TrainingError when a feature is not finite.
    """
    feats = _bag(feats, None, path)
    if coords.shape != (len(feats), 2):
        raise ValueError(f"coords: expected [{len(feats)}, 2], found {coords.shape}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as written, h5py.File(written, "w") as file:
        file.create_dataset("feats", data=feats)
        file["features"] = file["feats"]
        placed = file.create_dataset("coords", data=coords.astype(np.int64))
        file.attrs.update(asdict(origin) | {"coordinates": COORDINATES})
        placed.attrs.update(
            {
                "name": origin.slide,
                "patch_size": origin.tile_px,
                "patch_size_level0": origin.patch_size_level0,
                "overlap": 0,
            }
        )


def read_origin(path: Path) -> Origin | None:
    """The origin of a file that `write_h5` wrote; None for no file and for any other file."""
    if not path.is_file():
        return None
    try:
        with h5py.File(path, "r") as file:
            found = _plain(file.attrs)
    except OSError:  # not HDF5: the caller writes it anew
        return None
    fields = Origin.__dataclass_fields__
    return Origin(**{k: found[k] for k in fields}) if set(fields) <= set(found) else None


def _read_h5(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    try:
        with h5py.File(path, "r") as file:
            wanted = [k for k in (*KEYS, "coords") if isinstance(file.get(k), h5py.Dataset)]
            others = {k: np.empty(0) for k in file if k not in wanted}
            return others | {k: np.asarray(file[k]) for k in wanted}, _plain(file.attrs)
    except OSError as error:
        raise TrainingError(
            f"{path}: found no readable HDF5 ({error}), expected a whole file; {_REDO}."
        ) from error


def _read_pt(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    import torch  # seconds to load: workers that only write HDF5 run without it

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise TrainingError(
            f"{path}: found what cannot be loaded as plain tensors ({str(error).splitlines()[0]}), "
            "expected a tensor or a dict of tensors; save it again with torch.save."
        ) from error
    named = loaded if isinstance(loaded, dict) else {"feats": loaded}
    arrays = {str(k): v.numpy() for k, v in named.items() if isinstance(v, torch.Tensor)}
    return arrays, {str(k): v for k, v in named.items() if isinstance(v, str | int | float)}


def _featured(arrays: Mapping[str, NDArray[Any]], path: Path) -> NDArray[Any]:
    for key in KEYS:
        if key in arrays:
            return arrays[key]
    raise TrainingError(
        f"{path}: found {sorted(arrays) or 'nothing'}, expected features under one of "
        f"{' or '.join(KEYS)}; rename the array."
    )


def _one_of(bags: Mapping[str, Floats], slide: str | None, path: Path) -> Floats:
    if slide is not None and slide in bags:
        return bags[slide]
    raise TrainingError(
        f"{path}: found {len(bags)} slides, expected {slide or 'the name of one of them'}; "
        "name one that is there."
    )


def _bag(found: NDArray[Any], width: int | None, path: Path, slide: str | None = None) -> Floats:
    where = f"{path}: {slide}" if slide else f"{path}"
    feats = found[0] if found.ndim == 3 and len(found) == 1 else found
    if feats.ndim != 2 or feats.dtype.kind != "f":
        raise TrainingError(
            f"{where}: found {found.dtype} {list(found.shape)}, expected real features "
            "[N, D] or [1, N, D]; choose another file."
        )
    if feats.shape[1] == 0:
        raise TrainingError(
            f"{where}: found features of width 0, expected one number at least; {_REDO}."
        )
    if len(feats) == 0:
        raise TrainingError(f"{where}: found no instance, expected at least one; drop the slide.")
    if width is not None and feats.shape[1] != width:
        raise TrainingError(
            f"{where}: found features of width {feats.shape[1]}, expected {width}; all slides of a "
            "cohort need the same encoder."
        )
    with np.errstate(over="ignore"):  # refused below
        values = np.ascontiguousarray(feats, np.float32)
    wrong = int(np.count_nonzero(~np.isfinite(values).all(1)))
    if wrong:
        raise TrainingError(
            f"{where}: found NaN or infinity in {wrong} of {len(values)} instances, expected "
            f"finite features; {_REDO}."
        )
    return values


def _coords(found: NDArray[Any] | None, count: int, path: Path) -> NDArray[np.int64] | None:
    if found is None:
        return None
    coords = found[0] if found.ndim == 3 and len(found) == 1 else found
    if coords.shape != (count, 2):
        raise TrainingError(
            f"{path}: found coords {list(coords.shape)}, expected [{count}, 2] as there are "
            f"{count} instances; {_REDO}."
        )
    return np.asarray(np.rint(coords), np.int64)


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as Python values; those that are arrays are left out."""
    scalars = {k: v.item() if isinstance(v, np.generic) else v for k, v in attributes.items()}
    return {k: v for k, v in scalars.items() if isinstance(v, str | int | float)}
