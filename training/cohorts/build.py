"""`cohort build`: a cohort of one's own from GDC-style tables and feature files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from training.cohorts import describe as cohort_report
from training.cohorts import store as cohort_file
from training.cohorts.checks import refuse_conflicts, refuse_shared_slides
from training.cohorts.cohort import assemble
from training.cohorts.folds import FOLDS, read_splits, site_of
from training.cohorts.gene_tables import read_genes, require_genes
from training.cohorts.genes import read_signatures
from training.cohorts.given.clinical import read_clinical
from training.cohorts.given.slide_origins import refuse_strange_files
from training.cohorts.material import TASKS, Cohort, Drop, Material, Task
from training.cohorts.outcome import read_outcome, read_table
from training.cohorts.privileged import Blocks
from training.cohorts.second_grid import COLUMN, read_second
from training.errors import TrainingError


@dataclass(frozen=True)
class BuildInputs:
    """What a cohort is built from; every table CSV or TSV."""

    name: str
    outcome: Path
    """One row per patient (or several that agree); cohorts/outcome.py has its columns."""
    slides: Path
    """patient, slide, file (.h5, .pt or .npz; relative to this table), maybe coarse (the file of a
    second magnification), maybe fold (0-4)."""
    task: Task = TASKS["os"]
    labels: Path | None = None
    """The table with the label column; the outcome table where None."""
    label_column: str = ""
    """Holds names of task.classes or their numbers; the task's name where empty."""
    expression: Path | None = None
    cnv: Path | None = None
    mutation: Path | None = None
    log_expression: bool = False
    """Take log2(x + 1) of the expression."""
    expected_genes: tuple[str, ...] = ()
    """Columns such as ERBB2_rnaseq without which the cohort is refused."""
    signatures: Path | None = None
    clinical: Path | None = None
    """patient and columns of numbers that only a teacher may see: age, stage, grade ..."""
    splits: Path | None = None
    """A table of patient and fold (0-4), or a folder of splits_0.csv ... (columns train, val).
    Without it, stratified folds are made."""
    flag_confirmed: bool = False
    """A person has checked that event 1 means death observed."""


def build(inputs: BuildInputs, out: Path) -> Cohort:
    """The cohort of `inputs`, written to the new folder `out`, report included.

    The same inputs give the same digest. Raises TrainingError for what cannot be used; whatever
    is left out is counted in `dropped` and `notes`.
    """
    cohort = assemble(gather(inputs), flag_confirmed=inputs.flag_confirmed)
    cohort_file.write(cohort, out, cohort_report.text(cohort))
    return cohort


def gather(inputs: BuildInputs) -> Material:
    """Tables and bags of `inputs`, no patient dropped yet but those without any outcome row."""
    patients = read_outcome(inputs.outcome)
    patients["site"] = _sites(patients)
    patients["label"] = _labels(inputs, patients.index)
    slides, notes = read_slides(inputs.slides)
    folds = _folds(inputs, slides)
    if folds is not None:
        patients["fold_official"] = folds
        if patients["fold_official"].isna().all():
            raise TrainingError(
                f"found folds of {folds.index[0]} and others and of none of the patients, such as "
                f"{patients.index[0]}, expected their ids: check that the tables use the same ids"
            )
    tables = {"_rnaseq": inputs.expression, "_cnv": inputs.cnv, "_mut": inputs.mutation}
    given = {suffix: path for suffix, path in tables.items() if path is not None}
    genes, gene_notes = read_genes(given, set(patients.index), log_expression=inputs.log_expression)
    require_genes(genes, inputs.expected_genes)
    privileged: Blocks = {}
    if inputs.clinical is not None:
        privileged["clinical"], more = read_clinical(
            inputs.clinical, patients.index, _label_column(inputs)
        )
        gene_notes += more
    strangers = sorted(set(slides["patient"]) - set(patients.index))
    return Material(
        inputs.name,
        inputs.task,
        patients[[name for name in _KEPT if name in patients]],
        genes,
        slides,
        cohort_file.read_bags(slides),
        read_signatures(inputs.signatures) if inputs.signatures else {},
        tuple(Drop(patient, "no outcome: not in the outcome table") for patient in strangers),
        (*notes, *gene_notes),
        privileged,
        read_second(slides),
    )


_KEPT = ("time_months", "event", "age", "site", "label", "fold_official")


def read_slides(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """patient, slide, file (absolute; maybe coarse and fold) of the slides whose files exist, and
    notes."""
    slides = read_table(path).reset_index()
    absent = [name for name in ("slide", "file") if name not in slides]
    if absent:
        raise TrainingError(
            f"found no column {', '.join(absent)} in {path}, expected patient, slide and file: "
            "name the columns so"
        )
    if (slides["slide"] == "").any():
        patient = slides["patient"][slides["slide"] == ""].iloc[0]
        raise TrainingError(
            f"found a row of {patient} without a slide in {path}, expected the id of a slide in "
            "each: fill it in or remove the row"
        )
    refuse_shared_slides(slides)
    there = _resolved(slides, "file", path.parent)
    missing = len(slides) - sum(there)
    notes = [f"{missing} of {len(slides)} slides have no feature file"] if missing else []
    if COLUMN in slides:
        named = slides[COLUMN] != ""
        second = _resolved(slides, COLUMN, path.parent)
        lost = int((there & named & ~second).sum())
        notes += [f"{lost} more have no file of the second magnification"] if lost else []
        there &= second | ~named  # a slide that names none is refused later, not left out
    kept = slides[there].reset_index(drop=True)
    refuse_strange_files(kept)
    return kept, notes


def _resolved(slides: pd.DataFrame, column: str, folder: Path) -> pd.Series[bool]:
    """Makes the paths of the column absolute; whether each of them is a file."""
    found = [None if file == "" else (folder / file).resolve() for file in slides[column]]
    slides[column] = [None if path is None else str(path) for path in found]
    there = [path is not None and path.is_file() for path in found]
    return pd.Series(there, index=slides.index, dtype=bool)


def _sites(patients: pd.DataFrame) -> list[str]:
    if "site" in patients:
        return [str(site) for site in patients["site"]]
    return [site_of(patient) for patient in patients.index]


def _label_column(inputs: BuildInputs) -> str:
    """Empty for survival."""
    if inputs.task.kind == "survival":
        return ""
    return inputs.label_column or inputs.task.name


def _labels(inputs: BuildInputs, patients: pd.Index[str]) -> pd.Series[float]:
    """The number of each patient's class, NaN where unknown; 0 for survival."""
    if inputs.task.kind == "survival":
        return pd.Series(0.0, index=patients)
    column = _label_column(inputs)
    path = inputs.labels or inputs.outcome
    rows = read_table(path)
    if column not in rows:
        raise TrainingError(
            f"found no column {column} in {path}, expected the label there: name the label column"
        )
    refuse_conflicts(rows, [column])
    values = rows[column].groupby(level=0).first().reindex(patients)
    numbers = {name: float(at) for at, name in enumerate(inputs.task.classes)}
    if not any(name.strip().lstrip("-").isdigit() for name in numbers):
        # Positions stand for classes only where no class is called by a number, such as a grade.
        numbers |= {str(at): float(at) for at in range(len(inputs.task.classes))}
    words = values.map(lambda value: f"{value:g}" if isinstance(value, float) else str(value))
    label = words.str.strip().map(numbers).where(values.notna())
    wrong = values[label.isna() & values.notna()]
    if len(wrong):
        raise TrainingError(
            f"found label {str(wrong.iloc[0])!r} for {wrong.index[0]}, expected one of "
            f"{', '.join(inputs.task.classes)} or a blank: correct the table or the classes"
        )
    return label


def _folds(inputs: BuildInputs, slides: pd.DataFrame) -> pd.Series[float] | None:
    """Fold by patient, from the splits table or the manifest; None where neither gives any."""
    if inputs.splits is not None and inputs.splits.is_dir():
        return read_splits(inputs.splits)
    if inputs.splits is not None:
        rows, where = read_table(inputs.splits), inputs.splits
        if "fold" not in rows:
            raise TrainingError(
                f"found no column fold in {where}, expected patient and fold: name the columns so"
            )
    elif "fold" in slides:
        rows, where = slides.set_index("patient"), inputs.slides
    else:
        return None
    folds = pd.to_numeric(rows["fold"], errors="coerce")
    words = rows["fold"][folds.isna() & rows["fold"].notna()]
    if len(words):
        raise TrainingError(
            f"found fold {words.iloc[0]!r} for {words.index[0]} in {where}, expected 0 to 4: "
            "number the folds so"
        )
    spread = folds.groupby(level=0).nunique()
    if (spread > 1).any():
        patient = spread.index[spread > 1][0]
        numbers = sorted(int(number) for number in folds[[patient]].dropna().unique())
        raise TrainingError(
            f"found patient {patient} in folds {numbers} of {where}, expected one: slides of one "
            "patient belong on the same side of a split"
        )
    known = folds.groupby(level=0).first()
    wrong = known[known.notna() & ~known.isin(np.arange(FOLDS))]
    if len(wrong):
        raise TrainingError(
            f"found fold {wrong.iloc[0]:g} for {wrong.index[0]} in {where}, expected 0 to 4: "
            "number the folds so"
        )
    return known
