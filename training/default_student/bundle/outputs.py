"""What the bundle gives of a slide, in codes and units: two maps, and tissue measured on one."""

from __future__ import annotations

from collections.abc import Mapping

from training.default_student.bundle.figures import SHOWN, SPOTS
from training.default_student.tissue.densenet import CLASSES

THRESHOLD = 0.5
"""Where the accuracies were measured."""
FLOOR = 0.1
SCT, OURS, UCUM = "SCT", "99DICOMNODE", "UCUM"
Json = dict[str, object]


def code(value: str, scheme: str, meaning: str) -> dict[str, str]:
    """A coded concept as the manifest writes it."""
    return {"value": value, "scheme": scheme, "meaning": meaning}


TISSUES = {
    "ADI": code("55603005", SCT, "Adipose tissue"),
    "BACK": code("125040", "DCM", "Background"),
    "DEB": code("TISSUE-DEB", OURS, "Debris"),
    "LYM": code("6969002", SCT, "Lymphocytic tissue"),
    "MUC": code("TISSUE-MUC", OURS, "Mucus"),
    "MUS": code("TISSUE-MUS", OURS, "Smooth muscle"),
    "NORM": code("TISSUE-NORM", OURS, "Normal mucosa"),
    "STR": code("TISSUE-STR", OURS, "Stroma"),
    "TUM": code("TISSUE-TUM", OURS, "Tumor epithelium"),
}
"""Of CLASSES: standard codes where there are some of that very meaning."""
INTESTINE = code("14742008", SCT, "Large intestine")
TUMOR_ORGANS = [INTESTINE, code("39607008", SCT, "Lung"), code("76752008", SCT, "Breast")]
"""Where the tumor map was compared with labels that it had not seen."""
TISSUE_ORGANS = [INTESTINE]
"""Where nine classes were compared with the truth; colon and rectum are parts of it."""
_SQUARE_MM = code("mm2", UCUM, "square millimeter")
_PERCENT, _ONE = code("%", UCUM, "percent"), code("1", UCUM, "no units")


def outputs(
    calibration: tuple[float, float], spots: int, errors: Mapping[str, float]
) -> list[Json]:
    """All outputs. `calibration` is slope and intercept of tumor on that many spots of patient B;
    `errors` half the width of the interval of each share."""
    areas = [_area(name) for name in SHOWN]
    shares = [_share(name, errors[name]) for name in SHOWN]
    return [_tumor(calibration, spots), _tissue(), *areas, *shares, _ratio(), _lymphocytes()]


def _tumor(calibration: tuple[float, float], spots: int) -> Json:
    slope, intercept = calibration
    return {
        "kind": "map",
        "shows": "finding",
        "name": "tumor",
        "uncertainty": {
            "how": "calibration",
            "slope": round(slope, 3),
            "intercept": round(intercept, 3),
            "data": SPOTS.replace("all spots resampled", "weakly labeled spots"),
            "count": spots,
        },
        "graph": "encoder",
        "tensor": "tumor",
        "category": code("49755003", SCT, "Morphologically Abnormal Structure"),
        "type": code("108369006", SCT, "Neoplasm"),
        "description": "Probability of tumor per tile of 112 um by a research tile classifier "
        "trained on lung and breast tiles and drawn tiles. Not validated for any clinical use.",
        "organs": TUMOR_ORGANS,
        "threshold": THRESHOLD,
        "floor": FLOOR,
        "top_patches": 5,
    }


def _tissue() -> Json:
    return {
        "kind": "map",
        "shows": "finding",
        "name": "tissue",
        "graph": "encoder",
        "tensor": "classes",
        "category": code("85756007", SCT, "Tissue"),
        "type": code("TISSUE-CLASS", OURS, "Class of tissue"),
        "description": "Probabilities of nine classes of tissue per tile of 112 um by a research "
        "tile classifier, taught by a network of colorectal tiles. Not validated for any clinical "
        "use.",
        "classes": [TISSUES[name] for name in CLASSES],
        "background": [_meaning("BACK")],
        "organs": TISSUE_ORGANS,
        "top_patches": 0,
    }


def _measure(name: str, code_: Json, unit: Json, quantity: str, of: list[str]) -> Json:
    return {
        "kind": "measure",
        "name": name,
        "code": code_,
        "unit": unit,
        "quantity": quantity,
        "map": "tissue",
        "classes": of,
        "organs": TISSUE_ORGANS,
    }


def _meaning(name: str) -> str:
    return TISSUES[name]["meaning"]


def _area(name: str) -> Json:
    told = code(f"AREA-{name}", OURS, f"Area of {_meaning(name).lower()}")
    slug = f"area of {_meaning(name).lower()}"
    return _measure(slug, {**told}, {**_SQUARE_MM}, "area", [_meaning(name)])


def _share(name: str, error: float) -> Json:
    told = code(f"SHARE-{name}", OURS, f"Share of {_meaning(name).lower()}")
    slug = f"share of {_meaning(name).lower()}"
    measure = _measure(slug, {**told}, {**_PERCENT}, "share", [_meaning(name)])
    measure["uncertainty"] = {
        "how": "interval",
        "half_width": round(100 * error, 1),
        "source": "mixtures of 32 colon tiles of known tissue",
    }
    return measure


def _ratio() -> Json:
    told = code("TUMOR-STROMA", OURS, "Tumor-stroma ratio")
    measure = _measure("tumor-stroma ratio", {**told}, {**_ONE}, "ratio", [_meaning("TUM")])
    return measure | {"over": [_meaning("STR")]}


def _lymphocytes() -> Json:
    told = code("LYM-NEAR-TUM", OURS, "Lymphocytes around tumor")
    slug = "lymphocytic tissue in and around tumor"
    measure = _measure(slug, {**told}, {**_PERCENT}, "share", [_meaning("LYM")])
    return measure | {"near": [_meaning("TUM")]}
