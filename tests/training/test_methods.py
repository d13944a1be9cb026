"""Baselines, the cross-fitted student, and what stands beside every student."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from sksurv.metrics import concordance_index_censored  # noqa: E402
from training_patients import CLASSES, OS, drawn, split  # noqa: E402

from training import methods  # noqa: E402
from training.errors import TrainingError  # noqa: E402
from training.learning import survival  # noqa: E402
from training.learning.bags import concatenated  # noqa: E402
from training.learning.calibrate import (  # noqa: E402
    calibrated,
    calibrated_score,
    hazard_logits,
)
from training.learning.deployed import Deployed, relative  # noqa: E402
from training.learning.fitted import (  # noqa: E402
    Fitted,
    Score,
    class_score,
    predict,
    risk_correlation,
    survival_score,
)
from training.learning.graphs import run as run_graph  # noqa: E402
from training.learning.graphs import write_graph  # noqa: E402
from training.learning.journal import Journal  # noqa: E402
from training.learning.survival import survival_curve  # noqa: E402
from training.methods.baselines import (  # noqa: E402
    linear,
    multimodal,
    transmil,
)
from training.methods.baselines import method as baselines  # noqa: E402
from training.methods.baselines.method import Abmil, ClamSb, MeanPool, Snn, Student  # noqa: E402
from training.methods.baselines.transmil import NystromAttention, TransMil, pseudoinverse  # noqa: E402
from training.methods.crossfit import method as crossfit  # noqa: E402
from training.methods.crossfit.network import SlideStudent  # noqa: E402
from training.methods.crossfit.teacher import block_risks, scaler, stacked  # noqa: E402
from training.methods.registry import METHODS  # noqa: E402
from training.runs.fit import Plan  # noqa: E402
from training.runs.references import references  # noqa: E402
from training.runs.units import Unit, write_unit  # noqa: E402

QUICK = baselines.Settings(epochs=40, lr=1e-2, hidden=16, l1=0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As `dicom-train fit` runs; two that share a busy core wait for each other, ten times as long
    as one works."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def cindex(patients, risk):
    event = patients.event.numpy() > 0
    return concordance_index_censored(event, patients.time.numpy(), risk)[0]


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "unit") as journal:
        yield journal


@pytest.mark.parametrize(
    ("fit", "settings", "role"),
    [
        (METHODS["meanpool"].fit, QUICK, "meanpool"),
        (METHODS["abmil"].fit, QUICK, "abmil"),
        (METHODS["clam"].fit, QUICK, "clam"),
        (METHODS["snn"].fit, QUICK, "snn"),
        (
            transmil.fit,
            transmil.Settings(epochs=8, lr=1e-3, width=64, heads=4, dropout=0.3),
            "transmil",
        ),
        (multimodal.fit_mcat, multimodal.Settings(epochs=30, lr=2e-3, width=32), "mcat"),
        (multimodal.fit_late_fusion, QUICK, "late_fusion"),
        (linear.fit_genes, linear.Settings(), "coxnet"),
        (linear.fit_pooled, linear.Settings(), "pooled"),
    ],
)
def test_every_baseline_finds_the_risk_that_is_written_in_its_input(fit, settings, role, journal):
    given = split()
    found = fit(given, settings, 0, journal)
    for rule in ("inner", "last"):
        assert cindex(given.test, found.scores[role, rule].risk) > 0.7


@pytest.mark.parametrize("name", ["meanpool", "abmil", "clam", "snn"])
def test_a_baseline_of_a_label_task_gives_probabilities_that_sum_to_one(name, journal):
    given = split(CLASSES)
    score = METHODS[name].fit(given, QUICK, 0, journal).scores[name, "last"]
    assert score.risk is None
    assert score.probability.shape == (60, 2)
    assert score.probability.sum(axis=1) == pytest.approx(1)
    assert ((score.probability[:, 1] > 0.5) == given.test.label.numpy()).mean() > 0.7


@pytest.mark.parametrize(
    "folder", sorted(p.parent for p in Path(methods.__path__[0]).glob("*/__init__.py"))
)
def test_a_method_is_a_folder_whose_method_module_holds_its_settings_and_its_fit(folder):
    module = importlib.import_module(f"training.methods.{folder.name}.method")
    assert is_dataclass(module.Settings)
    assert callable(module.fit)


@pytest.mark.parametrize("network", [MeanPool, Abmil, ClamSb])
def test_padding_changes_nothing_and_attention_sums_to_one(network):
    torch.manual_seed(0)
    model = network(8, 4, QUICK).eval()
    patients = drawn(6)
    batch = patients.batch(range(6))
    logits, attention, _ = model(batch.bags, batch.mask)
    for at, bag in enumerate(patients.bags):
        alone, weights, _ = model(bag[None], torch.ones(1, len(bag), dtype=torch.bool))
        assert torch.allclose(alone[0], logits[at], atol=1e-5)
        assert torch.allclose(weights[0], attention[at, : len(bag)], atol=1e-6)
    assert torch.allclose(attention.sum(dim=1), torch.ones(6))
    assert not attention[~batch.mask].any()


def test_published_widths_give_the_published_parameter_counts():
    settings = baselines.Settings()

    def count(model):
        return sum(p.numel() for p in model.parameters())

    embed, gate, mix = 1024 * 256 + 256, 2 * (256 * 256 + 256) + 257, 256 * 256 + 256
    assert count(Abmil(1024, 4, settings)) == embed + gate + mix + 256 * 4 + 4
    assert count(Snn(1000, 4, settings)) == 1000 * 256 + 256 + 3 * (256 * 256 + 256) + 256 * 4 + 4


def test_clam_asks_the_ends_of_the_attention_and_a_bag_of_one_says_nothing():
    torch.manual_seed(0)
    model = ClamSb(8, 4, QUICK)
    one = drawn(1).batch([0])
    one = replace(one, bags=one.bags[:, :1], mask=one.mask[:, :1])
    _, attention, _, embedded = model.parts(one.bags, one.mask)
    assert model.instance_loss(attention, embedded, one.mask, one.bin, 8) == 0
    batch = drawn(8).batch(range(8))
    _, attention, _, embedded = model.parts(batch.bags, batch.mask)
    assert model.instance_loss(attention, embedded, batch.mask, batch.bin, 8) > 0


@pytest.mark.parametrize(("landmarks", "repeats"), [(256, 1), (9, 3)])
def test_nystrom_attention_with_landmarks_for_all_that_differs_is_full_attention(
    landmarks, repeats
):
    torch.manual_seed(0)
    settings = transmil.Settings(width=32, heads=4, landmarks=landmarks, iterations=30)
    layer = NystromAttention(settings).eval()
    tokens = torch.randn(2, 9, 32).repeat_interleave(repeats, dim=1)
    length = 9 * repeats
    q, k, v = (
        x.reshape(2, length, 4, 8).transpose(1, 2) for x in layer.qkv(tokens).chunk(3, dim=-1)
    )
    full = torch.softmax(q @ k.transpose(2, 3) / 8**0.5, dim=-1) @ v
    full = full + layer.residual(v)
    expected = layer.out(full.transpose(1, 2).reshape(2, length, 32))
    assert torch.allclose(layer(tokens), expected, atol=1e-3)


def test_transmil_answers_for_a_bag_what_it_answers_for_it_among_others():
    torch.manual_seed(0)
    model = TransMil(8, 4, transmil.Settings(width=32, heads=4, landmarks=16)).eval()
    sizes = [3, 4, 5, 9, 4, 1, 10, 16, 2, 40, 9, 30]
    bags, mask = torch.randn(12, 40, 8), torch.arange(40) < torch.tensor(sizes)[:, None]
    together = model(bags, mask)
    for place, size in enumerate(sizes):
        alone = model(bags[place : place + 1, :size], torch.ones(1, size, dtype=torch.bool))
        assert torch.allclose(together[place], alone[0], atol=1e-5)


def test_the_iterated_inverse_inverts():
    torch.manual_seed(0)
    matrix = torch.softmax(torch.randn(2, 6, 6) * 2, dim=-1) + torch.eye(6)
    assert torch.allclose(
        matrix @ pseudoinverse(matrix, 30), torch.eye(6).expand(2, 6, 6), atol=1e-4
    )


def test_a_cohort_without_genes_is_refused_by_methods_that_need_them(journal):
    given = split()
    parts = {
        name: replace(getattr(given, name), genes=torch.zeros(len(getattr(given, name)), 0))
        for name in ("train", "valid", "test")
    }
    bare = replace(given, **parts, genes=replace(given.genes, columns=(), groups=()))
    for name in ("snn", "coxnet", "mcat"):
        with pytest.raises(TrainingError, match="expected some"):
            METHODS[name].fit(bare, METHODS[name].settings, 0, journal)


# -- the cross-fitted student -------------------------------------------------------------------


def test_the_teachers_targets_are_out_of_fold_and_worse_than_in_sample_ones():
    everyone = concatenated(split().train, split().valid)
    noise = replace(everyone, privileged={}, genes=torch.randn(len(everyone), 80))
    noise = replace(noise, age=torch.full((len(noise),), torch.nan))
    blocks = block_risks(noise, noise, 0)
    inside = cindex(noise, blocks.inside["genes"])
    in_sample = cindex(noise, blocks.outside["genes"])
    assert abs(inside - 0.5) < 0.15
    assert in_sample > 0.7


def test_the_teacher_without_the_clinic_sees_genes_alone_and_nothing_is_none():
    everyone = split().train
    blocks = block_risks(everyone, everyone, 0)
    assert set(blocks.inside) == {"clinical", "genes"}
    assert stacked(blocks, everyone, clinical=False) is not None
    bare = replace(everyone, genes=torch.zeros(len(everyone), 0))
    assert stacked(block_risks(bare, bare, 0), bare, clinical=False) is None


def test_the_scaler_puts_unknown_values_at_the_mean_and_leaves_out_what_is_rarely_known():
    table = np.array([[1.0, np.nan, 5.0], [3.0, np.nan, 5.0], [np.nan, np.nan, 5.0], [2.0, 1, 5.0]])
    scaled = scaler(table)(table)
    assert scaled.shape == (4, 1)
    assert scaled[2, 0] == 0
    assert scaled[:, 0].mean() == pytest.approx(0, abs=1e-12)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    given = split()
    settings = crossfit.Settings(epochs=10, lr=1e-2)
    with Journal(tmp_path_factory.mktemp("crossfit")) as journal:
        return given, crossfit.fit(given, settings, 0, journal)


def test_the_student_learns_from_slide_and_teacher_and_the_null_does_not_help(fitted):
    given, found = fitted
    scores = {role: cindex(given.test, found.scores[role, "last"].risk) for role in
              ("student", "twin", "teacher", "genomic", "null")}  # fmt: skip
    assert scores["student"] > 0.7
    assert scores["teacher"] > 0.7
    assert scores["student"] > scores["null"]
    assert found.facts["teacher_correlation"] > 0.5
    assert found.facts["genomic_correlation"] > 0.5


def test_the_student_needs_the_slide_alone_and_its_graph_says_the_same(fitted, tmp_path):
    given, found = fitted
    bag = given.test.bags[4]
    said = found.student(bag)
    assert float(said.risk[0].detach()) == pytest.approx(
        found.scores["student", "last"].risk[4], abs=1e-4
    )
    assert float(said.attention.sum().detach()) == pytest.approx(1, abs=1e-5)
    assert (said.survival[1:] <= said.survival[:-1]).all()
    deployed = Deployed(found.student, (), bag).eval()
    write_graph(
        "student", deployed, (bag,), tmp_path, inputs=["features"], outputs=deployed.names,
        dynamic={"features": {0: "N"}, "attention": {0: "N"}},
    )  # fmt: skip


def test_a_teacher_that_the_slide_does_not_show_hardly_moves_the_student(journal):
    """Each head scaled to the same spread would give noise the weight of the own risk."""
    everyone = concatenated(split(train=200).train, split().valid)
    settings = crossfit.Settings(epochs=6, lr=1e-2)
    blind = np.random.default_rng(0).normal(size=len(everyone))
    alone = crossfit.student(everyone, None, settings, 0, journal, "alone")
    taught = crossfit.student(everyone, blind, settings, 0, journal, "taught")
    test = split(test=200).test
    heads = taught.log_hazards(taught.each(test.bags))
    own, teacher = (heads[:, :, at].sum(dim=1) for at in (0, 1))
    assert float(teacher.std()) < 0.5 * float(own.std())
    risks = [net.risks(net.each(test.bags)).double().numpy() for net in (alone, taught)]
    assert np.corrcoef(*risks)[0, 1] > 0.9


def test_what_the_slide_shows_of_the_teacher_is_in_the_teachers_own_units(journal):
    everyone = concatenated(split(train=200).train, split().valid)
    shown = np.array([float(bag[:, 0].mean()) for bag in everyone.bags])
    settings = crossfit.Settings(epochs=6, lr=1e-2)
    spreads = []
    for factor in (1.0, 3.0):
        network = crossfit.student(everyone, factor * shown, settings, 0, journal, f"x{factor}")
        heads = network.log_hazards(network.each(everyone.bags))[:, :, 1]
        spreads.append(heads.std(dim=0).double().numpy())
        assert heads[:, 0].std() == pytest.approx(factor * shown.std(), rel=0.3)
        one = SlideStudent(network)(everyone.bags[3])
        assert float(one.risk[0].detach()) == pytest.approx(
            float(network.risks(network.each(everyone.bags))[3]), abs=1e-5
        )
    assert spreads[1] == pytest.approx(3 * spreads[0], rel=1e-3)


def test_the_controls_of_the_cross_fitted_student_have_its_capacity_and_no_privilege(fitted):
    given, found = fitted
    everyone = concatenated(given.train, given.valid)
    targets = crossfit.slide_targets(everyone, 0)
    nobody = replace(everyone, privileged={}, genes=torch.zeros(len(everyone), 0))
    assert (crossfit.slide_targets(nobody, 0) == targets).all()
    scores = {role: cindex(given.test, found.scores[role, "last"].risk) for role in
              ("self", "twin", "null")}  # fmt: skip
    # A control is fair where it is no worse than the twin by its very construction.
    assert scores["self"] > scores["twin"] - 0.03
    assert scores["null"] > 0.65


def test_the_cross_fitted_student_is_for_survival_alone(journal):
    with pytest.raises(TrainingError, match="expected survival"):
        crossfit.fit(split(CLASSES), crossfit.Settings(), 0, journal)


def test_a_teacher_of_one_mutation_and_of_patients_without_age_is_fitted_all_the_same():
    everyone = split().train
    one = replace(
        everyone,
        genes=torch.zeros(len(everyone), 0),
        privileged={"alterations": (torch.arange(len(everyone)) % 2).float().unsqueeze(1)},
    )
    asked = replace(one, age=torch.full((len(one),), torch.nan))
    blocks = block_risks(one, asked, 0)
    assert set(blocks.inside) == {"alterations", "clinical"}
    assert not blocks.outside["clinical"].any()
    assert np.isfinite(stacked(blocks, one).risk).all()


# -- beside every student -----------------------------------------------------------------------


def test_age_genes_and_late_fusion_stand_beside_a_method_that_has_none(journal):
    given = split()
    found = METHODS["abmil"].fit(given, QUICK, 0, journal)
    beside = references(given, found, 0, journal)
    assert {role for role, _ in beside} == {"age", "clinical", "genomic"}
    twin = replace(found, scores={("twin", rule): found.scores["abmil", rule] for rule in
                                  ("inner", "last")})  # fmt: skip
    beside = references(given, twin, 0, journal)
    assert {role for role, _ in beside} == {"age", "clinical", "genomic", "late_fusion"}
    assert cindex(given.test, beside["genomic", "last"].risk) > 0.7
    fused = beside["late_fusion", "last"].risk
    assert np.corrcoef(fused, beside["genomic", "last"].risk)[0, 1] > 0.6


def test_no_row_stands_for_an_age_that_nobody_knows(journal):
    given = split()
    train, valid = (
        replace(part, age=torch.full_like(part.age, torch.nan))
        for part in (given.train, given.valid)
    )
    given = replace(given, train=train, valid=valid)
    beside = references(given, Fitted({}), 0, journal)
    assert {role for role, _ in beside} == {"clinical", "genomic"}
    with pytest.raises(TrainingError, match="found no age of any patient"):
        METHODS["age"].fit(given, METHODS["age"].settings, 0, journal)


def test_the_clinic_finds_the_risk_that_its_columns_repeat(journal):
    given = split()
    found = METHODS["clinical"].fit(given, METHODS["clinical"].settings, 0, journal)
    assert cindex(given.test, found.scores["clinical", "last"].risk) > 0.7
    bare = replace(given, test=replace(given.test, privileged={}))
    with pytest.raises(TrainingError, match="found no clinical columns"):
        METHODS["clinical"].fit(bare, METHODS["clinical"].settings, 0, journal)


def unprofiled(given, share=0.5):
    """`given` with the genes of some training and test patients unknown, those who die early."""

    def without(part):
        early = part.time < part.time.quantile(share)
        return replace(part, genes=part.genes * ~early.unsqueeze(1))

    return replace(given, train=without(given.train), valid=without(given.valid))


@pytest.mark.parametrize("task", [OS, CLASSES])
def test_floors_are_fitted_on_everybody_outside_the_fold(task, journal):
    """The student is fitted on the inner validation patients too; so is what it must beat."""
    given = split(task)
    moved = replace(given, train=given.train.subset(range(60)),
                    valid=concatenated(given.train.subset(range(60, 90)), given.valid))  # fmt: skip
    fit = {
        "age": lambda at: linear.age_score(at),
        "clinical": lambda at: linear.clinical_score(at),
        "genomic": lambda at: references(at, Fitted({}), 0, journal)["genomic", "last"],
    }
    for role, score in fit.items():
        if role == "genomic" and task is OS:
            continue  # a network's batches follow the order of the patients
        name = "risk" if task is OS else "probability"
        one, other = (getattr(score(at), name) for at in (given, moved))
        assert one == pytest.approx(other, abs=1e-4), role


def test_what_learns_from_genes_alone_does_not_learn_who_was_profiled(tmp_path):
    """Patients without genes are all zeros; where they die early, zeros would say so."""
    said = {}
    for name in ("os", "classes", "coxnet", "snn"):
        given = unprofiled(split(CLASSES if name == "classes" else OS, train=160, valid=60), 0.25)
        blank = replace(given.test, genes=torch.zeros_like(given.test.genes))
        for patients in (given.train, given.valid):
            assert (~(patients.genes != 0).any(dim=1)).sum() > 10
        measured = given.profiled()
        assert (measured.train.genes != 0).any(dim=1).all()
        assert measured.test is given.test
        only = replace(given, train=measured.train, valid=measured.valid, test=blank)
        whole = replace(given, test=blank)
        for who, at in (("measured", only), ("all", whole)):
            with Journal(tmp_path / who / name) as journal:
                if name in METHODS:
                    settings = QUICK if name == "snn" else METHODS[name].settings
                    score = METHODS[name].fit(at, settings, 0, journal).scores[name, "last"]
                else:
                    beside = references(at, Fitted({}), 0, journal)
                    score = beside["genomic", "last"]
            said[who, name] = score.risk if score.probability is None else score.probability
    for name in ("os", "classes", "coxnet", "snn"):
        assert said["measured", name] == pytest.approx(said["all", name]), name


def test_a_cohort_of_whom_hardly_anybody_was_profiled_is_fitted_without_a_genomic_floor(journal):
    given = split()
    given = replace(
        given,
        **{
            at: replace(getattr(given, at), genes=torch.zeros_like(getattr(given, at).genes))
            for at in ("train", "valid", "test")
        },
    )
    assert {role for role, _ in references(given, Fitted({}), 0, journal)} == {"age", "clinical"}
    with pytest.raises(TrainingError, match="give more patients with genes"):
        METHODS["snn"].fit(given, QUICK, 0, journal)


def test_late_fusion_says_of_a_patient_the_same_whoever_else_is_asked(journal, tmp_path):
    given = split()
    found = METHODS["abmil"].fit(given, QUICK, 0, journal)
    few = given.test.subset(range(7))
    fused = []
    for test, rows in ((given.test, slice(0, 7)), (few, slice(None))):
        scores = {
            ("twin", rule): replace(
                found.scores["abmil", rule], risk=found.scores["abmil", rule].risk[: len(test)]
            )
            for rule in ("inner", "last")
        }
        with Journal(tmp_path / str(len(test))) as own:
            beside = references(replace(given, test=test), Fitted(scores), 0, own)
        fused.append(beside["late_fusion", "last"].risk[rows])
    assert fused[0] == pytest.approx(fused[1])
    with pytest.raises(TrainingError, match="scale"):
        multimodal.fuse(Score(risk=np.zeros(3)), Score(risk=np.ones(3)))


@pytest.mark.parametrize("task", [OS, CLASSES])
def test_what_is_scored_is_what_the_exported_graph_says_and_all_are_calibrated_alike(
    task, tmp_path
):
    given = split(task)
    genes = given.test.genes.clone()
    genes[:4] = 0
    given = replace(given, test=replace(given.test, genes=genes))
    with Journal(tmp_path / "fold0-seed0") as journal:
        found = METHODS["abmil"].fit(given, replace(QUICK, epochs=60), 0, journal)
        write_unit(Unit(tmp_path, 0, 0), given, found.scores, found, 0.0)
    said = json.loads((tmp_path / "fold0-seed0" / "unit.json").read_text())
    assert said["student_role"] == "abmil"
    assert said["scored_without_genes"] == 4
    table = pd.read_csv(tmp_path / "fold0-seed0" / "predictions.csv")
    table = table[table["rule"] == "inner"].set_index("patient")
    graph = tmp_path / "fold0-seed0" / "student.onnx"
    for patient, bag in list(zip(given.test.ids, given.test.bags, strict=True))[:5]:
        said = run_graph(graph, {"features": bag.numpy()})
        mine = table.loc[patient]
        if task is OS:
            assert mine["risk"] == pytest.approx(said["risk"][0], abs=1e-4)
            columns = [f"s{at}" for at in range(1, 5)]
            assert mine[columns].to_numpy(float) == pytest.approx(said["survival"], abs=1e-4)
        else:
            assert mine["p1"] == pytest.approx(said["probability_many"][0], abs=1e-4)
    # Both rules of any network pass the calibration that the exported one passes.
    for rule in ("inner", "last"):
        score = found.scores["abmil", rule]
        kind = "survival" if task is OS else "probability"
        columns = [f"s{at}" for at in range(1, 5)] if task is OS else ["p0", "p1"]
        if rule == "inner":
            written = table.loc[list(given.test.ids), columns].to_numpy()
            assert getattr(score, kind) == pytest.approx(written, abs=5e-3)


@pytest.mark.parametrize("task", [OS, CLASSES])
def test_a_network_that_is_too_sure_is_scored_by_what_its_logits_are_worth(task):
    """Balanced sampling and over-fitting distort percentages; those are not what is exported."""
    given = split(task)
    torch.manual_seed(0)
    truth = torch.nn.Linear(8, 4 if task is OS else 2)

    def answer(batch):
        return truth(batch.bags.sum(dim=1) / batch.mask.sum(dim=1, keepdim=True))

    sure = 20 * predict(truth, answer, given.test), 20 * predict(truth, answer, given.valid)
    raw = survival_score(sure[0]) if task is OS else class_score(sure[0])
    found = calibrated_score(task, *sure, given.valid)

    def loss(score):
        if task is OS:
            logits = hazard_logits(torch.from_numpy(score.survival))
            return float(survival.nll(logits, given.test.bin, given.test.event))
        said = torch.from_numpy(score.probability).clamp(min=1e-6).log()
        return float(torch.nn.functional.nll_loss(said, given.test.label))

    assert loss(found) < 0.7 * loss(raw)
    if task is OS:
        assert (found.risk == raw.risk).all()


def test_published_settings_are_refused_for_a_method_that_has_no_others(tmp_path):
    plan = Plan(
        "crossfit", "blca", "os", "official", tmp_path, tmp_path / "run", {}, published=True
    )
    with pytest.raises(TrainingError, match="leave --published out"):
        plan.resolved()


def test_the_correlation_of_a_constant_risk_is_zero_and_of_none_is_none():
    some, flat = Score(risk=np.array([1.0, 2.0, 3.0])), Score(risk=np.ones(3))
    assert risk_correlation(some, some) == pytest.approx(1)
    assert risk_correlation(some, flat) == 0
    assert risk_correlation(some, Score()) is None


# -- what is shown ------------------------------------------------------------------------------


def test_hazard_logits_of_a_curve_give_the_curve_back():
    logits = torch.tensor([[-2.0, 0.0, 1.0, -0.5], [0.3, -3.0, 2.0, -1.0]])
    assert torch.allclose(hazard_logits(survival_curve(logits)), logits, atol=1e-4)


def test_calibration_repairs_a_student_that_is_too_sure_and_leaves_the_risk(journal):
    given = split()
    found = baselines.fit("abmil", given, replace(QUICK, epochs=40, lr=1e-2), 0, journal)
    wrapped, change = calibrated(found.student, given.valid, "survival")
    assert change.after < change.before
    bag = given.test.bags[0]
    assert torch.equal(wrapped(bag).risk, found.student(bag).risk)
    assert not torch.allclose(wrapped(bag).survival, found.student(bag).survival)


def test_calibrated_class_probabilities_sum_to_one_and_lose_less(journal):
    given = split(CLASSES)
    found = baselines.fit("abmil", given, replace(QUICK, epochs=40, lr=1e-2), 0, journal)
    wrapped, change = calibrated(found.student, given.valid, "classification")
    assert change.after <= change.before + 1e-6
    assert float(wrapped(given.test.bags[0]).probability.sum().detach()) == pytest.approx(
        1, abs=1e-5
    )


def test_attention_is_shown_relative_to_uniform():
    assert torch.allclose(relative(torch.full((5,), 0.2)), torch.full((5,), 0.5))
    assert torch.allclose(relative(torch.tensor([0.75, 0.25])), torch.tensor([0.6, 1 / 3]))


def test_a_deployed_student_of_classes_has_one_tensor_a_class():
    torch.manual_seed(0)
    student = Student(Abmil(8, 2, QUICK), CLASSES).eval()
    bag = drawn(3).bags[0]
    deployed = Deployed(student, CLASSES.classes, bag)
    assert deployed.names == [
        "probability_few", "probability_many", "attention", "embedding"
    ]  # fmt: skip
    assert [tuple(v.shape) for v in deployed(bag)] == [(1,), (1,), (len(bag),), (16,)]
    assert OS.kind == "survival"
