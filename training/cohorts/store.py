"""A built cohort on disk: a folder with cohort.json, patients.csv, genes.npz and slides.csv.

The features stay where they are; slides.csv names their files. The digest in cohort.json covers
them, so a file that changed since is found when the cohort is loaded.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from inference.durable import whole_folder
from training.cohorts.genes import digest_of_signatures
from training.cohorts.given.reading import stored
from training.cohorts.material import Bag, Cohort, Drop, Material, Task
from training.cohorts.second_grid import COLUMN, read_second
from training.errors import TrainingError
from training.json_files import read_json
from training.tiles.feature_files import read_all, read_bag

FORMAT = 1


def write(cohort: Cohort, folder: Path, report: str) -> None:
    """Write `cohort` to a new `folder`, whole or not at all; the same cohort gives the same bytes.

    `report` becomes report.txt. Raises TrainingError where the folder exists.
    """
    if folder.exists():
        raise TrainingError(f"found {folder}, expected a new folder: choose another or remove it")
    with whole_folder(folder) as part:
        head = {
            "format": FORMAT,
            "name": cohort.name,
            "task": asdict(cohort.task),
            "digest": cohort.digest,
            "dropped": [[drop.patient, drop.reason] for drop in cohort.dropped],
            "notes": list(cohort.notes),
            "signatures": cohort.signatures,
            "signatures_digest": digest_of_signatures(cohort.signatures),
        }
        (part / "cohort.json").write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")
        cohort.patients.to_csv(part / "patients.csv", index_label="patient", lineterminator="\n")
        cohort.slides.to_csv(part / "slides.csv", index=False, lineterminator="\n")
        known = cohort.genes[cohort.patients["has_genes"]]
        np.savez_compressed(
            part / "genes.npz",
            patients=np.array(known.index, dtype=np.str_),
            columns=np.array(known.columns, dtype=np.str_),
            values=known.to_numpy(np.float32),
        )
        for name, block in cohort.privileged.items():
            block.to_csv(part / f"privileged-{name}.csv", index_label="patient")
        (part / "report.txt").write_text(report, encoding="utf-8")


def read(folder: Path) -> tuple[Material, str]:
    """The material of a built cohort, bags included, and the digest it was written with."""
    path = folder / "cohort.json" if folder.is_dir() else folder
    if path.name != "cohort.json" or not path.is_file():
        raise TrainingError(
            f"found {folder}, expected a folder made by `cohort build` (with cohort.json): "
            "name that folder"
        )
    head = read_json(path)
    if head.get("format") != FORMAT:
        raise TrainingError(
            f"found format {head.get('format')} in {path}, expected {FORMAT}: "
            "build the cohort again"
        )
    signatures = {group: tuple(members) for group, members in head["signatures"].items()}
    found = digest_of_signatures(signatures)
    if head.get("signatures_digest", found) != found:  # cohorts built before have none
        raise TrainingError(
            f"found other signatures in {path} than when it was built, expected digest "
            f"{head['signatures_digest'][:12]}: build the cohort again"
        )
    folder = path.parent
    patients = stored(folder / "patients.csv", ("patient", "site")).set_index("patient")
    columns = ("patient", "slide", "file", COLUMN)
    slides = stored(folder / "slides.csv", columns)
    with np.load(folder / "genes.npz", allow_pickle=False) as kept:
        genes = pd.DataFrame(
            kept["values"], index=kept["patients"].tolist(), columns=kept["columns"].tolist()
        )
    task = head["task"]
    material = Material(
        head["name"],
        Task(task["name"], task["kind"], tuple(task["classes"])),
        patients,
        genes,
        slides[[name for name in columns if name in slides]],
        read_bags(slides),
        signatures,
        tuple(Drop(patient, reason) for patient, reason in head["dropped"]),
        tuple(head["notes"]),
        {
            written.stem.removeprefix("privileged-"): _block(written)
            for written in sorted(folder.glob("privileged-*.csv"))
        },
        read_second(slides),
    )
    return material, head["digest"]


def _block(path: Path) -> pd.DataFrame:
    """A block that was written here."""
    table = stored(path, ("patient",))
    return table.set_index("patient").astype(np.float32)


def read_bags(slides: pd.DataFrame) -> dict[str, Bag]:
    """Slide id -> features float32 [n, D], from the column `file`; each .npz is read once."""
    bags: dict[str, Bag] = {}
    for file, rows in slides.groupby("file", sort=True):
        path = Path(str(file))
        if path.suffix != ".npz":
            bags |= {slide: read_bag(path) for slide in rows["slide"]}
            continue
        held = read_all(path)
        for slide in rows["slide"]:
            if slide not in held:
                raise TrainingError(
                    f"found no slide {slide} in {path}, expected its features there: correct the "
                    "slide manifest"
                )
            bags[slide] = held[slide]
    return bags
