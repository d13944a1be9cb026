"""Cohorts of drawn slides of three organs: what the README's commands start from.

Each organ has patients, slides and a rule of outcome of its own, drawn; none of it is a patient's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pydicom import dcmread
from several import MPP, ORGANS
from specimens import code

from dicom_node.demo.wsm import SlideLabel, write_slide
from inference.phantom.draw import Kind, draw

PATIENTS = 30
WORSE = {"lung": Kind.TUMOR, "breast": Kind.FAT, "colon": Kind.LYMPHOCYTES}
"""What shortens life where there is more of it, by organ."""


def draw_organ(folder: Path, organ: str) -> None:
    """`slides/ORGAN/NAME` and `tables/ORGAN/{slides,outcome}.csv` of one organ."""
    number = list(WORSE).index(organ)
    rng = np.random.default_rng(number)
    truths = []
    for at in range(PATIENTS):
        phantom = draw(1000 * (number + 1) + at, rows=1024, cols=1024)
        _slide(folder / "slides" / organ / name_of(organ, at), organ, at, phantom.pixels)
        tissue = np.isin(phantom.truth, (Kind.GLASS, Kind.PEN), invert=True)
        truths.append((phantom.truth == WORSE[organ]).sum() / tissue.sum())
    worse = (np.array(truths) - np.mean(truths)) / np.std(truths)
    death, visit = rng.exponential(40 * np.exp(-worse)), rng.uniform(30, 120, PATIENTS)
    tables = folder / "tables" / organ
    tables.mkdir(parents=True)
    patients = [patient_of(organ, at) for at in range(PATIENTS)]
    pd.DataFrame({
        "patient": patients,
        "time_months": np.round(np.minimum(death, visit) + 0.1, 2),
        "event": (death <= visit).astype(int),
        "age": rng.integers(40, 80, PATIENTS),
    }).to_csv(tables / "outcome.csv", index=False)  # fmt: skip
    names = [name_of(organ, at) for at in range(PATIENTS)]
    pd.DataFrame({
        "patient": patients,
        "slide": names,
        "file": [f"../../features/{organ}/mpp-0.5/{name}.h5" for name in names],
    }).to_csv(tables / "slides.csv", index=False)  # fmt: skip


def name_of(organ: str, at: int) -> str:
    """Of a slide and its folder."""
    return f"{organ}-slide-{at}"


def patient_of(organ: str, at: int) -> str:
    """Its Patient ID; of six sites an organ."""
    return f"TCGA-{organ[0].upper()}{at % 6}-{at:04d}"


def _slide(folder: Path, organ: str, at: int, pixels: np.ndarray) -> None:
    label = SlideLabel(patient_id=patient_of(organ, at), container_id=folder.name)
    for path in write_slide(pixels, folder, mpp=MPP, levels=1, seed=folder.name, label=label):
        ds = dcmread(path)
        item = ds.SpecimenDescriptionSequence[0]
        item.PrimaryAnatomicStructureSequence = [code(*ORGANS[organ])]
        ds.save_as(path)
