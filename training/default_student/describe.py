"""What the shipped bundle says of itself: the content of its manifest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.default_student.encoder import FEATURES
from training.default_student.simulate import HAZARD, TIMES_MONTHS
from training.default_student.slides import Reference
from training.default_student.tiles import Row

# What the bundle was made by, in the words of its manifest and in those of today. The manifest's
# digest was taken over the bytes of the code in the places it had then; the code was moved since,
# and the digest is one of what the code does. The syntax of every file, imports and docstrings left
# out, was compared before and after: the same, but for `digest` itself and its list of files that
# only word things, and the name of drawn slides, which came to the phantom. The next bundle states
# the digest of today by itself.
MANIFEST = "sha256:fdb10ef628765828b8530d34b4574240e22c932f5ad863ee15f3861f096b8bc5"
CODE_AND_DATA = "sha256:1b75d0af4877426afb3b859c8811b5d31f23a908f1a43f1b5060b75c72045f17"

VERSION = "0.3.0"
TOLERANCE = 1e-3
FEWEST_TILES = 4
SCT = "SCT"
OURS = "99DICOMNODE"
OUTPUTS = {"encoder": ("features", "tumor"), "aggregator": ("risk", "survival", "attention")}
INPUTS = {"encoder": "tiles", "aggregator": "features"}
PER_TILE = {"tiles", "features", "tumor", "attention"}
INTENDED_USE = (
    "Research demonstration of the node. Its survival outputs were fitted to simulated outcomes "
    "and predict nothing about a patient. Not for diagnosis, prognosis or treatment."
)
SIMULATED = (
    "Slides of the aggregator are simulated bags of tiles and every outcome is simulated: " + HAZARD
)
DATA = (
    "LC25000 lung tiles, leakage-free subset split by original image (arXiv:1912.12142)",
    "HER2-positive breast spots with their expression, patient C for training, patient B for "
    "testing (Zenodo 3957257)",
    "drawn tiles of the phantom (no tissue)",
    "32 tiles of CRC-VAL-HE-7K, testing only (Zenodo 1214456)",
)


def manifest(
    *,
    digest: str,
    metrics: list[Row],
    percentiles: NDArray[np.float64],
    reference: Reference,
) -> dict[str, object]:
    """Content of manifest.json."""
    return {
        "schema_version": 1,
        "name": "default",
        "version": VERSION,
        "title": "Demonstration student",
        "manufacturer": "dicom-node",
        "status": "research",
        "intended_use": INTENDED_USE,
        "input": {"tile_px": 224, "mpp": 0.5, "mpp_tolerance": 0.05, "batch": 16},
        "graphs": {name: _graph(name) for name in OUTPUTS},
        "finding": {
            "code": _code("C125201", "NCIt", "Overall Survival"),
            "reference_cohort": "600 simulated slides with simulated outcomes; no patients",
        },
        "outputs": [_risk(percentiles), _survival(), _tumor()],
        "applicability": {
            "minimum_tissue_mm2": 0.1,
            "minimum_tiles": FEWEST_TILES,
            "stains": [
                _code("12710003", SCT, "hematoxylin stain"),
                _code("36879007", SCT, "water soluble eosin stain"),
            ],
            "organs": [],
        },
        "out_of_distribution": {
            "mean": _rounded(reference.mean),
            "std": _rounded(reference.std),
            "limit": round(reference.limit, 4),
        },
        "training": {
            "digest": f"sha256:{digest}",
            "data": list(DATA),
            "simulated": SIMULATED,
            "metrics": [
                {
                    "name": name,
                    "value": round(value, 4),
                    "low": round(low, 4),
                    "high": round(high, 4),
                    "data": data,
                }
                for name, (value, low, high), data in metrics
            ],
        },
        "probe": {
            "file": "probe.npz",
            "tolerance": {f"{g}/{t}": TOLERANCE for g, names in OUTPUTS.items() for t in names},
        },
    }


def _code(value: str, scheme: str, meaning: str) -> dict[str, str]:
    return {"value": value, "scheme": scheme, "meaning": meaning}


def _rounded(values: NDArray[np.float32]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _graph(name: str) -> dict[str, object]:
    return {
        "file": f"{name}.onnx",
        "inputs": [_tensor(INPUTS[name])],
        "outputs": [_tensor(tensor) for tensor in OUTPUTS[name]],
    }


def _tensor(name: str) -> dict[str, object]:
    inner = {"tiles": [224, 224, 3], "features": [FEATURES]}.get(name, [])
    fixed = {"risk": [1], "survival": [len(TIMES_MONTHS)]}
    return {
        "name": name,
        "dtype": "uint8" if name == "tiles" else "float32",
        "shape": ["N", *inner] if name in PER_TILE else fixed[name],
    }


def _risk(percentiles: NDArray[np.float64]) -> dict[str, object]:
    return {
        "kind": "score",
        "name": "risk",
        "tensor": "risk",
        "code": _code("risk-score", OURS, "Risk score"),
        "unit": _code("{score}", "UCUM", "score"),
        "direction": "higher-is-worse",
        "percentiles": [round(float(value), 5) for value in percentiles],
    }


def _survival() -> dict[str, object]:
    return {
        "kind": "survival",
        "name": "survival",
        "tensor": "survival",
        "times_months": list(TIMES_MONTHS),
        "codes": [
            _code(f"survival-{time:g}m", OURS, f"{time / 12:g}-year OS probability")
            for time in TIMES_MONTHS
        ],
    }


def _tumor() -> dict[str, object]:
    return {
        "kind": "heatmap",
        "name": "tumor",
        "graph": "encoder",
        "tensor": "tumor",
        "category": _code("49755003", SCT, "Morphologically Abnormal Structure"),
        "type": _code("108369006", SCT, "Neoplasm"),
        "description": (
            "Probability of tumor per tile of 112 um by a research tile classifier trained on "
            "lung and breast tiles and drawn tiles. Not validated for any clinical use."
        ),
        "top_patches": 5,
    }
