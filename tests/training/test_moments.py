"""The linear map of labels and genes, the recipe of each task, and one slide of a patient."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from sklearn.linear_model import LogisticRegression, Ridge  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402
from sklearn.model_selection import StratifiedKFold  # noqa: E402
from training_patients import CLASSES, OS, drawn, split  # noqa: E402

from training.cohorts.material import Task  # noqa: E402
from training.commands import fit as fit_command  # noqa: E402
from training.commands import methods as methods_command  # noqa: E402
from training.errors import TrainingError  # noqa: E402
from training.learning.bags import concatenated  # noqa: E402
from training.learning.calibrate import calibrated_score  # noqa: E402
from training.learning.graphs import run as run_graph  # noqa: E402
from training.learning.journal import Journal  # noqa: E402
from training.methods.moments import method as moments  # noqa: E402
from training.methods.moments.network import moments as pooled  # noqa: E402
from training.methods.registry import METHODS, RECIPES, better_recipe, recipe  # noqa: E402
from training.runs.units import Unit, write_unit  # noqa: E402

THREE = Task("kind", "classification", ("low", "middle", "high"))


def three() -> object:
    """Three classes by thirds of the mean first feature."""
    given = split(CLASSES)

    def labeled(part):
        value = torch.stack([bag[:, 0].mean() for bag in part.bags])
        return dataclasses.replace(part, label=(value > -0.5).long() + (value > 0.5).long())

    parts = {name: labeled(getattr(given, name)) for name in ("train", "valid", "test")}
    return dataclasses.replace(given, task=THREE, **parts)


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "unit") as journal:
        yield journal


def centered(table):
    return table - table.mean(axis=1, keepdims=True)


def by_hand(patients, asked, settings):
    """Log odds of labels plus those that a ridge reads of the genes' out-of-fold log odds."""
    table, other = pooled(patients), pooled(asked)
    mean, std = table.mean(axis=0), table.std(axis=0)
    z, x = (np.clip((t - mean) / std, -5, 5) for t in (table, other))
    genes, label = patients.genes.numpy().clip(-5, 5), patients.label.numpy()
    own = LogisticRegression(C=settings.labels_c, max_iter=2000, class_weight="balanced")
    found = centered(np.log(own.fit(z, label).predict_proba(x)))
    targets = np.zeros((len(label), found.shape[1]))
    for rest, held in StratifiedKFold(5, shuffle=True, random_state=0).split(genes, label):
        teacher = LogisticRegression(C=settings.genes_c, max_iter=2000, class_weight="balanced")
        teacher.fit(genes[rest], label[rest])
        targets[held] = centered(np.log(np.maximum(teacher.predict_proba(genes[held]), 1e-4)))
    return found, found + Ridge(alpha=settings.ridge).fit(z, targets).predict(x)


@pytest.mark.parametrize("make", [lambda: split(CLASSES), three])
def test_the_student_is_the_sum_of_two_linear_models_and_the_twin_the_first_of_them(make, journal):
    given = make()
    found = moments.fit(given, moments.Settings(), 0, journal)
    everyone = concatenated(given.train, given.valid)
    twin, student = by_hand(everyone, given.test, moments.Settings())
    network = found.student.student
    assert network.each(given.test.bags) == pytest.approx(student, abs=1e-3)
    for role, expected in (("student", student), ("twin", twin)):
        probability = found.scores[role, "inner"].probability
        if given.task is CLASSES:  # a scale and a shift keep the order of two classes
            order = np.argsort(expected[:, 1] - expected[:, 0])
            assert (np.diff(probability[order, 1]) > -1e-6).all()
        assert probability.sum(axis=1) == pytest.approx(1)


def test_student_is_calibrated_by_one_that_did_not_see_the_inner_validation_patients(journal):
    given = split(CLASSES)
    found = moments.fit(given, moments.Settings(), 0, journal)
    _, inner = by_hand(given.train, given.valid, moments.Settings())
    _, last = by_hand(concatenated(given.train, given.valid), given.test, moments.Settings())
    expected = calibrated_score(CLASSES, last, inner, given.valid).probability
    assert found.scores["student", "last"].probability == pytest.approx(expected, abs=5e-3)
    assert found.facts["inner_loss_calibrated"] < found.facts["inner_loss"]


def test_genes_of_nobody_in_a_class_and_no_genes_at_all_are_refused_with_a_way_out(journal):
    given = split(CLASSES)
    rows = given.train.label == 0
    genes = torch.where(rows[:, None], torch.zeros(()), given.train.genes)
    valid = dataclasses.replace(given.valid, genes=torch.zeros_like(given.valid.genes))
    some = dataclasses.replace(
        given, train=dataclasses.replace(given.train, genes=genes), valid=valid
    )
    with pytest.raises(TrainingError, match=r"0 patients with genes in one class.*use pooled"):
        moments.fit(some, moments.Settings(), 0, journal)
    none = {
        name: dataclasses.replace(getattr(given, name), genes=getattr(given, name).genes[:, :0])
        for name in ("train", "valid", "test")
    }
    with pytest.raises(TrainingError, match=r"found no gene columns.*use pooled"):
        moments.fit(dataclasses.replace(given, **none), moments.Settings(), 0, journal)


@pytest.mark.parametrize("name", ["moments", "pooled"])
def test_a_class_without_a_patient_is_named(name, journal):
    given = split(CLASSES)
    empty = dataclasses.replace(
        given, valid=dataclasses.replace(given.valid, label=torch.zeros_like(given.valid.label))
    )
    with pytest.raises(TrainingError, match="no many among the 30 patients of inner validation"):
        METHODS[name].fit(empty, METHODS[name].settings, 0, journal)


def test_a_task_of_survival_is_refused(journal):
    with pytest.raises(TrainingError, match="use crossfit for survival"):
        moments.fit(split(OS), moments.Settings(), 0, journal)


@pytest.mark.parametrize("name", ["moments", "pooled"])
@pytest.mark.parametrize("make", [lambda: split(CLASSES), three])
def test_the_graph_says_what_the_predictions_say(name, make, tmp_path):
    given = make()
    unit = Unit(tmp_path, 0, 0)
    with Journal(unit.directory) as journal:
        found = METHODS[name].fit(given, METHODS[name].settings, 0, journal)
        write_unit(unit, given, found.scores, found, 1.0)
    table = pd.read_csv(unit.directory / "predictions.csv")
    role = "student" if name == "moments" else "pooled"
    mine = table[(table["role"] == role) & (table["rule"] == "inner")].set_index("patient")
    last = table[(table["role"] == role) & (table["rule"] == "last")].set_index("patient")
    assert mine[["p0", "p1"]].to_numpy() == pytest.approx(last[["p0", "p1"]].to_numpy(), abs=1e-4)
    for at in (0, 7):
        said = run_graph(unit.directory / "student.onnx", {"features": given.test.bags[at].numpy()})
        for k, label in enumerate(given.task.classes):
            wanted = mine.loc[given.test.ids[at], f"p{k}"]
            assert said[f"probability_{label}"][0] == pytest.approx(wanted, abs=1e-4)
        assert said["attention"] == pytest.approx(0.5)


def test_classes_that_the_inner_patients_separate_do_not_break_the_calibration():
    """Full steps of the optimizer run away there, and every probability was not a number."""
    given = split(CLASSES)
    found = METHODS["pooled"].fit(given, METHODS["pooled"].settings, 0, None)
    probability = found.scores["pooled", "inner"].probability
    assert np.isfinite(probability).all()
    assert roc_auc_score(given.test.label, probability[:, 1]) > 0.8


def test_every_recipe_is_a_method_that_leaves_a_student_and_another_method_is_told_of_it():
    for task, name in RECIPES.items():
        given = split(OS if task == "os" else CLASSES)
        found = METHODS[name].fit(given, _quick(name), 0, None)
        assert found.student is not None
        assert better_recipe(task, name) is None
        assert recipe(task) == name
    assert better_recipe("diagnosis", "disentangled") == "pooled"
    assert better_recipe("os", "crossfit-pan") is None
    assert better_recipe("of my own", "abmil") is None
    with pytest.raises(TrainingError, match="'of my own' and no method, expected a task"):
        recipe("of my own")


def _quick(name):
    settings = METHODS[name].settings
    return dataclasses.replace(settings, epochs=0) if name == "crossfit" else settings


@pytest.mark.parametrize(
    ("words", "method", "task"),
    [([], "crossfit", "os"), (["--task", "her2"], "moments", "her2"), (["mkd"], "mkd", "er")],
)
def test_fit_without_a_method_takes_the_recipe_of_the_task(
    words, method, task, monkeypatch, capsys
):
    import argparse

    from training.runs import fit

    parser = argparse.ArgumentParser()
    fit_command.add(parser)
    asked = {}
    monkeypatch.setattr(fit, "fit", lambda plan, *rest, **more: asked.update(plan=plan) or [])
    given = vars(parser.parse_args([*words, "--cohort", "brca", "--out", "run"]))
    given.pop("arguments")
    assert fit_command.run(fit_command.Fit(**given)) == 0
    assert (asked["plan"].method, asked["plan"].task) == (method, task)
    assert capsys.readouterr().out.startswith(f"{method}: ")


def test_methods_lists_the_recipe_of_every_task(capsys):
    assert methods_command.run(methods_command.Methods()) == 0
    said = capsys.readouterr().out
    for task, name in RECIPES.items():
        assert f"without METHOD, --task {task}: {name}\n" in said


def several(given):
    """The same patients, their bags cut into a first slide of one tile and the rest."""

    def cut(part):
        slides = tuple((1, len(bag) - 1) if len(bag) > 1 else (1,) for bag in part.bags)
        return dataclasses.replace(part, slides=slides)

    parts = {name: cut(getattr(given, name)) for name in ("train", "valid", "test")}
    return dataclasses.replace(given, **parts)


def test_a_unit_says_what_the_student_is_worth_on_one_slide_of_each_patient(tmp_path):
    given = several(split(CLASSES))
    unit = Unit(tmp_path, 0, 0)
    with Journal(unit.directory) as journal:
        found = METHODS["pooled"].fit(given, METHODS["pooled"].settings, 0, journal)
        write_unit(unit, given, found.scores, found, 1.0)
    table = pd.read_csv(unit.directory / "predictions.csv").set_index("patient")
    alone = table[table["role"] == "one_slide"]
    assert set(alone["rule"]) == {"inner"}
    for at in (0, 3):
        first = given.test.bags[at][:1].numpy()
        said = run_graph(unit.directory / "student.onnx", {"features": first})
        wanted = alone.loc[given.test.ids[at], "p1"]
        assert said["probability_many"][0] == pytest.approx(wanted, abs=1e-4)
    whole = table[(table["role"] == "pooled") & (table["rule"] == "inner")]
    other = [len(of) > 1 for of in given.test.slides]
    assert ((alone["p1"] - whole["p1"]).abs() > 1e-4).tolist() == other


def test_where_everybody_has_one_slide_no_row_says_it_twice(tmp_path):
    given = split(CLASSES)
    unit = Unit(tmp_path, 0, 0)
    with Journal(unit.directory) as journal:
        found = METHODS["pooled"].fit(given, METHODS["pooled"].settings, 0, journal)
        write_unit(unit, given, found.scores, found, 1.0)
    assert "one_slide" not in set(pd.read_csv(unit.directory / "predictions.csv")["role"])


def test_slides_stay_with_their_patients_through_every_selection():
    one = dataclasses.replace(drawn(4), slides=((1,), (2, 3), (4,), (5,)))
    other = dataclasses.replace(drawn(2, 1), slides=((6,), (7, 8)))
    both = concatenated(one.subset([1, 3]), other)
    assert both.slides == ((2, 3), (5,), (6,), (7, 8))
    bags = dataclasses.replace(both, bags=tuple(torch.ones(sum(of), 2) for of in both.slides))
    assert [len(bag) for (bag,) in bags.first_slides()] == [2, 5, 6, 7]
