"""From spots with measured expression to a report: slides, teacher, student, bundle, answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the training extra")

from drawn_cohorts import command  # noqa: E402

from dicom_node import cli as node  # noqa: E402
from engines.bundle import open_bundle  # noqa: E402
from engines.runtime import open_runtime  # noqa: E402
from inference.phantom.draw import draw  # noqa: E402
from inference.predict import predict  # noqa: E402
from inference.types import Prediction  # noqa: E402
from training.tiles import spots  # noqa: E402

QUICK = (
    "--epochs", 1, "--set", "twin_epochs=1", "--set", "teacher_epochs=1", "--set", "window=4",
    "--set", "cross_fit=0", "--set", "null=false",
)  # fmt: skip
GENES = ("EGFR", "ERBB2", "MKI67", "CD68", "CD3D", "COL1A1", "SILENT")
TYPES = ("prop_Epithelial", "prop_CAFs", "prop_Endothelial", "prop_PVL", "prop_T-cells")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A folder as the published one is, of two drawn sections: one of B, one of C."""
    folder = tmp_path_factory.mktemp("spots") / "data"
    (folder / "tiles").mkdir(parents=True)
    rng, picture = np.random.default_rng(0), draw(5, rows=1024, cols=1024).pixels
    rows, counts = [], []
    for section, side in (("B4", 16), ("C2", 16)):
        for at in range(side * side):
            x, y = at % side, at // side
            tile = f"{section}_{x}x{y}.jpg"
            left, top = rng.integers(0, 800, 2)
            Image.fromarray(picture[top : top + 224, left : left + 224]).save(
                folder / "tiles" / tile
            )
            more = (x // 4 + y // 4) % 2
            first = (0.6, 0.1) if more else (0.1, 0.6)
            shares = dict(zip(TYPES, (*first, 0.1, 0.1, 0.1), strict=True))
            rows.append({"tile": tile, "section": section, "patient": section[0],
                         "spot": f"{x}x{y}", **shares})  # fmt: skip
            counts.append([*rng.poisson(5 + 5 * more, len(GENES) - 1), 0])
    pd.DataFrame(rows).to_csv(folder / "spots.csv", index=False)
    np.savez(folder / "counts.npz", counts=np.array(counts), genes=np.array(GENES),
             tiles=np.array([row["tile"] for row in rows]),
             total=np.array(counts).sum(axis=1))  # fmt: skip
    return folder


def test_blocks_hold_neighboring_spots_their_expression_and_the_larger_share(drawn, tmp_path):
    out = tmp_path / "out"
    table = spots.write(drawn, out)
    assert len(table) == 16 + 16
    assert table["spots"].eq(16).all()
    assert table.groupby("section")["label"].value_counts().to_dict() == {
        ("B4", "stroma"): 8, ("B4", "epithelium"): 8, ("C2", "stroma"): 8, ("C2", "epithelium"): 8,
    }  # fmt: skip
    slides = pd.read_csv(out / "slides.csv").set_index("patient")
    assert slides["fold"].groupby(slides.index.str[:2]).unique().map(list).to_dict() == {
        "B4": [0], "C2": [1]
    }  # fmt: skip
    genes = pd.read_csv(out / "expression.csv").set_index("patient")
    assert list(genes) == list(GENES[:-1]), "a gene that nobody shows is left out"
    with np.load(drawn / "counts.npz") as stored:
        of_block = [n for n, tile in enumerate(stored["tiles"])
                    if tile in {f"B4_{x}x{y}.jpg" for x in range(4) for y in range(4)}]  # fmt: skip
        share = stored["counts"][of_block].sum(0) / stored["total"][of_block].sum()
    assert genes.loc["B4-00-00"].to_numpy() == pytest.approx(np.log1p(share[:-1] * 1e4), rel=1e-4)


def test_a_folder_without_spots_and_one_that_is_there_are_refused(drawn, tmp_path, capsys):
    assert spots.main([str(tmp_path), str(tmp_path / "out")]) == 3
    assert "found no spots.csv with counts.npz" in capsys.readouterr().err
    assert spots.main([str(drawn), str(tmp_path)]) == 3
    assert "expected a new folder" in capsys.readouterr().err


def test_spots_become_a_student_whose_bundle_answers_on_their_slides(
    drawn, tmp_path, monkeypatch, capsys
):
    """The README's commands on drawn spots; few epochs: it shows the way, not what is learned."""
    assert spots.main([str(drawn), str(tmp_path / "spots")]) == 0
    monkeypatch.chdir(tmp_path / "spots")
    encoder = open_bundle("default")
    command("encoder", encoder.file(encoder.manifest.graphs["encoder"].file), "--mpp", 0.73,
            "--licence", "that of the default bundle", "--name", "spots-encoder",
            "--out", "encoder")  # fmt: skip
    command("features", "slides", "--encoder", "encoder", "--out", "features",
            "--mpp", 0.73, 1.46)  # fmt: skip
    command("cohort", "build", "--name", "spots", "--outcome", "outcome.csv", "--slides",
            "slides.csv", "--expression", "expression.csv", "--task", "tissue", "--classes",
            "stroma", "epithelium", "--label-column", "label", "--out", "cohort")  # fmt: skip
    command("fit", "disentangled", "--cohort", "./cohort", "--task", "tissue", "--fold", 0,
            "--out", "run", *QUICK)  # fmt: skip
    run = json.loads(Path("run/run.json").read_text())
    assert run["second_magnification"] == "read"
    table = pd.read_csv("run/fold0-seed0/predictions.csv")
    wanted = table[(table["role"] == "student") & (table["rule"] == "inner")].set_index("patient")
    assert sorted(wanted.index.str[:2].unique()) == ["B4"], "patient B alone is held out"
    command("export", "run", "--encoder", "encoder", "--out", "bundle", "--name", "spots-tissue",
            "--organ", "breast", "--fixture")  # fmt: skip
    assert open_bundle("bundle").manifest.status == "fixture"
    assert outputs_of("bundle", "B4-01-02") == pytest.approx(
        wanted.loc["B4-01-02", ["p0", "p1"]].tolist(), abs=1e-4
    )
    capsys.readouterr()
    assert node.main(["analyze", "slides/B4-01-02", "--bundle", "bundle", "--out", "answer"]) == 0
    assert list(Path("answer").rglob("report.html"))


def outputs_of(bundle: str, block: str) -> list[float]:
    """Both probabilities that the node tells of the slide of a block."""
    with open_runtime(open_bundle(bundle)) as runtime:
        found = predict(sorted(Path("slides", block).glob("*.dcm")), runtime)
    assert isinstance(found, Prediction)
    return list(found.probabilities["tissue"])
