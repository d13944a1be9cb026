"""Cheaper forms of a bundle's encoder, and what each costs against fp32.

int8 and fp16 have a graph of their own (forms.py). bf16 needs none; the engine computes the fp32
graph in it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from engines.bundle import MANIFEST_FILE, SUMS_FILE, open_bundle
from engines.errors import BundleRejected, EngineMissing
from engines.known import ENGINES
from engines.manifest.precision import Precision, PrecisionLimits
from engines.manifest.reading import manifest_of, newest
from engines.names import Engine, FormName
from engines.runtime import Runtime, open_unexamined
from inference.durable import put_together
from training.bundle.costs import Bags, costs, require_numbers
from training.bundle.forms import CARES, Care, Tiles, halve, quantize
from training.errors import TrainingError
from training.learning.graphs import write_manifest, write_sums

log = structlog.get_logger()

NAMES: tuple[FormName, ...] = ("bf16", "fp16", "int8")
_FILES = {"fp16": "encoder.fp16.onnx", "int8": "encoder.int8.onnx"}
TAKEN_BY: dict[str, tuple[Engine, ...]] = {
    "bf16": ("openvino",),
    "fp16": ("onnxruntime", "onnxruntime-cuda", "tensorrt", "tensorrt-rtx"),
    "int8": ("openvino", "onnxruntime"),
}
"""What takes each form; the first computes it here. fp16 is for GPUs, and OpenVINO computes none on
a CPU; the int8 graph has asymmetric activations, which TensorRT does not take."""
_HEADING = "## What a cheaper precision costs"
_MEAN = "; mean feature cosine "
_MARGIN = 4.0
"""A probe answer may differ so many times more than the farthest held-out tile: another CPU rounds
otherwise, and a graph that is not the bundle's differs by orders of magnitude."""


@dataclass(frozen=True)
class Material:
    """What forms are made and measured with."""

    calibration: Tiles
    """[C, H, W, 3] training tiles; of a student of two magnifications of both."""
    held_out: Tiles
    """[N, H, W, 3] tiles that took part in no training; of both magnifications."""
    bags: Bags
    """Slides, of tiles of `held_out`."""
    told: str
    """Where they come from, for the manifest."""


def add_precisions(
    root: Path, material: Material, names: Sequence[FormName] = NAMES
) -> list[Precision]:
    """Makes the forms in the bundle's folder, measures them, and has manifest and card say it.

    The shipped precision becomes int8 where that is inside the bundle's limits, else fp32: bf16
    needs CPUs that not every hospital has. A form that this machine cannot compute is left out.
    """
    content = newest(json.loads((root / MANIFEST_FILE).read_text(encoding="utf-8")))
    limits = manifest_of(content).precision_limits
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "bundle"  # it takes minutes: a kill leaves the bundle as it was
        shutil.copytree(root, made, ignore=shutil.ignore_patterns("plans"))
        found = []
        for name in names:
            try:
                found.append(_added(made, name, material, limits))
            except EngineMissing as missing:
                log.warning("precision.left_out", precision=name, reason=str(missing))
        content["precisions"] = [p.model_dump(mode="json", exclude_none=True) for p in found]
        content["shipped_precision"] = shipped(found, limits)
        write_manifest(content, made)
        card = made / "card.md"
        text = card.read_text(encoding="utf-8").partition(_HEADING)[0].rstrip()
        card.write_text(f"{text}\n\n{table(found, limits)}", encoding="utf-8")
        write_sums(made)
        put_together(made, root, SUMS_FILE)
    return found


def _added(root: Path, name: FormName, material: Material, limits: PrecisionLimits) -> Precision:
    """One form, its file copied into the bundle; int8 the more carefully the more it costs."""
    for care in CARES if name == "int8" else CARES[:1]:
        with _candidate(root, name, material, care) as candidate:
            precision = _measured(candidate, name, material)
            if precision.file is not None:
                shutil.copyfile(candidate / precision.file, root / precision.file)
        if not precision.within(limits):
            break
    return precision


def table(found: Sequence[Precision], limits: PrecisionLimits) -> str:
    """The figures for people, as a section of the model card."""
    rows = [
        f"| {p.name} | {p.feature_cosine:.5f} | {p.score_shift:.4f} | {p.class_changes} "
        f"| {p.heatmap_spearman:.5f} | {p.tile_classes:.4f} | {p.within(limits) or 'inside'} |"
        for p in found
    ]
    head = [
        _HEADING,
        "",
        "Against fp32, on held-out tiles and slides; the worst of each. The score shift is in "
        "interquartile ranges of the reference cohort, of survival and of the classes of a slide "
        "in probability.",
        "",
        f"| precision | feature cosine >= {limits.feature_cosine:g} | score shift <= "
        f"{limits.score_shift:g} | slides of another class = 0 | heatmap rank correlation >= "
        f"{limits.heatmap_spearman:g} | tiles that keep their class >= {limits.tile_classes:g} | |",
        "|---|---|---|---|---|---|---|",
    ]
    told = found[0].data.partition(_MEAN)[0] if found else "nothing"
    return "\n".join([*head, *rows]) + f"\n\nMeasured on {told}.\n"


def shipped(found: Sequence[Precision], limits: PrecisionLimits) -> str:
    """int8 inside of the limits, else fp32."""
    return next((p.name for p in found if p.name == "int8" and not p.within(limits)), "fp32")


@contextmanager
def _candidate(root: Path, name: FormName, material: Material, care: Care) -> Iterator[Path]:
    """A copy of the bundle that claims nothing ill of a form, so that it can be measured."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(root, Path(folder) / "bundle"))
        content = newest(json.loads((copy / MANIFEST_FILE).read_text(encoding="utf-8")))
        encoder = copy / content["graphs"]["encoder"]["file"]
        claim: dict[str, Any] = {"name": name, "engines": TAKEN_BY[name], "data": "",
                                 "feature_cosine": 1, "score_shift": 0,
                                 "heatmap_spearman": 1}  # fmt: skip
        if name == "int8":
            batch = content["input"].get("batch", 32)
            file = copy / _FILES[name]
            quantize(encoder, material.calibration, file, batch=batch, care=care)
        elif name == "fp16":
            halve(encoder, copy / _FILES[name])
        if name in _FILES:
            claim["file"] = _FILES[name]
        claim["tolerance"] = {
            key: 1e9 for key in content["probe"]["tolerance"] if key.startswith("encoder/")
        }
        content |= {"precisions": [claim], "shipped_precision": "fp32"}
        write_manifest(content, copy)
        write_sums(copy)
        yield copy


def _measured(candidate: Path, name: FormName, material: Material) -> Precision:
    """The figures of one form against fp32. Raises EngineMissing where it cannot be computed."""
    bundle = open_bundle(candidate)
    engine = ENGINES[TAKEN_BY[name][0]]
    try:
        with (
            open_unexamined(bundle, engine, name, 1) as cheap,
            open_unexamined(bundle, engine, "fp32", 1) as exact,
        ):
            found, wanted = (_encoded(r, material.held_out) for r in (cheap, exact))
            cost = costs(exact, found, wanted, material.bags)
    except BundleRejected as error:
        raise TrainingError(f"{name}: {error}; leave this precision out") from error
    features = next(iter(wanted)) if "features" not in wanted else "features"
    cosines = _cosines(found[features], wanted[features])
    precision = bundle.manifest.precision(name, engine.name)
    if precision is None:
        raise AssertionError("the candidate names the precision it was made for")
    return precision.model_copy(
        update={
            "feature_cosine": _floor(cosines.min()),
            "score_shift": _ceil(cost.score_shift),
            "class_changes": cost.class_changes,
            "heatmap_spearman": _floor(cost.heatmap_spearman),
            "tile_classes": _floor(cost.tile_classes),
            "data": f"{material.told}{_MEAN}{cosines.mean():.5f}",
            "tolerance": {
                key: max(least, _ceil(_MARGIN * float(np.abs(found[n] - wanted[n]).max())))
                for key, n, least in (
                    (f"encoder/{n}", n, bundle.manifest.probe.tolerance[f"encoder/{n}"])
                    for n in wanted
                )
            },
        }
    )


def _encoded(runtime: Runtime, tiles: Tiles) -> Mapping[str, NDArray[Any]]:
    """Every encoder output [N, ...] of the tiles. Raises TrainingError for what is no number."""
    taken = runtime.manifest.graphs["encoder"].inputs[0].name
    return require_numbers(runtime.run("encoder", {taken: tiles}))


def _cosines(found: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.float64]:
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(1) / np.maximum(lengths, 1e-12))


def _floor(value: float) -> float:
    """Rounded so that the figure promises no more than was measured."""
    return float(np.floor(value * 1e6) / 1e6)


def _ceil(value: float) -> float:
    return float(np.ceil(value * 1e6) / 1e6)
