"""Cohorts of drawn features that claim to be of an encoder, built and fitted by the commands."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from engines.bundle import open_bundle
from training import cli
from training.tiles.feature_files import Origin, write_h5


def origin_of(bundle: Path | str, **changes: object) -> Origin:
    """What `features` writes of files that the bundle's encoder made."""
    opened = open_bundle(bundle)
    wanted = opened.manifest.input
    digest = hashlib.sha256(opened.file(opened.manifest.graphs["encoder"].file).read_bytes())
    values = {
        "slide": "s", "slide_digest": "0", "encoder": opened.manifest.name,
        "encoder_digest": digest.hexdigest(), "engine": "drawn", "mpp": wanted.mpp,
        "mpp_tolerance": 0.05, "tile_px": wanted.tile_px, "base_mpp": 0.25,
        "patch_size_level0": 2 * wanted.tile_px, "grid_rows": 4, "grid_cols": 6,
        "inference_digest": "0",
    }  # fmt: skip
    return Origin(**(values | changes))


def width_of(bundle: Path | str) -> int:
    (found,) = (t.shape[-1] for t in open_bundle(bundle).manifest.graphs["encoder"].outputs
                if t.name == "features")  # fmt: skip
    return int(found)


def draw_cohort(
    folder: Path,
    bundle: Path | str,
    *,
    patients: int = 60,
    skill: float = 1.0,
    slides: int = 1,
    seed: int = 0,
    second: bool = False,
    genes: bool = False,
    **origin: object,
) -> Path:
    """A cohort built by the command: tables, feature files, folds. `skill` 0: features are noise.

    Its outcomes are drawn; each patient has `slides` slides, with `second` at two magnifications.
    """
    draw, width = np.random.default_rng(seed), width_of(bundle)
    direction = np.random.default_rng(99).normal(size=width)
    rows, outcomes = [], []
    for at in range(patients):
        truth = draw.normal()
        patient = f"TCGA-{10 + at % 12}-{at:04d}"
        for number in range(slides):
            name = f"S{at:03d}-{number}"
            feats = draw.normal(size=(12, width)) + skill * truth * direction
            path = folder / "bags" / f"{name}.h5"
            coords = np.stack([np.arange(12) % 6, np.arange(12) // 6], axis=1) * 448
            said = {"slide": name, "slide_digest": name} | origin
            write_h5(path, feats.astype(np.float32), coords, origin_of(bundle, **said))
            rows.append({"patient": patient, "slide": name, "file": path})
            if second:
                rows[-1]["coarse"] = coarse_beside(path, feats, bundle, **said)
        death, visit = draw.exponential(40 * np.exp(-truth)), draw.uniform(20, 120)
        outcomes.append({"patient": patient, "time_months": round(min(death, visit) + 0.1, 2),
                         "event": int(death <= visit), "age": 40 + at % 40})  # fmt: skip
    if genes:
        write_genes(folder / "rna.csv", [one["patient"] for one in outcomes], draw)
    pd.DataFrame(rows).to_csv(folder / "slides.csv", index=False)
    pd.DataFrame(outcomes).to_csv(folder / "outcome.csv", index=False)
    command("cohort", "build", "--name", "drawn", "--outcome", folder / "outcome.csv",
            "--slides", folder / "slides.csv", "--out", folder / "cohort",
            *(["--expression", folder / "rna.csv"] if genes else []))  # fmt: skip
    return folder / "cohort"


def coarse_beside(path: Path, feats: np.ndarray, bundle: Path | str, **origin: object) -> Path:
    """The file of the same slide at twice the spacing: every fourth tile, some noise."""
    fine = origin_of(bundle, **origin)
    twice = {"mpp": 2 * fine.mpp, "patch_size_level0": 2 * fine.patch_size_level0}
    noise = np.random.default_rng(len(path.stem)).normal(size=feats[::4].shape)
    coords = np.arange(len(feats[::4]))[:, None] * [2 * fine.patch_size_level0, 0]
    out = path.with_name(f"{path.stem}-coarse.h5")
    whole = origin_of(bundle, **(origin | twice))
    write_h5(out, (feats[::4] + 0.1 * noise).astype(np.float32), coords, whole)
    return out


GENES = ("EGFR", "MKI67", "TOP2A", "CDK1", "CD68", "CD3D", "COL1A1", "PECAM1")
"""Four of the tumor, four of its surroundings (methods/disentangled/genes.py)."""


def write_genes(path: Path, patients: list[str], draw: np.random.Generator) -> None:
    """A table of drawn expression."""
    values = draw.normal(size=(len(patients), len(GENES)))
    pd.DataFrame(values, index=pd.Index(patients, name="patient"), columns=GENES).to_csv(path)


def command(*words: object, status: int = 0) -> None:
    """One command of `dicom-train` in this process; it must end so."""
    assert cli.main([str(word) for word in words]) == status


def build_two_classes(folder: Path) -> Path:
    """A cohort of the task `kind` beside a drawn one: who died or left late is one of "many"."""
    outcome = pd.read_csv(folder / "outcome.csv")
    late = outcome["time_months"] > outcome["time_months"].median()
    outcome.assign(kind=np.where(late, "many", "few")).to_csv(folder / "label.csv", index=False)
    command("cohort", "build", "--name", "label", "--outcome", folder / "label.csv", "--slides",
            folder / "slides.csv", "--task", "kind", "--classes", "few", "many",
            "--out", folder / "label")  # fmt: skip
    return folder / "label"
