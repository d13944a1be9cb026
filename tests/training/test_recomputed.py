"""Every figure of a report once more, from predictions.csv alone, by scikit-survival and -learn.

Nothing of `training.scoring` is asked but for the report itself; the redrawn patients are drawn
again here from the seeds that the report states in its sources.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from recomputed import (
    check,
    class_figures,
    mean_over_folds,
    pooled_c_index,
    redrawn,
    redrawn_fast,
    redrawn_naming,
    survival_figures,
    units,
)
from sksurv.compare import compare_survival
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv
from training_runs import role_frame, survival_of, write_run_json, write_unit

from training.page import terminal
from training.page.report import write_html, write_json
from training.scoring.evaluate import evaluate
from training.scoring.places import Column

FOLDS, SEEDS, PATIENTS = 2, 2, 70
ROLES = {"student": 1.2, "twin": 0.8, "clinical": 1.5}
CLASSES = ["low", "middle", "high"]
Table = pd.DataFrame


def survival_run(folder: Path, cohort: str, draw: int) -> Path:
    rng = np.random.default_rng(draw)
    path = folder / cohort
    write_run_json(path, method="ghanet", cohort=cohort, kind="site", seeds=SEEDS, settings={},
                   patients=PATIENTS)  # fmt: skip
    truth = rng.normal(size=PATIENTS)
    death, visit = rng.exponential(30 * np.exp(-truth)), rng.uniform(10, 90, PATIENTS)
    patients = pd.DataFrame(
        {
            "survival_months": np.round(np.minimum(death, visit) + 0.5, 1),
            "event": death <= visit,
            "fold": np.arange(PATIENTS) % FOLDS,
        },
        index=[f"{cohort}{at:02d}" for at in range(PATIENTS)],
    )
    for fold in range(FOLDS):
        inside = patients["fold"] == fold
        for seed in range(SEEDS):
            parts = []
            for role, skill in ROLES.items():
                noise = rng.normal(size=inside.sum())
                risk = -4 / (1 + np.exp(skill * truth[inside] + noise))
                curve = None if role == "clinical" else survival_of(risk)
                parts.append(role_frame(patients[inside], role, risk, curve))
            write_unit(path, fold, seed, pd.concat(parts), patients[~inside], {"r": 0.5})
    return path


def class_run(folder: Path, classes: int) -> Path:
    rng = np.random.default_rng(classes)
    names = CLASSES[:classes]
    path = folder / f"label{classes}"
    write_run_json(path, method="mkd", cohort="brca", task=f"kind{classes}", kind="official",
                   settings={}, classes=names, patients=PATIENTS)  # fmt: skip
    label = np.arange(PATIENTS) // FOLDS % classes
    outside = pd.DataFrame({"survival_months": rng.exponential(20, 40), "event": True})
    for fold in range(FOLDS):
        rows = np.flatnonzero(np.arange(PATIENTS) % FOLDS == fold)
        parts = []
        for role, skill in (("student", 1.5), ("twin", 0.7)):
            logits = rng.normal(size=(len(rows), classes))
            logits[np.arange(len(rows)), label[rows]] += skill
            chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            for rule in ("inner", "last"):
                part = pd.DataFrame({"patient": [f"P{at:02d}" for at in rows], "role": role,
                                     "rule": rule})  # fmt: skip
                part[[f"p{at}" for at in range(classes)]] = chance
                part["time_months"], part["event"], part["label"] = 0.0, 0, label[rows]
                parts.append(part)
        write_unit(path, fold, 0, pd.concat(parts), outside, {})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def paths(folder: Path) -> dict[str, Path]:
    made = {cohort: survival_run(folder, cohort, at) for at, cohort in enumerate(("one", "two"))}
    return made | {f"label{classes}": class_run(folder, classes) for classes in (2, 3)}


@pytest.fixture(scope="module")
def report(paths: dict[str, Path], folder: Path) -> dict[str, Any]:
    evaluation = evaluate(list(paths.values()))
    write_json(evaluation, folder / "report.json")
    (folder / "report.txt").write_text(terminal.text(evaluation))
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def task(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for one in report["tasks"] if one["task"] == name]
    return found  # type: ignore[no-any-return]


def cells(one: dict[str, Any], role: str, rule: str) -> dict[str, Any]:
    """Cohort -> cell of a row of the report."""
    (row,) = [row for row in one["rows"] if row["name"]["role"] == role]
    return {at["at"][1]["cohort"]: at["is"] for at in row["cells"] if at["at"][0] == rule}


@pytest.mark.parametrize("rule", ["inner", "last"])
@pytest.mark.parametrize("role", ROLES)
def test_every_survival_figure_is_recomputed(
    report: dict[str, Any], paths: dict[str, Path], role: str, rule: str
) -> None:
    for cohort in ("one", "two"):
        cell = cells(task(report, "os"), role, rule)[cohort]
        found = units(paths[cohort], role, rule)
        all_figures = {at: survival_figures(*given) for at, given in found.items()}
        names = {name for figures in all_figures.values() for name in figures}
        assert names == set(cell["figures"]) - (set() if role != "clinical" else {"brier"})
        for name in names:
            values = {at: figures[name] for at, figures in all_figures.items()}
            assert cell["figures"][name] == pytest.approx(mean_over_folds(values), abs=2e-6), name
        assert cell["value"] == pytest.approx(cell["figures"]["c_index"][0])
        for unit in cell["units"]:
            mine = all_figures[unit["fold"], unit["seed"]]
            for name, value in mine.items():
                assert unit["figures"][name] == pytest.approx(value, abs=2e-6)
        assert cell["events"] == sum(part["event"].sum() for (_, seed), (part, *_)
                                     in found.items() if seed == 0)  # fmt: skip
        pooled = [
            pooled_c_index(pd.concat([part for (_, at), (part, *_) in found.items() if at == seed]))
            for seed in range(SEEDS)
        ]
        assert cell["pooled"] == pytest.approx(np.mean(pooled), abs=2e-6)


def test_intervals_and_differences_are_those_of_explicitly_redrawn_patients(
    report: dict[str, Any], paths: dict[str, Path]
) -> None:
    one = task(report, "os")
    draws = {(c, role): redrawn(units(paths[c], role, "inner"))
             for c in ("one", "two") for role in ("student", "twin")}  # fmt: skip
    for (cohort, role), drawn in draws.items():
        assert redrawn_fast(units(paths[cohort], role, "inner"), 0) == pytest.approx(drawn)
        cell = cells(one, role, "inner")[cohort]
        ends = np.quantile(drawn, [0.025, 0.975])
        assert [cell["low"], cell["high"]] == pytest.approx(ends, abs=1e-5)
    gains = {c: draws[c, "student"] - draws[c, "twin"] for c in ("one", "two")}
    gains["mean"] = (gains["one"] + gains["two"]) / 2
    seen = set()
    for found in one["differences"]:
        if found["second"]["role"] != "twin" or found["rule"] != "inner":
            continue
        cohort = "mean" if found["column"] is None else found["column"]["cohort"]
        ends = np.quantile(gains[cohort], [0.025, 0.975])
        interval = found["interval"]
        assert [interval["low"], interval["high"]] == pytest.approx(ends, abs=1e-5)
        value = [cells(one, r, "inner")[c]["value"] for r in ("student", "twin")
                 for c in (("one", "two") if cohort == "mean" else (cohort,))]  # fmt: skip
        half = len(value) // 2
        gain = np.mean(value[:half]) - np.mean(value[half:])
        assert interval["value"] == pytest.approx(gain, abs=2e-6)
        seen.add(cohort)
    assert seen == {"one", "two", "mean"}


@pytest.mark.parametrize("classes", [2, 3])
def test_every_figure_of_a_label_task_is_recomputed(
    report: dict[str, Any], paths: dict[str, Path], classes: int
) -> None:
    one = task(report, f"kind{classes}")
    for role in ("student", "twin"):
        found = units(paths[f"label{classes}"], role, "inner")
        all_figures = {at: class_figures(part, classes) for at, (part, *_) in found.items()}
        cell = cells(one, role, "inner")["brca"]
        assert set(cell["figures"]) == set(next(iter(all_figures.values())))
        for name, stated in cell["figures"].items():
            values = {at: figures[name] for at, figures in all_figures.items()}
            assert stated == pytest.approx(mean_over_folds(values), abs=2e-6), name
    (student,) = [at for at in one["focus"] if at["row"].endswith("student")]
    together = pd.concat([part for part, *_ in units(paths[f"label{classes}"], "student", "inner")
                          .values()])  # fmt: skip
    chance = together[[f"p{at}" for at in range(classes)]].to_numpy()
    if classes == 2:
        score, right = chance[:, 1], together["label"].to_numpy() == 1
    else:
        score, right = chance.max(axis=1), chance.argmax(axis=1) == together["label"].to_numpy()
    bins = pd.cut(score, np.linspace(0, 1, 11), right=False, include_lowest=True, labels=False)
    error = sum(
        abs(score[bins == at].mean() - right[bins == at].mean()) * (bins == at).mean()
        for at in np.unique(bins)
    )
    assert student["calibration"]["error"] == pytest.approx(error, abs=2e-6)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("classes", [2, 3])
def test_intervals_of_balanced_accuracy_and_kappa_are_those_of_redrawn_patients(
    report: dict[str, Any], paths: dict[str, Path], classes: int, folder: Path
) -> None:
    said = " ".join((folder / "report.txt").read_text().split())
    cell = cells(task(report, f"kind{classes}"), "student", "inner")["brca"]
    drawn = redrawn_naming(units(paths[f"label{classes}"], "student", "inner"), classes)
    for name, values in drawn.items():
        ends = np.quantile(values, [0.025, 0.975])
        assert cell["intervals"][name] == pytest.approx(list(ends), abs=1e-5), name
        low, high = cell["intervals"][name]
        assert low < cell["figures"][name][0] < high
        assert f"{cell['figures'][name][0]:.3f} ({low:.3f} to {high:.3f})" in said


def test_the_page_shows_balanced_accuracy_and_kappa_with_their_intervals(
    report: dict[str, Any], paths: dict[str, Path], tmp_path: Path
) -> None:
    write_html(evaluate([paths["label3"]]), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    cell = cells(task(report, "kind3"), "twin", "inner")["brca"]
    for name, title in (("balanced_accuracy", "Balanced accuracy"), ("kappa", "Cohen’s kappa")):
        (mean, sd), (low, high) = cell["figures"][name], cell["intervals"][name]
        section = page.partition(f"<h3>{title}</h3>")[2].partition("</section>")[0]
        told = f"{mean:.3f}<small>±{sd:.3f}</small><small>{low:.3f} to {high:.3f}</small>"
        assert told in section, name


def test_risk_groups_and_calibration_of_survival_are_recomputed(
    report: dict[str, Any], paths: dict[str, Path]
) -> None:
    for focus in task(report, "os")["focus"]:
        found = units(paths[focus["cohort"]], "student", "inner")
        months = np.median([edges[2] for _, _, edges in found.values()])
        event, time, high, alive = [], [], [], []
        for fold in range(FOLDS):
            parts = [given for (at, _), given in found.items() if at == fold]
            risk = np.mean([part["risk"].to_numpy() for part, *_ in parts], axis=0)
            high.append(risk > np.median(risk))
            alive.append(np.mean([
                [np.interp(months, [0, *edges[1:]], [1, *curve])
                 for curve in part[["s1", "s2", "s3", "s4"]].to_numpy()]
                for part, _, edges in parts
            ], axis=0))  # fmt: skip
            event.append(parts[0][0]["event"].to_numpy() > 0)
            time.append(parts[0][0]["time_months"].to_numpy())
        outcome = Surv.from_arrays(np.concatenate(event), np.concatenate(time))
        upper, said = np.concatenate(high), np.concatenate(alive)
        assert focus["groups"]["logrank_p"] == pytest.approx(
            compare_survival(outcome, upper)[1], rel=1e-4
        )
        assert focus["groups"]["high"]["patients"] == upper.sum()
        far, sizes = [], []
        for rows in np.array_split(np.argsort(said, kind="stable"), 5):
            times, curve = kaplan_meier_estimator(outcome["event"][rows], outcome["time"][rows])
            if times[-1] < months and curve[-1] > 0:
                continue
            seen = curve[times <= months][-1] if (times <= months).any() else 1.0
            far.append(abs(said[rows].mean() - seen))
            sizes.append(len(rows))
        assert focus["calibration"]["error"] == pytest.approx(
            np.average(far, weights=sizes), abs=2e-6
        )


def test_the_terminal_shows_the_figures_of_the_report(
    report: dict[str, Any], paths: dict[str, Path], folder: Path
) -> None:
    said = (folder / "report.txt").read_text()
    for cohort in ("one", "two"):
        for role in ROLES:
            assert f"{cells(task(report, 'os'), role, 'inner')[cohort]['value']:.3f} ±" in said
    assert "student minus twin, mean, folds by site" in said
    assert "kind3: AUC" in said


def test_one_fold_has_no_deviation_and_the_report_says_that_it_is_one(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(paths["label2"], run)
    for unit in run.glob("fold[1-9]-*"):
        shutil.rmtree(unit)
    evaluation = evaluate([run])
    write_html(evaluation, tmp_path / "report.html")
    for said in (terminal.text(evaluation), (tmp_path / "report.html").read_text()):
        assert "one fold" in said
        assert "±0.000" not in said.replace(" ", "")


def test_a_report_says_how_many_patients_the_roles_with_genes_see_at_the_mean(
    tmp_path: Path,
) -> None:
    path = survival_run(tmp_path, "one", 0)
    for place in sorted(path.glob("fold*")):
        said = json.loads((place / "unit.json").read_text())
        said["scored_without_genes"] = 3 + said["fold"]
        (place / "unit.json").write_text(json.dumps(said))
    (warning,) = evaluate([path]).warnings
    assert "7 of 70 scored patients have no genes" in warning


def test_a_fold_without_a_class_is_told_with_what_its_figures_are_means_of(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    assert not evaluate([paths["label3"]]).warnings
    run, figures = shutil.copytree(paths["label3"], tmp_path / "run"), {}
    for fold in range(FOLDS):
        file = run / f"fold{fold}-seed0" / "predictions.csv"
        table = pd.read_csv(file)
        table[table["label"] != 2].to_csv(file, index=False) if fold == 1 else None
        part = pd.read_csv(file).query("role == 'student' and rule == 'inner'")
        guess = part[["p0", "p1", "p2"]].to_numpy().argmax(axis=1)
        shares = [np.mean(guess[part["label"] == at] == at) for at in sorted(set(part["label"]))]
        figures[fold] = np.mean(shares)
        assert len(shares) == (2 if fold == 1 else 3)
    restated(run, patients=None)
    found = evaluate([run])
    (row,) = [row for row in found.tasks[0].rows if row.name.role == "student"]
    cell = row.cells["inner", Column("official", "brca")]
    stated = {unit.fold: unit.figures["balanced_accuracy"] for unit in cell.units}
    assert stated == pytest.approx(figures)
    (warning,) = found.warnings
    assert "fold 1 holds nobody of class high; its AUC, average precision, balanced acc" in warning
    assert "means over 2 of 3 classes (balanced accuracy without skill is 0.50 there, not 0.33)" \
        in warning  # fmt: skip
    write_html(found, tmp_path / "page.html")
    write_json(found, tmp_path / "report.json")
    assert "fold 1 holds nobody of class high" in (tmp_path / "page.html").read_text()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["warnings"] == [warning]
    check(report, [run])


def test_a_fold_of_one_class_alone_is_undefined_and_told_once(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    run = shutil.copytree(paths["label3"], tmp_path / "run")
    file = run / "fold1-seed0" / "predictions.csv"
    pd.read_csv(file).query("label == 0").to_csv(file, index=False)
    (warning,) = evaluate([restated(run, patients=None)]).warnings
    assert "fold 1 holds one class alone; its figure is undefined" in warning


def restated(run: Path, **said: object) -> Path:
    """A run whose run.json says something else."""
    content = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(content | said))
    return run


def students(runs: list[Path]) -> dict[str, tuple[set[str], float | None]]:
    """Method of each row of a student -> its cohorts and its mean over cohorts."""
    rows = [row for row in evaluate(runs).tasks[0].rows if row.name.role == "student"]
    return {
        row.name.method: (
            {at.cohort for _, at in row.cells},
            row.means["inner", "site"].interval.value if row.means else None,
        )
        for row in rows
    }


def test_runs_of_unlike_settings_are_no_row_together_on_whatever_cohorts(tmp_path: Path) -> None:
    made = [survival_run(tmp_path, cohort, at) for at, cohort in enumerate(("one", "two"))]
    cells = [
        row.cells["inner", Column("site", path.name)].value
        for path in made
        for row in evaluate([path]).tasks[0].rows
        if row.name.role == "student"
    ]
    alike = students(made)
    assert alike == {"ghanet": ({"one", "two"}, pytest.approx(np.mean(cells)))}
    assert not evaluate(made).warnings
    restated(made[0], settings={"epochs": 0, "members": 1})
    restated(made[1], settings={"epochs": 2, "members": 1})
    assert students(made) == {"ghanet (epochs=0)": ({"one"}, None),
                              "ghanet (epochs=2)": ({"two"}, None)}  # fmt: skip
    found = evaluate(made)
    assert not [one for one in found.tasks[0].differences if one.column is None]
    write_json(found, tmp_path / "report.json")
    check(json.loads((tmp_path / "report.json").read_text()), made, intervals=False)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"settings": {"extended": True}}, "patients beside the cohort who taught differ between "
         "the cohorts of the row (some on one; none on two)"),
        ({"settings": {"pan": "one 12, x 34"}}, "(one 12, x 34 on one; one alone on two)"),
        ({"features": [{"encoder": "f0" * 32, "mpp": 0.5, "tile_px": 224}]},
         "encoders differ between the cohorts of the row (f0f0f0f0f0f0 at 0.5 um/px on one; "
         "abababababab at 0.25 um/px on two)"),
        ({"second_magnification": "derived"}, "(derived on one; read on two)"),
    ],
)  # fmt: skip
def test_what_else_is_unlike_between_the_cohorts_of_a_row_is_told(
    said: dict[str, object], words: str, tmp_path: Path
) -> None:
    first, second = (survival_run(tmp_path, name, at) for at, name in enumerate(("one", "two")))
    restated(second, second_magnification="read",
             features=[{"encoder": "ab" * 32, "mpp": 0.25, "tile_px": 224}])  # fmt: skip
    restated(first, **said)
    (warning,) = evaluate([first, second]).warnings
    assert words in warning
    assert warning.startswith("ghanet (os, site folds): ")
    assert list(students([first, second])) == ["ghanet"]
    write_html(evaluate([first, second]), tmp_path / "page.html")
    assert words in (tmp_path / "page.html").read_text()


def test_every_run_keeps_its_own_line_of_facts_and_of_warnings(tmp_path: Path) -> None:
    made = []
    for at, epochs in enumerate((0, 6)):
        run = restated(survival_run(tmp_path / str(epochs), "one", 0), settings={"epochs": epochs})
        for place in sorted(run.glob("fold*")):
            said = json.loads((place / "unit.json").read_text())
            said["facts"] = {"teacher_correlation": 0.1 + at + 0.02 * said["fold"]}
            said["scored_without_genes"] = 3 + at
            (place / "unit.json").write_text(json.dumps(said))
        made.append(run)
    found = evaluate(made)
    assert {fact.method: round(fact.mean, 6) for fact in found.tasks[0].facts} == {
        "ghanet (epochs=0)": 0.11, "ghanet (epochs=6)": 1.11}  # fmt: skip
    write_html(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    table = page[page.index("Predicted and true genomic risk") :].partition("</table>")[0]
    assert re.findall(r'row">(ghanet[^<]*)<.*?<td>([.\d]*)<', table) == [
        ("ghanet (epochs=0)", "0.110"), ("ghanet (epochs=6)", "1.110")]  # fmt: skip
    for run, blank in ((0, 6), (6, 8)):
        assert any(f"ghanet (epochs={run}) on one" in line and f"{blank} of 70" in line
                   for line in found.warnings)  # fmt: skip


def verdict(runs: list[Path], folder: Path) -> list[str]:
    """What the page says first: a line per student."""
    write_html(evaluate(runs), folder / "verdict.html")
    page = (folder / "verdict.html").read_text()
    head = page[page.index("<h2>") : page.index("<table>")]
    return [re.sub("<[^>]*>", "", line) for line in re.findall(r"<(?:li|p)>.*?</(?:li|p)>", head)]


def test_a_student_on_fewer_cohorts_than_the_page_has_a_verdict_of_his_own_cohort(
    paths: dict[str, Path], report: dict[str, Any], tmp_path: Path
) -> None:
    alone = shutil.copytree(paths["two"], tmp_path / "two")  # no twin stands there
    for file in alone.glob("fold*/predictions.csv"):
        table = pd.read_csv(file)
        table[table["role"] == "clinical"].to_csv(file, index=False)
    (stated,) = [
        found["interval"]
        for found in task(report, "os")["differences"]
        if (found["second"]["role"], found["rule"]) == ("twin", "inner")
        and found["column"] == {"kind": "site", "cohort": "one"}
    ]
    (line,) = verdict([paths["one"], alone], tmp_path)
    assert "ONE: student minus its undistilled twin" in line
    ends = f"{stated['value']:+.3f} ({stated['low']:+.3f} to {stated['high']:+.3f})"
    assert ends.replace("-0.", "−0.") in line
    (both,) = verdict([paths["one"], paths["two"]], tmp_path)
    assert "the mean over cohorts: student minus" in both
    assert "No student stands beside" in verdict([alone], tmp_path)[0]


def test_a_difference_that_a_fold_does_not_have_is_undefined_and_another_cohort_keeps_its_own(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    mute = shutil.copytree(paths["two"], tmp_path / "two")
    for file in mute.glob("fold0-*/predictions.csv"):
        pd.read_csv(file).assign(event=0).to_csv(file, index=False)
    lines = verdict([paths["one"], mute], tmp_path)
    assert [re.search("ONE|TWO|mean", line).group() for line in lines] == ["ONE", "TWO", "mean"]
    assert re.search(r"twin [+−]0\.\d{3} \(", lines[0])
    for line in lines[1:]:
        assert "minus its undistilled twin undefined; there is no interval" in line
    assert "nan" not in terminal.text(evaluate([paths["one"], mute]))


REPORTS = {
    "pan": ("crossfit-pan", "os", [], ["student", "one_slide", "twin", "self", "null", "teacher"]),
    "receptors": ("moments", "her2", ["negative", "positive"],
                  ["student", "one_slide", "twin", "self", "null", "teacher", "genomic"]),
    "diagnosis": ("pooled", "diagnosis", CLASSES, ["pooled", "one_slide", "genomic", "clinical"]),
    "grading": ("disentangled", "grading", CLASSES, ["student", "twin", "null", "teacher", "age"]),
}  # fmt: skip
"""Name -> method, task, classes and roles of its runs."""


def report_run(folder: Path, name: str, cohort: str, kind: str) -> Path:
    """A run of the method of a report, every role of its own skill."""
    method, at_task, classes, roles = REPORTS[name]
    path = folder / f"{method}-{cohort}-{kind}"
    write_run_json(path, method=method, cohort=cohort, task=at_task, kind=kind, settings={},
                   classes=classes, patients=PATIENTS, seeds=SEEDS)  # fmt: skip
    rng = np.random.default_rng([len(cohort), len(kind), len(name)])
    truth = rng.normal(size=PATIENTS)
    outside = pd.DataFrame({"survival_months": rng.exponential(20, 40) + 1, "event": True})
    time = np.round(rng.exponential(30 * np.exp(-truth)) + 0.5, 1)
    label = np.arange(PATIENTS) // FOLDS % max(len(classes), 1)
    for fold in range(FOLDS):
        rows = np.flatnonzero(np.arange(PATIENTS) % FOLDS == fold)
        for seed in range(SEEDS):
            parts = []
            for at, role in enumerate(roles):
                for rule in ("inner",) if role == "one_slide" else ("inner", "last"):
                    part = pd.DataFrame({"patient": [f"{cohort}{row:02d}" for row in rows],
                                         "role": role, "rule": rule})  # fmt: skip
                    noise = rng.normal(size=(len(rows), max(len(classes), 1))) * (1 + at / 3)
                    if classes:
                        noise[np.arange(len(rows)), label[rows]] += 1.5
                        chance = np.exp(noise) / np.exp(noise).sum(axis=1, keepdims=True)
                        part[[f"p{k}" for k in range(len(classes))]] = chance
                    else:
                        part["risk"] = truth[rows] + noise[:, 0]
                    part["time_months"], part["event"] = time[rows], rows % 3 > 0
                    part["label"] = label[rows]
                    parts.append(part)
            write_unit(path, fold, seed, pd.concat(parts), outside, {})
    return path


@pytest.mark.parametrize("name", REPORTS)
def test_every_number_of_a_report_of_this_kind_is_recomputed(name: str, tmp_path: Path) -> None:
    made = [report_run(tmp_path, name, cohort, kind)
            for cohort in ("one", "other") for kind in ("official", "site")]  # fmt: skip
    write_json(evaluate(made), tmp_path / "report.json")
    found = json.loads((tmp_path / "report.json").read_text())
    counts = check(found, made)
    roles = len(REPORTS[name][3])
    assert counts["interval"] >= 2 * 4 * roles
    assert counts["mean"] == counts["mean interval"] / 2 >= 2 * roles
    if "student" in REPORTS[name][3]:
        assert counts["difference"] >= 6 * (roles - 1)
    (row, *_) = [row for row in found["tasks"][0]["rows"] if row["cells"]]
    row["cells"][0]["is"]["figures"]["c_index" if name == "pan" else "auc"][0] += 0.001
    with pytest.raises(AssertionError, match="expected"):
        check(found, made, intervals=False)
