"""What the bundle says of itself: the manifest's content and the model card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.default_student.encoder import FEATURES
from training.default_student.expression import PROGRAMS, TARGETS
from training.default_student.simulate import HAZARD, TIMES_MONTHS
from training.default_student.slides import Reference
from training.default_student.tiles import Row

VERSION = "0.5.0"
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
LIMITS = (
    "Risk and survival were fitted to simulated outcomes: they say nothing about a patient.",
    "The tumor map was trained on lung and breast tiles and tested on a few colon tiles.",
)
LICENCE = "That of the data the weights were trained on: see the card."
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
Cells = dict[str, tuple[float, float]]
"""By role: correlation, and correlation beyond total counts."""


def manifest(
    *,
    digest: str,
    metrics: list[Row],
    percentiles: NDArray[np.float64],
    reference: Reference,
) -> dict[str, object]:
    """Content of manifest.json."""
    return {
        "schema_version": 2,
        "name": "default",
        "version": VERSION,
        "title": "Demonstration student",
        "manufacturer": "dicom-node",
        "status": "research",
        "intended_use": INTENDED_USE,
        "limits": list(LIMITS),
        "licence": LICENCE,
        "unit": "slide",
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
            "method": "mean-feature-distance",
            "mean": _rounded(reference.mean),
            "std": _rounded(reference.std),
            "limit": round(reference.limit, 4),
        },
        "training": {
            "digest": f"sha256:{digest}",
            "data": list(DATA),
            "simulated": SIMULATED,
        },
        "performance": [
            {
                "figure": name,
                "value": round(value, 4),
                "low": round(low, 4),
                "high": round(high, 4),
                "data": data,
            }
            for name, (value, low, high), data in metrics
        ],
        "probe": {
            "file": "probe.npz",
            "tolerance": {f"{g}/{t}": TOLERANCE for g, names in OUTPUTS.items() for t in names},
        },
    }


@dataclass(frozen=True)
class Told:
    """What the card tells beside the figures."""

    temperature: float
    limit: float
    steps: tuple[int, int]
    seed: int
    expression: list[tuple[str, Cells]]


def card(metrics: list[Row], told: Told) -> str:
    """The model card in Markdown, by the words of card.md."""
    table = "\n".join(
        f"| {name} | {value:.3f} ({low:.3f} to {high:.3f}) | {data} |"
        for name, (value, low, high), data in metrics
    )
    text = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    return text.format(
        version=VERSION,
        times=", ".join(f"{time:g}" for time in TIMES_MONTHS),
        hazard=HAZARD,
        table=table,
        expression=_expression(told.expression),
        targets=TARGETS,
        programs=", ".join(PROGRAMS),
        temperature=told.temperature,
        limit=told.limit,
        first=told.steps[0],
        second=told.steps[1],
        seed=told.seed,
    )


def _expression(rows: list[tuple[str, Cells]]) -> str:
    roles = ("color", "null", "twin", "distilled")
    lines = [f"| target | {' | '.join(roles)} |", "|---|" + "---|" * len(roles)]
    for name, cells in rows:
        shown = (
            f"{cells[role][0]:.2f}"
            + ("" if np.isnan(cells[role][1]) else f" / {cells[role][1]:.2f}")
            for role in roles
        )
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


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
        "kind": "map",
        "shows": "finding",
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
