"""What a role is worth on tiles that no step of the training saw: evaluated, never chosen by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.default_student import data, measure
from training.default_student.augment import centered
from training.default_student.bundle.held import Figure, measured
from training.default_student.bundle.said import Floats, Said, softmax
from training.default_student.data import TILE_PX, TileSet
from training.default_student.tissue.densenet import CLASSES

LUNG, COLON = "LC25000 test groups", "32 colon tiles, 4 of each of 8 tissues; external"
DRAWN = "3 drawn slides, fields resampled"
CLEAR = "HER2+ breast, patient B, clear spots resampled"
SPOTS = "HER2+ breast, patient B, all spots resampled"
SHOWN = tuple(name for name in CLASSES if name != "BACK")
"""The tissues: of background there is no colon tile, and it is no tissue."""
TUMOR = CLASSES.index("TUM")
_MIXTURES = 2000


@dataclass(frozen=True)
class Tests:
    """Labeled tiles of four sources at 0.5 um/px."""

    lung: TileSet
    breast: TileSet
    colon: TileSet
    drawn: TileSet

    def tissue(self) -> NDArray[np.int64]:
        """[32] index into CLASSES of the colon tiles, by the names of their files."""
        return np.array([CLASSES.index(name.split("-")[0]) for name in self.colon.group])

    def images(self, name: str) -> NDArray[np.uint8]:
        """[N, 224, 224, 3] of a source."""
        part: TileSet = getattr(self, name)
        return centered(part.images, part.mpp, TILE_PX)


def load(folder: Path) -> Tests:
    """Of the data folder."""
    return Tests(
        data.lung(folder / "lc25000_lung_clean").part("test"),
        data.spots(folder / "her2st_spots").part("test"),
        data.colon(folder / "tiles_crc_val_he_7k_32").part("test"),
        data.phantom("test"),
    )


def tumor(tests: Tests, said: dict[str, Said]) -> list[Figure]:
    """Of the probability of tumor; `said` by source."""
    rows = []
    for name, subgroup, where in (
        ("lung", "lung", LUNG),
        ("breast", "breast", CLEAR),
        ("colon", "colon", COLON),
        ("drawn", "drawings", DRAWN),
    ):
        part: TileSet = getattr(tests, name)
        known = part.clear
        columns = part.tumor[known].astype(float), probability(said[name])[known]
        units = part.group[known] if name == "lung" else None
        for told, figure in (("tumor AUC", measure.auc), ("tumor accuracy", measure.accuracy)):
            rows.append(measured(told, figure, columns, where, subgroup, units))
    columns = tests.breast.fraction.astype(float), probability(said["breast"])
    told = "Spearman with epithelium"
    return [*rows, measured(told, measure.rank_correlation, columns, SPOTS, "breast")]


def tissue(tests: Tests, logits: Floats) -> list[Figure]:
    """Of the nine classes, by logits [32, 9] of the colon tiles."""
    truth = tests.tissue()
    right = (logits.argmax(axis=1) == truth).astype(float)
    of_tumor = (truth == TUMOR).astype(float), softmax(logits)[:, TUMOR].astype(float)
    return [
        measured("tissue class accuracy", measure.share, (right,), COLON, "colon"),
        measured("tumor AUC by tissue class", measure.auc, of_tumor, COLON, "colon"),
    ]


def probability(said: Said) -> NDArray[np.float64]:
    """Of tumor [N]."""
    found: NDArray[np.float64] = 1 / (1 + np.exp(-said.tumor.astype(np.float64)))
    return found


def calibration(tests: Tests, said: dict[str, Said]) -> tuple[float, float]:
    """Slope and intercept on the weakly labeled spots of patient B."""
    return measure.calibration(tests.breast.tumor.astype(float), probability(said["breast"]))


def share_errors(truth: NDArray[np.int64], told: NDArray[np.int64], seed: int) -> dict[str, float]:
    """By tissue: half the width of the interval that holds 95 % of the errors of its share.

    Of slides that mix the tissues in random shares. How often one is taken for another is drawn for
    each slide from what became of the tiles [N], and of one more tile of each tissue that may have
    become anything (a Dirichlet posterior): four of four right is not certainty.
    """
    rng = np.random.default_rng(seed)
    places = [CLASSES.index(name) for name in SHOWN]
    counts = np.array([[np.sum((truth == a) & (told == b)) for b in places] for a in places])
    shares = rng.dirichlet(np.ones(len(places)), _MIXTURES)
    taken = np.stack([rng.dirichlet(row + 1 / len(places), _MIXTURES) for row in counts], axis=1)
    errors = np.abs(np.einsum("ma,mab->mb", shares, taken) - shares)
    return dict(zip(SHOWN, np.percentile(errors, 95, axis=0).tolist(), strict=True))
