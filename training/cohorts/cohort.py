"""Loads a cohort: patients with bags, genes, an outcome or a label, and two kinds of five folds."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from training.cohorts import store as cohort_file
from training.cohorts.checks import (
    refuse_events,
    refuse_inverted_flag,
    refuse_shared_slides,
    refuse_widths,
)
from training.cohorts.folds import (
    complete,
    empty_folds,
    refuse_shared_sites,
    site_folds,
)
from training.cohorts.given.slide_origins import refuse_same_features
from training.cohorts.material import NO_FOLD, TASKS, Bag, Cohort, Drop, Material, Task, known_task
from training.cohorts.privileged import Blocks
from training.cohorts.second_grid import SecondGrid
from training.cohorts.tables import COHORTS, beside, published, refuse_other_events
from training.errors import TrainingError

__all__ = ["TASKS", "Cohort", "Drop", "Task", "assemble", "load"]

COLUMNS = ["time_months", "event", "age", "site", "label", "fold_official", "fold_site"]


def load(name_or_path: str, data: Path, task: str = "os", *, extended: bool = False) -> Cohort:
    """The cohort of that name from the published tables in `data`, or a built cohort's folder.

    A folder that is called as a published cohort is meant by a path such as ./luad.

    `extended` adds the patients beside a published cohort, for training parts alone.

    Raises TrainingError for unknown names and tasks, and for data that fail a check.
    """
    path = Path(name_or_path)
    if name_or_path in COHORTS or not path.exists():
        material = published(name_or_path, data, known_task(task))
        refuse_other_events(material.patients, data)
        cohort = assemble(material, flag_confirmed=True)  # by TCGA-CDR
        return _extended(cohort, data) if extended else cohort
    if extended:
        raise TrainingError(
            f"found the built cohort {path}, expected a published one with --extended: put all "
            "patients into the cohort instead"
        )
    stored, digest = cohort_file.read(path)
    if stored.task.name != task:
        raise TrainingError(
            f"found a cohort for task {stored.task.name} in {path}, expected {task}: ask for the "
            "task it was built for"
        )
    cohort = assemble(stored, flag_confirmed=True)  # `cohort build` has checked or been told
    if cohort.digest != digest:
        raise TrainingError(
            f"found other content in {path} than when it was built, expected digest {digest[:12]}: "
            "build the cohort again"
        )
    return cohort


def assemble(material: Material, *, flag_confirmed: bool = False) -> Cohort:
    """The cohort of `material`: checked, patients without what the task needs dropped, folded.

    `flag_confirmed`: a person has checked the event flag; the test for inversion is left out.
    """
    refuse_shared_slides(material.slides)
    refuse_widths(material.bags)
    refuse_same_features(material.slides, material.bags)
    refuse_events(material.patients["event"])
    patients, dropped = _usable(material)
    if material.task.kind == "survival" and not flag_confirmed:
        refuse_inverted_flag(patients)
    folded, fold_notes = _folded(patients, material.task)
    genes = material.genes.reindex(folded.index).astype(np.float32)
    has_genes = folded.index.isin(material.genes.index)
    folded["has_genes"] = has_genes
    kept = set(folded.index)
    slides = material.slides[material.slides["patient"].isin(kept)].copy()
    slides["instances"] = [len(material.bags[slide]) for slide in slides["slide"]]
    slides = slides.sort_values(["patient", "slide"], ignore_index=True)
    bags, second = _by_patient(slides, material.bags), material.second
    if second is not None:
        slides["coarse_instances"] = [len(second.bags[slide]) for slide in slides["slide"]]
        second = replace(second, bags=_by_patient(slides, second.bags))
    privileged = {
        name: block.reindex(folded.index).astype(np.float32)
        for name, block in sorted(material.privileged.items())
    }
    noted = (*material.notes, *fold_notes, *_gene_notes(genes[has_genes], len(folded)))
    return Cohort(
        material.name,
        material.task,
        digest_of(material.task, folded, genes, slides, bags, privileged, second),
        folded,
        genes,
        bags,
        slides,
        tuple(sorted((*material.dropped, *dropped), key=lambda drop: drop.patient)),
        material.signatures,
        tuple(dict.fromkeys(noted)),  # a built cohort brings its own along
        privileged,
        second,
    )


def _extended(cohort: Cohort, data: Path) -> Cohort:
    more = assemble(beside(cohort.name, data, cohort.task, cohort.privileged), flag_confirmed=True)
    digest = hashlib.sha256(f"{cohort.digest} beside {more.digest}".encode()).hexdigest()
    note = f"{len(more.patients)} more patients, outside the folds, join every training part"
    return replace(cohort, digest=digest, beside=more, notes=(*cohort.notes, note))


def _usable(material: Material) -> tuple[pd.DataFrame, list[Drop]]:
    """The patients the task can use, in the order of their id, and the others with a reason."""
    patients = material.patients.sort_index()
    reason = pd.Series("", index=patients.index, dtype=object)
    if material.task.kind == "survival":
        time = patients["time_months"]
        unknown = ~np.isfinite(time.astype(float)) | patients["event"].isna()
        reason[time <= 0] = "time is zero or negative"
        reason[unknown] = "no outcome"
    else:
        reason[patients["label"].isna()] = f"no label for {material.task.name}"
    reason[~patients.index.isin(set(material.slides["patient"]))] = "no features"
    dropped = [Drop(str(patient), why) for patient, why in reason[reason != ""].items()]
    usable = patients[reason == ""].copy()
    if usable.empty:
        counts = Counter(drop.reason for drop in dropped)
        raise TrainingError(
            f"found no usable patient in {material.name} ({dict(counts)}), expected patients with "
            "features and an outcome: check that the tables use the same patient ids"
        )
    for at, name in enumerate(material.task.classes):
        if not (usable["label"] == at).any():
            raise TrainingError(
                f"found nobody of class {name} among {len(usable)} patients of {material.name}, "
                "expected some of each class: leave it out of the classes, or give more patients"
            )
    usable["event"] = usable["event"].fillna(0).astype("int64")
    usable["label"] = usable["label"].astype("int64")
    return usable, dropped


def _folded(patients: pd.DataFrame, task: Task) -> tuple[pd.DataFrame, list[str]]:
    """`patients` with both kinds of folds and only the columns of a cohort; and what was noted."""
    strata = patients["event" if task.kind == "survival" else "label"]
    if "fold_official" in patients:
        known = patients["fold_official"]
    else:
        known = pd.Series(np.nan, index=patients.index)
    notes = []
    if known.isna().all():
        notes.append("no folds were given: five were made, of equal shares")
    elif known.isna().any():
        notes.append(
            f"{int(known.isna().sum())} of {len(known)} patients are in no given fold: put where "
            "their class has fewest"
        )
    folded = patients.copy()
    folded["fold_official"] = complete(known, strata)
    if empty := empty_folds(folded["fold_official"]):
        notes.append(f"nobody in fold {', '.join(map(str, empty))}: not to be scored")
    if "fold_site" not in folded:
        folded["fold_site"] = site_folds(folded["site"], strata)
    if (folded["fold_site"] == NO_FOLD).any():
        notes.append(f"no site folds: {folded['site'].nunique()} sites, at least 5 are needed")
    else:
        refuse_shared_sites(folded["site"], folded["fold_site"])
    return folded[COLUMNS].copy(), notes


def _gene_notes(genes: pd.DataFrame, patients: int) -> list[str]:
    notes = []
    if not len(genes.columns):
        return ["no genes were given"]
    if len(genes) < patients:
        notes.append(f"{patients - len(genes)} of {patients} patients have no genes: mean values")
    blanks = int(genes.isna().to_numpy().sum())
    if blanks:
        notes.append(f"{blanks} blank gene values: the training mean stands in")
    return notes


def _by_patient(slides: pd.DataFrame, bags: dict[str, Bag]) -> dict[str, Bag]:
    """Patient -> all instances, slides in the order of their id."""
    return {
        str(patient): np.concatenate([bags[slide] for slide in sorted(group)])
        for patient, group in slides.groupby("patient", sort=True)["slide"]
    }


def digest_of(
    task: Task,
    patients: pd.DataFrame,
    genes: pd.DataFrame,
    slides: pd.DataFrame,
    bags: dict[str, Bag],
    privileged: Blocks,
    second: SecondGrid | None = None,
) -> str:
    """sha256 (hex) over everything a method can see; file paths and drops are left out."""
    digest = hashlib.sha256(f"{task.name} {task.kind} {task.classes}".encode())
    digest.update(patients[COLUMNS].to_csv(float_format="%.6g", lineterminator="\n").encode())
    digest.update("\n".join(genes.columns).encode())
    digest.update(np.ascontiguousarray(genes.to_numpy(np.float32)).tobytes())
    digest.update(
        slides[["patient", "slide", "instances"]].to_csv(index=False, lineterminator="\n").encode()
    )
    for patient in sorted(bags):
        digest.update(np.ascontiguousarray(bags[patient]).tobytes())
    for name, block in privileged.items():
        digest.update("\n".join([name, *block.columns]).encode())
        digest.update(np.ascontiguousarray(block.to_numpy(np.float32)).tobytes())
    if second is not None:
        digest.update(f"second magnification {second.mpps}".encode())
        for patient in sorted(second.bags):
            digest.update(np.ascontiguousarray(second.bags[patient]).tobytes())
    return digest.hexdigest()
