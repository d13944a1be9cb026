"""Two magnifications of a slide: from its pixels to the fitted student and to the node's answer."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from drawn_cohorts import GENES, command, draw_cohort, write_genes  # noqa: E402
from students import tiny_bundle  # noqa: E402

from dicom_node import cli as node  # noqa: E402
from dicom_node.demo.wsm import write_slide  # noqa: E402
from engines.bundle import open_bundle  # noqa: E402
from engines.runtime import open_runtime  # noqa: E402
from inference.phantom.draw import MPP, draw  # noqa: E402
from inference.predict import predict  # noqa: E402
from training.cohorts.cohort import load  # noqa: E402
from training.errors import TrainingError  # noqa: E402
from training.learning.split import prepare  # noqa: E402
from training.scoring.runs import read as read_run  # noqa: E402

QUICK = (
    "--epochs", 1, "--set", "twin_epochs=1", "--set", "teacher_epochs=1", "--set", "window=4",
    "--set", "cross_fit=0", "--set", "null=false",
)  # fmt: skip
TOLERANCE = 1e-4
"""A node's number may differ so much from the training's: what a graph may differ from its module
(learning/graphs.py). Bundles allow their engines 1e-3."""


# -- from pixels to the node


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Slides of 24 patients: three drawings, each turned and mirrored in its 8 ways."""
    work = tmp_path_factory.mktemp("site")
    rng, outcomes, rows = np.random.default_rng(0), [], []
    for at in range(24):
        if at % 8 == 0:
            drawing = draw(at, rows=1024, cols=1024).pixels
        turned = np.rot90(drawing[::-1] if at % 2 else drawing, at // 2 % 4)
        patient = f"TCGA-{10 + at % 12}-{at:04d}"
        pixels = np.ascontiguousarray(turned)
        write_slide(pixels, work / "slides" / patient, mpp=MPP, levels=3, seed=f"tests: {patient}")
        rows.append({"patient": patient, "slide": patient, "fold": (at % 2) * (1 + at // 2 % 4),
                     "file": f"features/mpp-0.5/{patient}.h5",
                     "coarse": f"features/mpp-1/{patient}.h5"})  # fmt: skip
        outcomes.append({"patient": patient, "event": int(at % 3 > 0), "age": 50 + at,
                         "time_months": round(float(rng.uniform(5, 90)), 2)})  # fmt: skip
    pd.DataFrame(rows).to_csv(work / "slides.csv", index=False)
    pd.DataFrame(outcomes).to_csv(work / "outcome.csv", index=False)
    write_genes(work / "rna.csv", [row["patient"] for row in rows], rng)
    tiny_bundle(work / "encoder")
    command("features", work / "slides", "--encoder", work / "encoder", "--out", work / "features",
            "--mpp", 0.5, 1)  # fmt: skip
    command("cohort", "build", "--name", "site", "--outcome", work / "outcome.csv", "--slides",
            work / "slides.csv", "--expression", work / "rna.csv", "--flag-confirmed",
            "--out", work / "cohort")  # fmt: skip
    command("fit", "disentangled", "--cohort", work / "cohort", "--out", work / "run",
            "--fold", 0, *QUICK)  # fmt: skip
    command("export", work / "run", "--encoder", work / "encoder", "--out", work / "bundle",
            "--name", "two-grids", "--fixture")  # fmt: skip
    return work


def said_in_training(site: Path) -> pd.Series:
    table = pd.read_csv(site / "run" / "fold0-seed0" / "predictions.csv")
    chosen = (table["role"] == "student") & (table["rule"] == "inner")
    return table[chosen].set_index("patient")["risk"]


def test_the_node_says_of_a_slide_what_training_said_of_it(site):
    wanted, found = said_in_training(site), {}
    assert len(wanted) >= 4
    assert wanted.std() > 10 * TOLERANCE, "all slides alike: nothing would be told apart"
    with open_runtime(open_bundle(site / "bundle")) as runtime:
        for patient in wanted.index:
            answer = predict(sorted((site / "slides" / patient).glob("*.dcm")), runtime)
            found[patient] = answer.scores["risk"]
    assert found == pytest.approx(wanted.to_dict(), abs=TOLERANCE)


def test_the_answer_hangs_on_the_coarser_tiles(site, tmp_path):
    """The same slide, its second grid read as that of another: the number must move."""
    risks = said_in_training(site)
    slides = [sorted((site / "slides" / patient).glob("*.dcm")) for patient in risks.index[:2]]
    kept = {}
    with open_runtime(open_bundle(site / "bundle")) as runtime:
        run = runtime.run

        def remembered(graph, arrays):
            if graph == "aggregator":
                kept.setdefault("coarse", arrays["features_coarse"])
                arrays = {**arrays, "features_coarse": kept["coarse"]}
            return run(graph, arrays)

        runtime.run = remembered
        first, second = (predict(paths, runtime).scores["risk"] for paths in slides)
    assert first == pytest.approx(risks.iloc[0], abs=TOLERANCE)
    assert abs(second - risks.iloc[1]) > 2 * TOLERANCE


def test_analyze_writes_the_report_of_a_student_of_two_magnifications(site, tmp_path, capsys):
    patient, risk = next(iter(said_in_training(site).items()))
    words = ["analyze", site / "slides" / patient, "--bundle", site / "bundle", "--out", tmp_path]
    assert node.main([str(word) for word in (*words, "--json")]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    rows = [row for group in answer["report"] for row in group["rows"]]
    said = next(float(row["value"]) for row in rows if row["name"] == "Risk score")
    assert said == pytest.approx(risk, abs=0.005)  # as the report rounds it
    assert Path(answer["page"]).is_file()


def test_the_bundle_asks_for_both_spacings_and_its_graph_takes_both_grids(site):
    manifest = open_bundle(site / "bundle").manifest
    assert (manifest.input.mpp, manifest.input.coarse_mpp) == (0.5, 1.0)
    inputs = manifest.graphs["aggregator"].inputs
    assert {t.name: t.shape for t in inputs} == {
        "features": ("N", 3), "features_coarse": ("M", 3)
    }  # fmt: skip
    (attention,) = manifest.heatmaps[:1]
    assert "the map shows the finer" in attention.description
    card = (site / "bundle" / "card.md").read_text()
    assert "reads two magnifications of a slide, 0.5 and 1 um a pixel" in card
    run = json.loads((site / "run" / "run.json").read_text())
    assert run["second_magnification"] == "read"
    assert [made["mpp"] for made in run["second_features"]] == [1.0]


def test_a_cohort_holds_the_cells_that_features_wrote_at_each_magnification(site, capsys):
    cohort = load(str(site / "cohort"), site)
    patient = cohort.patients.index[3]
    for mpp, bags in (("0.5", cohort.bags), ("1", cohort.second.bags)):
        with h5py.File(site / "features" / f"mpp-{mpp}" / f"{patient}.h5") as file:
            assert np.array_equal(bags[patient], file["feats"][:])
    command("cohort", "show", site / "cohort")
    assert "two magnifications, 0.5 and 1 um per pixel" in capsys.readouterr().out


def test_a_method_of_one_magnification_reads_the_finer_and_is_exported_for_it(site, capsys):
    """Behind a student of two magnifications: its second grid is not cut for one that reads one."""
    command("fit", "meanpool", "--cohort", site / "cohort", "--out", site / "one", "--fold", 0,
            "--epochs", 1)  # fmt: skip
    assert json.loads((site / "one" / "run.json").read_text())["second_magnification"] == "unread"
    command("export", site / "one", "--encoder", site / "bundle", "--out", site / "bundle-one",
            "--name", "one-grid")  # fmt: skip
    manifest = open_bundle(site / "bundle-one").manifest
    assert manifest.input.coarse_mpp is None
    assert [t.name for t in manifest.graphs["aggregator"].inputs] == ["features"]
    command("evaluate", site / "run", site / "one", "--html", site / "report.html")
    page = (site / "report.html").read_text()
    assert "two, both read" in page
    assert "two; the second is not read" in page
    assert "derived" not in page


# -- what is refused


def built(site: Path, folder: Path, change, status: int = 3) -> None:
    """`cohort build` of the site's tables after `change` of the slide table."""
    shutil.copy(site / "outcome.csv", folder)
    table = pd.read_csv(site / "slides.csv")
    for column in ("file", "coarse"):
        table[column] = [str(site / name) for name in table[column]]
    table = change(table)
    table.to_csv(folder / "slides.csv", index=False)
    command("cohort", "build", "--name", "x", "--outcome", folder / "outcome.csv", "--slides",
            folder / "slides.csv", "--flag-confirmed", "--out", folder / "cohort",
            status=status)  # fmt: skip


def exchanged(table):
    return table.rename(columns={"file": "coarse", "coarse": "file"})


def of_another_slide(table):
    return table.assign(coarse=[*table["coarse"][1:], table["coarse"][0]])


def without_one(table):
    return table.assign(coarse=[None, *table["coarse"][1:]])


def twice_the_first(table):
    return table.assign(coarse=table["file"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (exchanged, "found 1 um per pixel in the column file and 0.5 in coarse"),
        (of_another_slide, "found slide contents"),
        (without_one, "found no second magnification for 1 of 24 slides, the first TCGA-10-0000"),
        (twice_the_first, "found 0.5 um per pixel in the column file and 0.5 in coarse"),
    ],
)
def test_files_that_are_no_two_grids_of_one_slide_are_refused(
    site, tmp_path, capsys, change, sentence
):
    built(site, tmp_path, change)
    assert sentence in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("attribute", "value", "sentence"),
    [
        ("encoder_digest", "other", "found encoder"),
        ("patch_size_level0", 96, "found grids of 32 and 96 pixels"),
        ("mpp", None, "do not say their magnification"),
    ],
)
def test_a_second_file_of_another_encoder_or_grid_or_that_says_nothing_is_refused(
    site, tmp_path, capsys, attribute, value, sentence
):
    def changed(table):
        copy = Path(shutil.copy(table["coarse"][0], tmp_path / "coarse.h5"))
        with h5py.File(copy, "r+") as file:
            if value is None:
                del file.attrs[attribute]
            else:
                file.attrs[attribute] = value
        return table.assign(coarse=[str(copy), *table["coarse"][1:]])

    built(site, tmp_path, changed)
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_a_slide_whose_second_file_is_lost_is_left_out_and_counted(site, tmp_path, capsys):
    def lost(table):
        return table.assign(coarse=[str(tmp_path / "gone.h5"), *table["coarse"][1:]])

    built(site, tmp_path, lost, status=0)
    told = capsys.readouterr().out
    assert "1 more have no file of the second magnification" in told
    assert "1 patients, no features: TCGA-10-0000" in told


def test_a_cohort_whose_second_files_changed_is_found_when_it_is_loaded(site, tmp_path):
    def copied(table):
        copy = shutil.copy(table["coarse"][0], tmp_path / "coarse.h5")
        return table.assign(coarse=[str(copy), *table["coarse"][1:]])

    built(site, tmp_path, copied, status=0)
    assert load(str(tmp_path / "cohort"), tmp_path).second is not None
    with h5py.File(tmp_path / "coarse.h5", "r+") as file:
        file["feats"][0] = 0.5
    with pytest.raises(TrainingError, match="found other content"):
        load(str(tmp_path / "cohort"), tmp_path)


# -- one magnification, and several slides


def test_tiles_of_one_magnification_are_refused_where_a_second_can_be_cut(tmp_path, capsys):
    cohort = draw_cohort(tmp_path, "default", patients=20, genes=True)
    command("fit", "disentangled", "--cohort", cohort, "--out", tmp_path / "run", "--fold", 0,
            *QUICK, status=3)  # fmt: skip
    told = " ".join(capsys.readouterr().err.split())
    assert "found tiles of 224 px at 0.5 um per pixel alone in drawn" in told
    assert "features --mpp 0.5 1" in told
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_derived_second_magnification_of_regions_is_named_in_run_report_and_card(
    tmp_path, capsys
):
    cohort = draw_cohort(tmp_path, "default", patients=40, genes=True, tile_px=4096)
    command("fit", "disentangled", "--cohort", cohort, "--out", tmp_path / "run", "--fold", 0,
            *QUICK)  # fmt: skip
    assert json.loads((tmp_path / "run" / "run.json").read_text())["second_magnification"] == (
        "derived"
    )
    capsys.readouterr()
    command("evaluate", tmp_path / "run", "--html", tmp_path / "report.html")
    assert "its second magnification is derived from the first" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert "one; the second is derived from it" in page
    assert "it holds nothing that the first does not" in page

    from training.bundle.card import card
    from training.bundle.export import Request, student_of

    student = student_of(Request(tmp_path / "run", "default", tmp_path / "out", "x"))
    assert "the second is derived from the first" in card(student, "x")


def test_a_patients_slides_stay_together_at_both_magnifications(tmp_path):
    drawn = draw_cohort(tmp_path, "default", patients=20, slides=2, second=True)
    cohort = load(str(drawn), tmp_path)
    split = prepare(cohort, "official", 0, second=True)
    part = split.test.subset([2, 0])
    assert part.slides == ((12, 12), (12, 12))
    assert part.coarse_slides == ((3, 3), (3, 3))
    listed = cohort.slides.set_index("patient").loc[part.ids[0]]
    for (fine, coarse), (first, second) in zip(part.first_slides(), part.shown, strict=True):
        assert (len(fine), len(coarse)) == (12, 3)
        assert torch.equal(first[:12], fine)
        assert torch.equal(second[:3], coarse)
    with h5py.File(listed["coarse"].iloc[0]) as file:
        assert np.array_equal(part.first_slides()[0][1].numpy(), file["feats"][:])
    assert prepare(cohort, "official", 0).test.coarse is None
    batch = part.batch([1])
    assert torch.equal(batch.coarse[0], part.coarse[1])
    assert batch.coarse_counts.tolist() == [6]


def test_a_student_of_everybody_reads_both_magnifications_too(tmp_path):
    cohort = draw_cohort(tmp_path, "default", patients=40, genes=True, second=True)
    command("fit", "disentangled", "--cohort", cohort, "--out", tmp_path / "run", "--all", *QUICK)
    command("export", tmp_path / "run", "--encoder", "default", "--all", "--fixture", "--out",
            tmp_path / "bundle", "--name", "two-of-all")  # fmt: skip
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert manifest.input.coarse_mpp == 2 * manifest.input.mpp
    assert "features_coarse" in {t.name for t in manifest.graphs["aggregator"].inputs}
    card = (tmp_path / "bundle" / "card.md").read_text()
    assert "fitted after that on everybody, 40 patients" in card
    assert "reads two magnifications" in card


def test_a_second_file_of_other_features_than_the_run_says_is_not_exported(tmp_path, capsys):
    cohort = draw_cohort(tmp_path, "default", patients=40, genes=True, second=True, slides=2)
    command("fit", "disentangled", "--cohort", cohort, "--out", tmp_path / "run", "--fold", 0,
            *QUICK)  # fmt: skip
    run, (unit,) = read_run(tmp_path / "run")
    assert run.second == "read"
    assert ("one_slide", "inner") in unit.predictions
    said = json.loads((tmp_path / "run" / "run.json").read_text())
    said["second_features"][0]["encoder"] = "0" * 64
    (tmp_path / "run" / "run.json").write_text(json.dumps(said))
    command("export", tmp_path / "run", "--encoder", "default", "--out", tmp_path / "bundle",
            "--name", "x", status=3)  # fmt: skip
    assert "found features of encoder 0000" in " ".join(capsys.readouterr().err.split())


def test_the_genes_of_drawn_cohorts_are_of_both_subspaces():
    from training.methods.disentangled.genes import subspaces

    found = subspaces([f"{gene}_rnaseq" for gene in GENES], (), "signatures")
    assert [len(part) for part in found] == [4, 4]


def test_a_step_of_training_draws_instances_of_each_magnification(tmp_path):
    from training_patients import drawn

    from training.learning.journal import Journal
    from training.learning.loop import Schedule, _Run

    patients = drawn(6)
    coarse = tuple(torch.arange(40.0).reshape(20, 2) for _ in range(6))
    patients = dataclasses.replace(patients, coarse=coarse)
    schedule = Schedule(epochs=1, lr=1e-3, weight_decay=0.0, window=3, max_instances=5)
    with Journal(tmp_path) as journal:
        run = _Run("x", torch.nn.Linear(2, 2), patients, schedule, 0, journal)
        batch = run.batch(torch.tensor([4, 1, 2]))
    assert batch.coarse_counts.tolist() == [5, 5, 5]
    assert batch.coarse.shape == (3, 5, 2)
    drawn_rows = batch.coarse[:, :, 0] / 2
    assert bool((drawn_rows.diff(dim=1) > 0).all())
    assert not torch.equal(batch.coarse[0], batch.coarse[1])
