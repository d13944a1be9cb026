"""What the bundle says of itself: the manifest's content and the model card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.default_student.encoder import FEATURES
from training.default_student.expression import PROGRAMS, TARGETS
from training.default_student.slides import Reference
from training.default_student.tiles import Row

VERSION = "0.6.0"
TOLERANCE = 1e-3
FEWEST_TILES = 4
THRESHOLD = 0.5
"""Where the accuracies were measured."""
FLOOR = 0.1
SCT = "SCT"
OURS = "99DICOMNODE"
OUTPUTS = {"encoder": ("features", "tumor"), "aggregator": ("center",)}
INPUTS = {"encoder": "tiles", "aggregator": "features"}
PER_TILE = {"tiles", "features", "tumor"}
INTENDED_USE = (
    "Research demonstration of the node: a map of where tiles look like tumor. "
    "Not for diagnosis, prognosis or treatment."
)
LIMITS = (
    "The map shows which tiles look like tumor to a small classifier. It says nothing of the "
    "outcome, the grade or the spread of a disease.",
    "Trained on lung tiles of one collection, on breast spots of one patient and on drawn tiles. "
    "How well it does on other organs, stains and scanners is not known.",
    "Debris, stroma, muscle and normal mucosa of the colon are often called tumor. Benign "
    "epithelium, carcinoma in situ and invasive carcinoma are not told apart.",
)
LICENCE = "That of the data the weights were trained on: see the card."
SIMULATED = (
    "Slides that others are compared with are simulated bags of tiles. No outcome is simulated."
)
COLON = "32 colon tiles, 4 of them tumor; external"
LUNG, DRAWN = "LC25000 test groups", "3 drawn slides, fields resampled"
CLEAR_SPOTS = "HER2+ breast, patient B, clear spots resampled"
ALL_SPOTS = "HER2+ breast, patient B, all spots resampled"
COUNTS = {LUNG: 440, COLON: 32, DRAWN: 858, CLEAR_SPOTS: 99, ALL_SPOTS: 283}
"""Tiles or spots that a figure is of."""
SUBGROUPS = {
    LUNG: "lung",
    COLON: "colon",
    DRAWN: "drawings",
    CLEAR_SPOTS: "breast",
    ALL_SPOTS: "breast",
}
OF_THE_MAP = {
    "tumor AUC": "tumor AUC",
    "tumor accuracy": "tumor accuracy",
    "tumor AUC, distilled": "tumor AUC",
    "Spearman with epithelium, distilled": "Spearman with epithelium",
}
"""Figures of what is shipped, and their names in the manifest; the others stand on the card."""
DATA = (
    "LC25000 lung tiles, leakage-free subset split by original image (arXiv:1912.12142)",
    "HER2-positive breast spots with their expression, patient C for training, patient B for "
    "testing (Zenodo 3957257)",
    "drawn tiles of the phantom (no tissue)",
    "32 tiles of CRC-VAL-HE-7K, testing only (Zenodo 1214456)",
)
Cells = dict[str, tuple[float, float]]
"""By role: correlation, and correlation beyond total counts."""


@dataclass(frozen=True)
class Calibration:
    """Of the map on the spots of patient B, by their weak labels: 1 and 0 are perfect."""

    slope: float
    intercept: float


def manifest(
    *, digest: str, metrics: list[Row], reference: Reference, calibration: Calibration
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
            "code": _code("TUMOR-MAP", OURS, "Tumor probability map"),
            "reference_cohort": "None: no number of a slide is ranked",
        },
        "outputs": [_tumor(calibration)],
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
                "figure": OF_THE_MAP[name],
                "value": round(value, 4),
                "low": round(low, 4),
                "high": round(high, 4),
                "data": data,
                "subgroup": SUBGROUPS[data],
                "count": COUNTS[data],
            }
            for name, (value, low, high), data in metrics
            if name in OF_THE_MAP
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
    expression: str
    """Table of what was read from pixels, as `expression_table` writes it."""
    calibration: Calibration


def card(metrics: list[Row], told: Told) -> str:
    """The model card in Markdown, by the words of card.md."""
    shipped = [row for row in metrics if row[0] in OF_THE_MAP]
    text = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    return text.format(
        version=VERSION,
        threshold=THRESHOLD,
        floor=FLOOR,
        table="\n".join(
            f"| {OF_THE_MAP[name]} | {_with_interval(values)} | {SUBGROUPS[data]} "
            f"| {COUNTS[data]} | {data} |"
            for name, values, data in shipped
        ),
        beside="\n".join(
            f"| {name} | {_with_interval(values)} | {data} |"
            for name, values, data in metrics
            if name not in OF_THE_MAP
        ),
        expression=told.expression,
        targets=TARGETS,
        programs=", ".join(PROGRAMS),
        temperature=told.temperature,
        slope=told.calibration.slope,
        intercept=told.calibration.intercept,
        spots=COUNTS[ALL_SPOTS],
        limit=told.limit,
        first=told.steps[0],
        second=told.steps[1],
        seed=told.seed,
    )


def expression_table(rows: list[tuple[str, Cells]]) -> str:
    """Correlations of each target, as a table of Markdown."""
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


def _with_interval(values: tuple[float, float, float]) -> str:
    value, low, high = values
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


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
    inner = {"tiles": [224, 224, 3], "features": [FEATURES], "center": [FEATURES]}.get(name, [])
    return {
        "name": name,
        "dtype": "uint8" if name == "tiles" else "float32",
        "shape": ["N", *inner] if name in PER_TILE else inner,
    }


def _tumor(calibration: Calibration) -> dict[str, object]:
    return {
        "kind": "map",
        "shows": "finding",
        "name": "tumor",
        "uncertainty": {
            "how": "calibration",
            "slope": round(calibration.slope, 3),
            "intercept": round(calibration.intercept, 3),
            "data": ALL_SPOTS.replace("all spots resampled", "weakly labeled spots"),
            "count": COUNTS[ALL_SPOTS],
        },
        "graph": "encoder",
        "tensor": "tumor",
        "category": _code("49755003", SCT, "Morphologically Abnormal Structure"),
        "type": _code("108369006", SCT, "Neoplasm"),
        "description": (
            "Probability of tumor per tile of 112 um by a research tile classifier trained on "
            "lung and breast tiles and drawn tiles. Not validated for any clinical use."
        ),
        "threshold": THRESHOLD,
        "floor": FLOOR,
        "top_patches": 5,
    }
