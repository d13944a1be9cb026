"""The teacher of the breast spots: it reads cell types from the counts of other patients.

One ridge regression from the expression of a spot to the proportions of its cell types, fitted on
the sections of every patient but two: B, who is kept for the test, and the one that is asked about.
So no answer comes from the patient it is given for.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError

Floats = NDArray[np.float64]
TEST_PATIENT = "B"
PENALTIES = (1e2, 3e2, 1e3, 3e3, 1e4)
_PER = 1e4


@dataclass(frozen=True)
class Counted:
    """Spots of all patients: levels [T, G] of genes, cell types [T, 8], and whose they are [T]."""

    levels: Floats
    cells: Floats
    types: tuple[str, ...]
    genes: tuple[str, ...]
    patient: NDArray[np.str_]
    section: NDArray[np.str_]
    spot: NDArray[np.str_]


def load(folder: Path) -> Counted:
    """The counts of 36 sections; spots without proportions are left out."""
    with np.load(folder / "counts36.npz", allow_pickle=False) as stored:
        data, columns, starts = stored["data"], stored["indices"], stored["indptr"]
        genes, total = tuple(stored["genes"].tolist()), stored["total"]
    rows = table(folder / "spots36.csv")
    if len(rows) != len(total):
        raise TrainingError(
            f"{folder}: found {len(rows)} spots in spots36.csv and {len(total)} in counts36.npz, "
            "expected as many: take both files from one copy"
        )
    dense = np.zeros((len(rows), len(genes)))
    dense[np.repeat(np.arange(len(rows)), np.diff(starts)), columns] = data
    types, known = _proportions(folder / "major_props.zip")
    cells = np.array([known.get((r["section"], r["spot"]), [np.nan] * len(types)) for r in rows])
    kept = ~np.isnan(cells[:, 0])
    return Counted(
        levels=levels(dense, total)[kept],
        cells=_shares(cells[kept]),
        types=types,
        genes=genes,
        patient=np.array([row["patient"] for row in rows])[kept],
        section=np.array([row["section"] for row in rows])[kept],
        spot=np.array([row["spot"] for row in rows])[kept],
    )


def levels(counts: Floats, total: NDArray[np.generic]) -> Floats:
    """log(1 + counts per 10,000) of counts [T, G] with totals [T]."""
    shares: Floats = np.log1p(counts / np.maximum(total, 1)[:, None] * _PER)
    return shares


def strength(known: Counted) -> float:
    """The penalty that fits best from patient to patient, B left out; all by squared error."""
    patients = [name for name in np.unique(known.patient) if name != TEST_PATIENT]
    error = np.zeros(len(PENALTIES))
    for name in patients:
        held = known.patient == name
        fitting = ~held & (known.patient != TEST_PATIENT)
        for at, read in enumerate(_read(known, fitting, held, PENALTIES)):
            error[at] += np.mean((read - known.cells[held]) ** 2)
    return PENALTIES[int(error.argmin())]


def answers(known: Counted, patient: str, penalty: float) -> Floats:
    """[T, 8] cell types of the patient's spots by a teacher of all others but B; NaN elsewhere."""
    held = known.patient == patient
    if not held.any():
        raise TrainingError(f"found no spot of patient {patient} among the counts, expected some")
    fitting = ~held & (known.patient != TEST_PATIENT)
    found = np.full(known.cells.shape, np.nan)
    found[held] = _read(known, fitting, held, (penalty,))[0]
    return found


def _read(
    known: Counted,
    fitting: NDArray[np.bool_],
    held: NDArray[np.bool_],
    penalties: Sequence[float],
) -> list[Floats]:
    """[T held, 8] by ridge regression for each penalty, from one decomposition."""
    own, target = known.levels[fitting], known.cells[fitting]
    mean, std = own.mean(axis=0), own.std(axis=0)
    std = np.where(std > 0, std, 1)
    own, asked = (own - mean) / std, (known.levels[held] - mean) / std
    values, axes = np.linalg.eigh(own.T @ own)
    turned = axes.T @ (own.T @ (target - target.mean(axis=0)))
    asked = asked @ axes
    return [
        _shares(asked @ (turned / (values + penalty)[:, None]) + target.mean(axis=0))
        for penalty in penalties
    ]


def _shares(cells: Floats) -> Floats:
    cells = np.maximum(cells, 0)
    shares: Floats = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1e-6)
    return shares


def _proportions(path: Path) -> tuple[tuple[str, ...], dict[tuple[str, str], list[float]]]:
    """Cell types in order of name, and the proportions of each (section, spot)."""
    found: dict[tuple[str, str], list[float]] = {}
    types: tuple[str, ...] = ()
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not name.endswith("-proportion.tsv"):
                continue
            section = Path(name).name.removesuffix("-proportion.tsv")
            text = io.StringIO(archive.read(name).decode())
            head, *rows = csv.reader(text, delimiter="\t")
            types = tuple(head[1:])
            for row in rows:
                found[section, row[0]] = [float(value) for value in row[1:]]
    return types, found


def table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file with a head."""
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))
