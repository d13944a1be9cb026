"""What a teacher may see beyond the genes of the cohort's table: the clinic, and other alterations.

A block is a float table, one row per patient, NaN where unknown. Blocks exist in training only: no
student takes one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from training.errors import existing

STAGES = {
    "0": 0.0, "I/II NOS": 1.5,
    "I": 1.0, "IA": 1.0, "IB": 1.5, "IC": 1.5, "II": 2.0, "IIA": 2.0, "IIB": 2.5, "IIC": 2.5,
    "III": 3.0, "IIIA": 3.0, "IIIB": 3.3, "IIIC": 3.5, "IIIC1": 3.5, "IIIC2": 3.5,
    "IV": 4.0, "IVA": 4.0, "IVB": 4.0, "IVC": 4.0,
}  # fmt: skip
GRADES = {"G1": 1.0, "G2": 2.0, "G3": 3.0, "G4": 4.0, "Low Grade": 1.0, "High Grade": 3.0}
GLIOBLASTOMA_GRADE = 4.0
HISTOLOGY = "histology: "
RAREST_HISTOLOGY = 0.02
"""Share of the training patients up to which a histology gets no column of its own."""
NOT_PROFILED = -9

Blocks = dict[str, pd.DataFrame]


def published_blocks(patients: pd.Index[str], data: Path) -> Blocks:
    """`clinical` (TCGA-CDR) and `alterations` (copy number and mutation of 1,066 genes)."""
    path = existing(data / "tcga_cdr/tcga_cdr.csv.gz", "the curated outcomes")
    curated = pd.read_csv(path, index_col="bcr_patient_barcode", low_memory=False)
    curated = curated[~curated.index.duplicated()].reindex(patients)
    return {
        "clinical": clinical_block(curated),
        "alterations": alterations_block(patients, data / "kather_cbio/tcga_cna_mut_1066.npz"),
    }


def clinical_block(curated: pd.DataFrame) -> pd.DataFrame:
    """Age, stage, grade, sex and histology of a TCGA-CDR table; stage and grade as ordinals."""
    pathologic = curated["ajcc_pathologic_tumor_stage"].map(_stage)
    grade = curated["histological_grade"].map(GRADES)
    histology = pd.get_dummies(curated["histological_type"], dtype=float)
    return pd.DataFrame(
        {
            "age": curated["age_at_initial_pathologic_diagnosis"].astype(float),
            "stage": pathologic.fillna(curated["clinical_stage"].map(_stage)),
            "grade": grade.where(curated["type"] != "GBM", GLIOBLASTOMA_GRADE),
            "male": (curated["gender"] == "MALE").astype(float).where(curated["gender"].notna()),
            **{
                f"{HISTOLOGY}{name}": histology[name].where(curated["histological_type"].notna())
                for name in histology
            },
        },
        index=curated.index,
    ).astype(np.float32)


def common_columns(block: pd.DataFrame) -> list[str]:
    """The columns of a block that these patients, the training ones, are many enough for."""
    return [
        str(name)
        for name in block
        if not str(name).startswith(HISTOLOGY) or block[name].mean() > RAREST_HISTOLOGY
    ]


def alterations_block(patients: pd.Index[str], path: Path) -> pd.DataFrame:
    """GISTIC copy number (-2 to 2) and mutation (0/1) of the patients' first sample."""
    existing(path, "copy number and mutations")
    with np.load(path, allow_pickle=False) as archive:
        samples, genes = archive["sample_id"], archive["genes"]
        copies, mutated = archive["cna"], archive["mut"]
    first = {str(sample)[:12]: at for at, sample in reversed(list(enumerate(samples)))}
    rows = np.array([first.get(patient, -1) for patient in patients])
    values = np.concatenate([copies, mutated], axis=1)[rows].astype(np.float32)
    values[values == NOT_PROFILED] = np.nan
    values[rows < 0] = np.nan
    columns = [f"{gene}_{kind}" for kind in ("cnv", "mut") for gene in genes]
    return pd.DataFrame(values, index=patients, columns=columns)


def _stage(text: object) -> float:
    return STAGES.get(str(text).removeprefix("Stage "), np.nan)
