"""The published TCGA cohorts, as their authors' tables and feature files hold them.

Read: PORPOISE outcome and gene tables with the official splits, HIPT region features, glioma labels
(WHO 2021) and breast receptor status. Facts about them are in the PROVENANCE of each folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from training.cohorts.checks import refuse_conflicts
from training.cohorts.folds import patient_of, read_splits, site_of
from training.cohorts.genes import gene_of, read_signatures
from training.cohorts.material import Bag, Drop, Material, Task
from training.cohorts.outcome import DAYS_PER_MONTH
from training.cohorts.privileged import Blocks, published_blocks
from training.errors import TrainingError, existing
from training.tiles.feature_files import read_all

CHOSEN_ON = ("blca", "brca", "gbmlgg", "luad", "ucec")
"""Cohorts on whose inner splits recipes were chosen (LOG.md)."""
UNSEEN = ("coadread", "hnsc", "kirp", "lihc", "paad", "skcm")
"""Cohorts that no choice has looked at: they are scored with what is frozen. So is any other whose
files are there (`known`)."""
COHORTS = (*CHOSEN_ON, *UNSEEN)
MOST_OTHER_EVENTS = 0.05
TASKS_OF = {"gbmlgg": ("diagnosis", "grading"), "brca": ("er", "pr", "her2")}

WHO_2021 = {
    "Glioblastoma, IDH-wildtype": "glioblastoma",
    "Astrocytoma, IDH-mutant": "astrocytoma",
    "Oligodendroglioma, IDH-mutant and 1p/19q-codeleted": "oligodendroglioma",
}
STATUS = {"Positive": "positive", "Negative": "negative"}  # equivocal, indeterminate: no label


def published(name: str, data: Path, task: Task) -> Material:
    """Tables and bags of cohort `name` for `task`; `data` is the folder that holds the sources."""
    if name not in COHORTS and name not in (there := known(data)):
        raise TrainingError(
            f"found cohort {name!r}, expected one of {', '.join(sorted({*COHORTS, *there}))} or "
            "the path of a cohort made by `cohort build`: choose one, or add "
            f"{_features(name, data)} and {_outcomes(name, data)}"
        )
    if task.name != "os" and task.name not in TASKS_OF.get(name, ()):
        offered = ", ".join(("os", *TASKS_OF.get(name, ())))
        raise TrainingError(
            f"found task {task.name} for {name}, expected one of {offered}: choose one"
        )
    rows = outcome_rows(name, data)
    slides, bags, notes = hipt_slides(name, data, rows)
    patients, genes = patient_tables(rows)
    patients["fold_official"] = read_splits(data / "porpoise/splits" / f"tcga_{name}")
    dropped: list[Drop] = []
    if task.kind == "classification":
        patients, dropped = labeled(patients, labels(task, data), task, set(slides["patient"]))
        patients = with_curated_outcome(patients, data)
    else:
        strangers = sorted(set(slides["patient"]) - set(patients.index))
        reason = "no outcome: features, but not in the table"
        dropped = [Drop(patient, reason) for patient in strangers]
        patients["label"] = 0.0
    signatures = read_signatures(data / "porpoise/datasets_csv/signatures.csv")
    return Material(
        name,
        task,
        patients,
        genes,
        slides,
        bags,
        signatures,
        tuple(dropped),
        tuple(notes),
        published_blocks(patients.index, data) if task.kind == "survival" else {},
    )


def known(data: Path) -> tuple[str, ...]:
    """Names of the cohorts whose features and table are both in `data`, these or others."""
    names = (path.stem for path in (data / "hipt_vit4k").glob("*.npz"))
    return tuple(sorted(name for name in names if _outcomes(name, data).is_file()))


def _features(name: str, data: Path) -> Path:
    return data / "hipt_vit4k" / f"{name}.npz"


def _outcomes(name: str, data: Path) -> Path:
    return data / "porpoise" / "datasets_csv_mutsig" / f"tcga_{name}_all_clean.csv.zip"


def refuse_other_events(patients: pd.DataFrame, data: Path) -> None:
    """TrainingError where the events are not those of TCGA-CDR, which decides what a flag means.

    The signs of an inverted flag suspect right cohorts too (melanoma: patients enter with a
    metastasis, and its deaths come late).
    """
    curated = _curated(data)["OS"].reindex(patients.index)
    known = curated.notna() & patients["event"].notna()
    other = known & (patients["event"] != curated)
    if other.sum() > MOST_OTHER_EVENTS * known.sum():
        raise TrainingError(
            f"found {int(other.sum())} of {int(known.sum())} patients with another event than in "
            "TCGA-CDR, expected event 1 = death observed: check the flag of the table"
        )


def beside(name: str, data: Path, task: Task, like: Blocks) -> Material:
    """Patients with features and an outcome in TCGA-CDR whom the cohort's table leaves out.

    Their privileged blocks have the columns of those in `like`; they have no genes here. Their
    months are TCGA-CDR days / 30.4375.
    """
    if task.kind != "survival":
        raise TrainingError(
            f"found task {task.name}, expected os: only survival knows patients beside the cohort"
        )
    rows = outcome_rows(name, data)
    slides, bags, _ = hipt_slides(name, data, rows)
    ids = sorted(set(slides["patient"]) - set(rows.index))
    slides = slides[slides["patient"].isin(ids)]
    blank = pd.DataFrame(
        {"time_months": np.nan, "event": np.nan, "age": np.nan, "label": 0.0},
        index=pd.Index(ids, name="case_id"),
    )
    patients = with_curated_outcome(blank, data)
    patients["site"] = [site_of(patient) for patient in ids]
    _, genes = patient_tables(rows)
    return Material(
        f"{name}-beside",
        task,
        patients,
        genes.iloc[:0],
        slides,
        {slide: bags[slide] for slide in slides["slide"]},
        privileged={
            block: table.reindex(columns=like[block].columns, fill_value=0.0)
            for block, table in published_blocks(patients.index, data).items()
        },
    )


def outcome_rows(name: str, data: Path) -> pd.DataFrame:
    """The table of the cohort, one row per slide, indexed by patient.

    UCEC has no expression anywhere: its 935 copy-number columns (the older release of the same
    table) join the 1,406 mutation columns, as the newer release kept only 5 of them.
    """
    rows = _read(_outcomes(name, data))
    if name == "ucec":
        release = data / "porpoise" / "datasets_csv" / f"tcga_{name}_all_clean.csv.zip"
        older = _read(release, only="_cnv")
        older = older[~older.index.duplicated()]
        new = [column for column in older if column.endswith("_cnv") and column not in rows]
        rows = rows.join(older[new])
    return rows


def _read(path: Path, only: str = "") -> pd.DataFrame:
    """The table by patient; with `only`, just the columns that end so."""
    return pd.read_csv(
        existing(path, "the cohort's table"),
        index_col="case_id",
        usecols=lambda name: name == "case_id" or name.endswith(only),
        low_memory=False,
    )


def patient_tables(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row per patient: outcome, age and site; and the gene columns, float32.

    `censorship` is 1 for censored, so event = 1 - censorship. Gene columns are taken by suffix:
    slices by position lost a gene and kept a flag in the code released with G-HANet.
    """
    refuse_conflicts(rows, ["survival_months", "censorship", "age"])
    first = rows[~rows.index.duplicated()].sort_index()
    patients = pd.DataFrame(
        {
            "time_months": first["survival_months"].astype(float),
            "event": 1.0 - first["censorship"].astype(float),
            "age": first["age"].astype(float),
            "site": [site_of(patient) for patient in first.index],
        },
        index=first.index,
    )
    columns = [column for column in first if gene_of(column) is not None]
    return patients, first[columns].astype(np.float32)


def hipt_slides(
    name: str, data: Path, rows: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, Bag], list[str]]:
    """Slides with features, their bags, and what was found about them.

    A patient of the table keeps the slides that the table lists; others keep all they have.
    """
    path = existing(_features(name, data), "the cohort's features")
    listed = {str(slide).removesuffix(".svs") for slide in rows["slide_id"]}
    known = set(rows.index)
    bags: dict[str, Bag] = {}
    ignored = 0
    for slide, bag in read_all(path).items():
        if patient_of(slide) in known and slide not in listed:
            ignored += 1
        else:
            bags[slide] = bag
    kept = [(patient_of(slide), slide, str(path)) for slide in bags]
    slides = pd.DataFrame(kept, columns=["patient", "slide", "file"])
    without = listed - set(slides["slide"])
    notes = []
    if without:
        notes.append(f"{len(without)} of {len(listed)} slides of the table have no features")
    if ignored:
        notes.append(f"{ignored} slides ignored: the table does not list them for their patient")
    return slides, bags, notes


def labels(task: Task, data: Path) -> pd.Series[str]:
    """Class name by patient, of everyone in the labels table; NaN where undetermined."""
    if task.name in ("diagnosis", "grading"):
        path = existing(data / "glioma_labels/tcga_glioma_labels.csv", "classes of gliomas")
        table = pd.read_csv(path, index_col="case_id")
        if task.name == "grading":
            return table["who2021_grade"]
        return table["who2021_class"].map(WHO_2021)
    path = existing(data / "brca_receptors/tcga_brca_receptors.csv", "status of receptors")
    table = pd.read_csv(path, index_col=0)
    if task.name == "her2":  # in-situ hybridization decides; immunohistochemistry where absent
        fish, ihc = table["her2_fish"].map(STATUS), table["her2_ihc_status"].map(STATUS)
        return fish.fillna(ihc)
    return table[f"{task.name}_ihc"].map(STATUS)


def labeled(
    patients: pd.DataFrame, classes: pd.Series[str], task: Task, with_features: set[str]
) -> tuple[pd.DataFrame, list[Drop]]:
    """Everyone with a class, `label` its number; and all others of table and features, dropped."""
    number = classes.map({name: at for at, name in enumerate(task.classes)}).dropna()
    unlabeled = sorted((with_features | set(classes.index)) - set(number.index))
    known = patients.reindex(number.index.sort_values())
    known["label"] = number
    known["site"] = [site_of(patient) for patient in known.index]
    return known, [Drop(patient, f"no label for {task.name}") for patient in unlabeled]


def with_curated_outcome(patients: pd.DataFrame, data: Path) -> pd.DataFrame:
    """`patients` with time, event and age from TCGA-CDR where the cohort's table has none."""
    curated = _curated(data).reindex(patients.index)
    filled = patients.copy()
    months = curated["OS.time"] / DAYS_PER_MONTH
    filled["time_months"] = filled["time_months"].fillna(months.where(months > 0))
    filled["event"] = filled["event"].fillna(curated["OS"])
    filled["age"] = filled["age"].fillna(curated["age_at_initial_pathologic_diagnosis"])
    return filled


def _curated(data: Path) -> pd.DataFrame:
    path = existing(data / "tcga_cdr/tcga_cdr.csv.gz", "the curated outcomes")
    table = pd.read_csv(path, index_col="bcr_patient_barcode", low_memory=False)
    return table[~table.index.duplicated()]
