"""Expression of the breast spots: counts, gene programs, and the targets of reconstruction."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError

Floats = NDArray[np.float32]

PROGRAMS = {
    "epithelial": "EPCAM CD24 KRT7 KRT8 KRT18 KRT19 CDH1 CLDN3 CLDN4 ELF3 SPINT2 TACSTD2 KRT81",
    "HER2 amplicon": "ERBB2 GRB7 STARD3 PGAP3 MIEN1 MED24 PSMD3 CDK12 ORMDL3 MED1",
    "immune": (
        "CD3D CD3E CD2 PTPRC CD74 HLA-DRA HLA-DPA1 HLA-DPB1 HLA-DRB1 CD52 CXCL9 TRAC TRBC2 "
        "CORO1A LTB IL7R CD37"
    ),
    "plasma cell": "IGKC IGHG1 IGHG3 IGHG4 IGLC2 IGLC3 IGHA1 JCHAIN IGHM MZB1",
    "stroma": (
        "COL1A1 COL1A2 COL3A1 COL5A1 COL6A1 COL6A2 COL6A3 FN1 SPARC DCN LUM POSTN VIM BGN FBN1 THY1"
    ),
    "proliferation": ("MKI67 TOP2A CCNB1 PCNA TYMS UBE2C STMN1 TUBA1B H2AFZ HMGB2 BIRC5 CDK1"),
}
"""Markers by common knowledge of breast tissue; listed after single genes had been looked at."""
NAMED = ("EPCAM", "ERBB2", "GRB7", "KRT19", "CD3E", "COL1A1", "CD24", "CD74", "HLA-DRA", "IGKC")
"""Genes that figures are computed on, whatever the selection below does."""
TOTAL = "total counts"
SELECTED = 128
TARGETS = 1 + len(PROGRAMS) + SELECTED
_PER = 1e4


@dataclass(frozen=True)
class Expression:
    """Counts of T spots in the order of spots.csv."""

    genes: tuple[str, ...]
    counts: NDArray[np.int32]
    """[T, 9803]."""
    total: NDArray[np.float64]
    """[T] counts of all genes."""
    section: NDArray[np.str_]
    """[T]; the first letter is the patient."""

    def programs(self) -> NDArray[np.float64]:
        """[T, 6] counts of the genes of each program."""
        return np.stack(
            [self._columns(names.split()).sum(axis=1) for names in PROGRAMS.values()], axis=1
        ).astype(np.float64)

    def level(self, gene: str) -> NDArray[np.float64]:
        """[T] log(1 + counts per 10,000) of one gene."""
        return self._logged(self._columns([gene])[:, 0])

    def program_levels(self) -> NDArray[np.float64]:
        """[T, 6] log(1 + counts per 10,000) of each program."""
        return self._logged(self.programs())

    def rows(self, kept: NDArray[np.bool_]) -> Expression:
        """The kept spots."""
        return Expression(self.genes, self.counts[kept], self.total[kept], self.section[kept])

    def permuted(self, seed: int) -> Expression:
        """The null: spots exchange their whole expression with others of their section."""
        rng, order = np.random.default_rng(seed), np.arange(len(self.total))
        for name in np.unique(self.section):
            at = np.flatnonzero(self.section == name)
            order[at] = rng.permutation(at)
        return Expression(self.genes, self.counts[order], self.total[order], self.section)

    def _columns(self, names: list[str]) -> NDArray[np.int32]:
        missing = sorted(set(names) - set(self.genes))
        if missing:
            raise TrainingError(
                f"counts.npz: found no genes {missing}, expected them: use the counts of the "
                "HER2ST spots"
            )
        found: NDArray[np.int32] = self.counts[:, [self.genes.index(name) for name in names]]
        return found

    def _logged(self, counts: NDArray[np.generic]) -> NDArray[np.float64]:
        share = counts.astype(np.float64).T / self.total * _PER
        levels: NDArray[np.float64] = np.log1p(share).T
        return levels


def load(folder: Path) -> Expression:
    """The spots of HER2ST; raises TrainingError where counts and tiles are of different spots."""
    with (folder / "spots.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with np.load(folder / "counts.npz", allow_pickle=False) as stored:
        tiles, genes, counts = (stored[name] for name in ("tiles", "genes", "counts"))
    if [row["tile"] for row in rows] != tiles.tolist():
        raise TrainingError(
            f"{folder}: found counts of other spots than spots.csv lists, expected the same in "
            "the same order: take both files from one copy"
        )
    return Expression(
        genes=tuple(genes.tolist()),
        counts=counts.astype(np.int32),
        total=np.maximum(counts.sum(axis=1), 1).astype(np.float64),
        section=np.array([row["section"] for row in rows]),
    )


@dataclass(frozen=True)
class Targets:
    """What the encoder reconstructs: total counts, programs, and selected genes of T spots."""

    names: tuple[str, ...]
    values: Floats
    """[T, G] standardized within each section, clipped to [-4, 4]."""


def targets(expression: Expression, training: NDArray[np.bool_]) -> Targets:
    """Targets of all spots; genes are selected on the `training` spots [T] alone.

    The selected genes are found in at least half of the training spots and vary most there after
    removing section means; the named genes come first. Standardizing within a section takes only
    that section's spots and removes depth and batch of the section.
    """
    names = (TOTAL, *PROGRAMS, *_selected(expression.rows(training)))
    values = np.column_stack(
        [
            np.log(expression.total),
            expression.program_levels(),
            *(expression.level(gene) for gene in names[1 + len(PROGRAMS) :]),
        ]
    )
    standard = standardized(values, expression.section)
    return Targets(names, standard.clip(-4, 4).astype(np.float32))


def standardized(values: NDArray[np.float64], section: NDArray[np.str_]) -> NDArray[np.float64]:
    """[T, G] with mean 0 and deviation 1 in each section; a constant column becomes 0."""
    out = np.zeros_like(values)
    for name in np.unique(section):
        at = section == name
        std = values[at].std(axis=0)
        out[at] = (values[at] - values[at].mean(axis=0)) / np.where(std > 0, std, 1)
    return out


def _selected(training: Expression) -> list[str]:
    common = (training.counts > 0).mean(axis=0) >= 0.5
    levels = training._logged(training.counts)
    for name in np.unique(training.section):
        at = training.section == name
        levels[at] -= levels[at].mean(axis=0)
    spread = np.where(common, levels.std(axis=0), -1.0)
    ranked = [training.genes[at] for at in np.argsort(-spread, kind="stable")]
    others = [gene for gene in ranked if gene not in NAMED]
    return [*NAMED, *others[: SELECTED - len(NAMED)]]
