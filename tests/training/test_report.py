from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from training_runs import (
    ages,
    published_predictions,
    write_published_run,
    write_run_json,
    write_unit,
)

from training.errors import TrainingError
from training.page.report import write_html, write_json
from training.scoring import metrics
from training.scoring.evaluate import Evaluation, evaluate
from training.scoring.metrics import Outcome
from training.scoring.naming import RowName
from training.scoring.places import Column
from training.scoring.runs import read

STUDENT, TWIN = RowName("ghanet", "student"), RowName("ghanet", "twin")
BLCA, LUAD = Column("official", "blca"), Column("official", "luad")
SEEDS = 2


@pytest.fixture(scope="module")
def published(shared: Path) -> pd.DataFrame:
    return published_predictions(shared)


@pytest.fixture(scope="module")
def runs(
    shared: Path, published: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """A distilled method on two cohorts, by site on one of them; a fold is unfinished."""
    folder = tmp_path_factory.mktemp("runs")
    years = ages(shared, "blca")
    made = [
        write_published_run(folder, published, "blca", seeds=SEEDS, ages=years),
        write_published_run(folder, published, "blca", kind="site", ages=years),
        write_published_run(folder, published, "luad", seeds=SEEDS),
    ]
    (made[2] / "fold4-seed1" / "unit.json").unlink()
    return made


@pytest.fixture(scope="module")
def evaluation(shared: Path, runs: list[Path]) -> Evaluation:
    return evaluate(runs, shared / "reference" / "published_results.csv")


@pytest.fixture(scope="module")
def page(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_html(evaluation, path)
    return path.read_text(encoding="utf-8")


def label_run(folder: Path, classes: int = 3, *, patients: int = 150, skill: float = 1.0) -> Path:
    """A run of a label task with a student, a worse twin and a random null."""
    rng = np.random.default_rng(4)
    path = folder / "mkd-brca"
    names = [f"class {at}" for at in range(classes)]
    write_run_json(
        path, method="mkd", cohort="brca", task="her2", kind="official", settings={},
        classes=names, patients=patients,
    )  # fmt: skip
    label = rng.integers(0, classes, patients)
    table = pd.DataFrame(
        {"survival_months": rng.exponential(20, patients), "event": rng.random(patients) < 0.5},
        index=[f"P{at:03}" for at in range(patients)],
    )
    for fold in range(5):
        rows = np.flatnonzero(np.arange(patients) % 5 == fold)
        parts = []
        for role, strength in (("student", 1.5), ("twin", 1.0), ("null", 0.0)):
            logits = rng.normal(size=(len(rows), classes))
            logits[np.arange(len(rows)), label[rows]] += strength * skill
            probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            for rule in ("inner", "last"):
                part = pd.DataFrame({"patient": table.index[rows], "role": role, "rule": rule})
                part[[f"p{at}" for at in range(classes)]] = probability
                part["time_months"], part["event"] = 0.0, 0
                part["label"] = label[rows]
                parts.append(part)
        outside = table.drop(table.index[rows])
        write_unit(path, fold, 0, pd.concat(parts), outside, {})
    return path


def rewrite(path: Path, change: object) -> None:
    """Applies `change` to the first predictions.csv of a run."""
    file = path / "fold0-seed0" / "predictions.csv"
    table = pd.read_csv(file, keep_default_na=False, na_values="")
    change(table).to_csv(file, index=False)  # type: ignore[operator]


def test_a_cell_is_the_mean_over_folds_of_the_mean_over_seeds(
    evaluation: Evaluation, runs: list[Path]
) -> None:
    [row] = [row for row in evaluation.tasks[0].rows if row.name == STUDENT]
    folds = []
    for fold in range(5):
        seeds = []
        for seed in range(SEEDS):
            file = runs[0] / f"fold{fold}-seed{seed}" / "predictions.csv"
            table = pd.read_csv(file).query("role == 'student' and rule == 'inner'")
            outcome = Outcome(table.time_months.to_numpy(), table.event.to_numpy() == 1)
            seeds.append(metrics.concordance(outcome, table.risk.to_numpy()))
        folds.append(np.mean(seeds))
    cell = row.cells["inner", BLCA]
    assert cell.value == pytest.approx(np.mean(folds), abs=1e-12)
    assert cell.sd == pytest.approx(np.std(folds), abs=1e-12)
    assert list(cell.folds.values()) == pytest.approx(folds)
    assert cell.low < cell.value < cell.high
    assert list(cell.seeds) == [0, 1]
    assert np.mean(list(cell.seeds.values())) == pytest.approx(cell.value)


def test_age_alone_scores_what_was_measured_on_these_patients(evaluation: Evaluation) -> None:
    """Age in the published bladder folds: 0.614 ± 0.034."""
    [row] = [row for row in evaluation.tasks[0].rows if row.name == RowName("", "age")]
    assert row.cells["inner", BLCA].value == pytest.approx(0.614, abs=0.002)


def test_roles_that_were_not_run_stay_in_the_table_and_say_so(
    evaluation: Evaluation, page: str
) -> None:
    [row] = [row for row in evaluation.tasks[0].rows if row.name == RowName("ghanet", "null")]
    assert not row.cells
    line = re.search(r"<tr><th scope=\"row\">ghanet: null.*?</tr>", page)
    assert line is not None
    assert line.group().count("not run") == 5
    assert "<td></td>" not in page


def test_a_role_called_null_is_read_as_a_role(tmp_path: Path, published: pd.DataFrame) -> None:
    path = write_published_run(
        tmp_path, published, "ucec", roles={"student": "PatchGCN", "null": "DSsm"}
    )
    _, units = read(path)
    assert ("null", "inner") in units[0].predictions


def test_an_unfinished_unit_is_not_read_and_the_report_says_so(
    evaluation: Evaluation, page: str
) -> None:
    assert any("fold4-seed1 is unfinished" in warning for warning in evaluation.warnings)
    assert any("fold 4 lacks seed 1" in warning for warning in evaluation.warnings)
    assert "fold4-seed1 is unfinished" in page
    [row] = [row for row in evaluation.tasks[0].rows if row.name == STUDENT]
    assert [unit.seed for unit in row.cells["inner", LUAD].units if unit.fold == 4] == [0]


def test_folds_that_nobody_fitted_are_counted_in_patients(
    tmp_path: Path, published: pd.DataFrame
) -> None:
    path = write_published_run(tmp_path, published, "blca")
    for fold in (3, 4):
        for file in (path / f"fold{fold}-seed0").iterdir():
            file.unlink()
        (path / f"fold{fold}-seed0").rmdir()
    found = evaluate([path])
    assert "224 of 371 patients are scored (folds 0, 1, 2)" in found.warnings[0]


def test_the_difference_to_the_twin_is_paired_on_the_same_patients(evaluation: Evaluation) -> None:
    report = evaluation.tasks[0]
    rows = {row.name: row for row in report.rows}
    [found] = [
        difference
        for difference in report.differences
        if (difference.first, difference.second, difference.rule, difference.column)
        == (STUDENT, TWIN, "inner", BLCA)
    ]
    student, twin = (rows[name].cells["inner", BLCA] for name in (STUDENT, TWIN))
    assert found.interval.value == pytest.approx(student.value - twin.value)
    assert found.interval.low < found.interval.value < found.interval.high
    unpaired = np.hypot(student.high - student.low, twin.high - twin.low)
    assert found.interval.high - found.interval.low < unpaired


def test_the_mean_over_cohorts_has_an_interval_of_its_own(evaluation: Evaluation) -> None:
    report = evaluation.tasks[0]
    [row] = [row for row in report.rows if row.name == STUDENT]
    mean = row.means["inner", "official"]
    cells = [row.cells["inner", column] for column in (BLCA, LUAD)]
    assert mean.cohorts == 2
    assert mean.interval.value == pytest.approx(np.mean([cell.value for cell in cells]))
    assert mean.interval.high - mean.interval.low < max(cell.high - cell.low for cell in cells)
    [age] = [row for row in report.rows if row.name == RowName("", "age")]
    assert ("inner", "official") not in age.means  # not run on one of the two cohorts


def test_official_and_site_folds_stand_side_by_side(evaluation: Evaluation, page: str) -> None:
    assert set(evaluation.tasks[0].columns) == {BLCA, LUAD, Column("site", "blca")}
    head = page[page.index("<thead>") : page.index("</thead>")]
    assert re.findall(r'<th scope="col">(official|by site)</th>', head) == [
        "official",
        "by site",
        "official",
    ]


def test_published_rows_carry_their_regime(evaluation: Evaluation) -> None:
    rows = {(row.method, row.regime): row for row in evaluation.tasks[0].published}
    patch_gcn = rows["Patch-GCN", "last epoch, skipped patients scored"]
    assert patch_gcn.values["blca"] == (0.5601, 0.034)
    assert ("MCAT", "last epoch") in rows
    assert ("MUST", "choice of epoch unknown") in rows


def test_the_page_needs_nothing_but_itself(page: str) -> None:
    class Sources(HTMLParser):
        found: list[str]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "link", "img", "iframe", "object")
            assert not [value for name, value in attrs if name in ("src", "href", "srcset")]

    Sources().feed(page)
    assert "url(" not in page
    assert "@import" not in page
    assert page.count("<svg") == page.count("</svg>") > 5
    assert "nan" not in re.sub(r"<[^>]*>", " ", page).lower().split()


def test_the_page_says_what_distillation_did(page: str) -> None:
    assert "student minus its undistilled twin" in page
    assert "contains 0: no effect of distillation is shown" in page


def test_the_json_holds_every_prediction_and_figure(
    evaluation: Evaluation, runs: list[Path], tmp_path: Path
) -> None:
    write_json(evaluation, tmp_path / "report.json")
    said = json.loads((tmp_path / "report.json").read_text())
    first = said["runs"][0]
    assert first["run"]["cohort"] == "blca"
    assert len(first["units"]) == 5 * SEEDS
    unit = first["units"][0]
    table = pd.read_csv(runs[0] / "fold0-seed0" / "predictions.csv")
    table = table.query("role == 'twin' and rule == 'last'").sort_values("patient")
    [twin] = [p["is"] for p in unit["predictions"] if p["at"] == ["twin", "last"]]
    assert unit["patients"] == table.patient.tolist()
    assert twin["risk"] == pytest.approx(table.risk.tolist(), rel=1e-5)
    assert len(twin["survival"]) == len(unit["patients"])
    row = next(r for r in said["tasks"][0]["rows"] if r["name"]["role"] == "genomic")
    assert row["cells"][0]["is"]["figures"]["brier"][0] is None  # a risk without a curve
    assert {"c_index", "uno", "auc_t", "brier"} == set(row["cells"][0]["is"]["units"][0]["figures"])


def test_a_label_task_is_scored_by_auc_and_calibration(tmp_path: Path) -> None:
    found = evaluate([label_run(tmp_path)])
    report = found.tasks[0]
    cells = {row.name.role: row.cells for row in report.rows if row.cells}
    at = ("inner", Column("official", "brca"))
    assert cells["student"][at].value > cells["twin"][at].value > 0.7
    assert cells["null"][at].low < 0.5 < cells["null"][at].high
    assert set(cells["student"][at].intervals) == set(metrics.CLASS_FIGURES)
    [focus] = report.focus
    assert focus.groups is None
    assert focus.calibration is not None
    assert focus.calibration.error < 0.2
    write_html(found, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "HER2: AUC" in page
    assert "expected calibration error" in page


def test_two_settings_of_one_method_get_rows_of_their_own(
    tmp_path: Path, published: pd.DataFrame
) -> None:
    made = [
        write_published_run(
            tmp_path / str(weight),
            published,
            "blca",
            roles={"student": "PatchGCN", "genomic": "SNN"},
            settings={"weight": weight, "lr": 0.1},
        )
        for weight in (0.3, 0.0)
    ]
    rows = evaluate(made).tasks[0].rows
    names = {row.name.method for row in rows}
    assert {"ghanet (weight=0.3)", "ghanet (weight=0.0)"} <= names
    genes = [row for row in rows if row.name.role == "genomic"]
    assert [row.name for row in genes] == [RowName("", "genomic")]  # the same floor, shown once
    with pytest.raises(TrainingError, match="second run of ghanet"):
        evaluate([made[0], made[0]])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda table: table.assign(risk=table.risk.where(table.index != 3)), "not numbers"),
        (lambda table: table.drop(columns="risk"), "no risk"),
        (lambda table: table.drop(columns="event"), "no column event"),
        (lambda table: table.drop(index=0), "other patients or outcomes"),
        (lambda table: pd.concat([table, table.head(1)]), "patient twice"),
        (lambda table: table.assign(time_months=-1.0), "negative"),
    ],
)
def test_broken_predictions_are_refused_with_a_sentence(
    tmp_path: Path, published: pd.DataFrame, change: object, sentence: str
) -> None:
    path = write_published_run(tmp_path, published, "blca")
    rewrite(path, change)
    with pytest.raises(TrainingError, match=sentence):
        read(path)


def test_a_patient_in_two_outer_folds_is_a_leak_and_refused(
    tmp_path: Path, published: pd.DataFrame
) -> None:
    path = write_published_run(tmp_path, published, "blca")
    other = pd.read_csv(path / "fold1-seed0" / "predictions.csv").patient[0]
    rewrite(
        path, lambda table: table.assign(patient=table.patient.replace(table.patient[0], other))
    )
    with pytest.raises(TrainingError, match="in outer folds 0 and 1"):
        read(path)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"run\.json"):
        evaluate([tmp_path])
