"""The figure that an exported student carries is its own, recomputed from the predictions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from sksurv.metrics import concordance_index_censored  # noqa: E402
from training_patients import split  # noqa: E402

from engines.bundle import open_bundle  # noqa: E402
from training.bundle.export import Request, export  # noqa: E402
from training.learning.journal import Journal  # noqa: E402
from training.methods.baselines import method as baselines  # noqa: E402
from training.runs.references import references  # noqa: E402
from training.runs.units import Unit, write_json, write_unit  # noqa: E402


@pytest.fixture(scope="module")
def encoder():
    return open_bundle("default")


@pytest.fixture(scope="module")
def run(encoder, tmp_path_factory):
    """One finished unit of a baseline whose name comes after "clinical", on noise; the clinic of
    its patients tells the outcome."""
    run = tmp_path_factory.mktemp("run")
    width = next(t.shape[-1] for t in encoder.manifest.graphs["encoder"].outputs
                 if t.name == "features")  # fmt: skip
    draw = torch.Generator().manual_seed(0)

    def blind(part):
        return replace(part, bags=tuple(torch.randn(5, width, generator=draw) for _ in part.bags))

    given = split()
    given = replace(given, **{at: blind(getattr(given, at)) for at in ("train", "valid", "test")})
    with Journal(run / "fold0-seed0") as journal:
        found = baselines.fit("meanpool", given, baselines.Settings(epochs=2), 0, journal)
        beside = references(given, found, 0, journal)
        write_unit(Unit(run, 0, 0), given, beside | found.scores, found, 0.0)
    graph = encoder.manifest.graphs["encoder"]
    made = {
        "encoder": hashlib.sha256(encoder.file(graph.file).read_bytes()).hexdigest(),
        "mpp": encoder.manifest.input.mpp,
        "tile_px": encoder.manifest.input.tile_px,
    }
    write_json(
        run / "run.json",
        {
            "method": "meanpool", "cohort": "drawn", "cohort_digest": "0" * 64, "task": "os",
            "classes": [], "kind": "official", "settings": {}, "epochs": 2,
            "patients": len(given.test), "dropped": {}, "features": [made], "seeds": [0],
            "versions": {},
        },
    )  # fmt: skip
    return run


def figures(run):
    """C-index of each role by scikit-survival."""
    table = pd.read_csv(run / "fold0-seed0" / "predictions.csv")
    table = table[table["rule"] == "inner"]
    return {
        role: concordance_index_censored(
            part["event"].to_numpy() > 0, part["time_months"], part["risk"]
        )[0]
        for role, part in table.groupby("role")
    }


@pytest.mark.parametrize("says_its_role", [True, False])
def test_card_and_manifest_state_the_figure_of_the_student_and_of_nothing_beside_it(
    run, tmp_path, says_its_role
):
    if not says_its_role:  # a run fitted before units said which role is exported
        unit = json.loads((run / "fold0-seed0" / "unit.json").read_text())
        unit.pop("student_role", None)
        write_json(run / "fold0-seed0" / "unit.json", unit)
    out = export(Request(run, "default", tmp_path / "bundle", "noise"))
    true = figures(run)
    assert true["clinical"] > true["meanpool"] + 0.15
    (row,) = json.loads((out / "manifest.json").read_text())["performance"]
    assert row["value"] == pytest.approx(true["meanpool"], abs=1e-4)
    assert f": {true['meanpool']:.3f} (95 %" in (out / "card.md").read_text()


def test_the_percentiles_of_the_manifest_are_those_of_the_scored_risks(run, tmp_path):
    out = export(Request(run, "default", tmp_path / "bundle", "noise"))
    table = pd.read_csv(run / "fold0-seed0" / "predictions.csv")
    mine = table[(table["role"] == "meanpool") & (table["rule"] == "inner")]["risk"]
    (score,) = open_bundle(str(out)).manifest.scores
    assert score.percentiles == pytest.approx(np.percentile(mine, np.arange(101)), abs=1e-6)
