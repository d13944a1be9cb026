from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

torch = pytest.importorskip("torch", reason="needs torch, of the extra `training`")

from training.cohorts.cohort import Task  # noqa: E402
from training.cohorts.genes import FittedGenes  # noqa: E402
from training.errors import TrainingError  # noqa: E402
from training.learning.attention import GatedAttention  # noqa: E402
from training.learning.bags import Batch, Patients, has_genes  # noqa: E402  # after the check for torch
from training.learning.calibrate import calibrated  # noqa: E402
from training.learning.fitted import Fitted  # noqa: E402
from training.learning.gene_ranking import cox_p_values, ranked_columns  # noqa: E402
from training.learning.journal import Journal  # noqa: E402
from training.learning.loop import Schedule, cell_weights, train  # noqa: E402
from training.learning.losses import distill_kl, similarity_preserving  # noqa: E402
from training.learning.split import Split  # noqa: E402
from training.methods.mkd import method as mkd  # noqa: E402
from training.methods.mkd.bilinear_fusion import (  # noqa: E402
    BilinearFusion,
    GeneTokens,
    pooled,
)
from training.methods.mkd.networks import (  # noqa: E402
    Answer,
    GenomicTeacher,
    MultimodalTeacher,
    SlideStudent,
    Student,
)

WIDTH, GENES = 12, 40
SMALL = replace(
    mkd.published(), epochs=2, width=16, attention=8, fusion=4, token=4, window=8, omics="rna+cnv"
)
TWO_OMICS = (torch.arange(8192), torch.arange(8192, 16384))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small only wait for each other on several cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def patients(count: int, seed: int, *, without_genes: int = 0) -> Patients:
    """Patients whose first feature and first genes both follow their class."""
    draw = torch.Generator().manual_seed(seed)
    label = (torch.arange(count) % 3 == 0).long()
    lengths = torch.randint(2, 9, (count,), generator=draw).tolist()
    bags = tuple(
        torch.randn(n, WIDTH, generator=draw) + 1.5 * label[i] for i, n in enumerate(lengths)
    )
    genes = torch.randn(count, GENES, generator=draw)
    genes[:, :8] += 1.5 * label[:, None]
    genes[:without_genes] = 0
    time = torch.rand(count, generator=draw) * 60
    return Patients(
        ids=tuple(f"P{i:03d}" for i in range(count)),
        bags=bags,
        genes=genes,
        time=time,
        event=(torch.arange(count) % 2).float(),
        bin=torch.zeros(count, dtype=torch.int64),
        label=label,
        age=torch.full((count,), 60.0),
    )


@pytest.fixture
def split() -> Split:
    columns = tuple(f"G{i}_rnaseq" for i in range(20)) + tuple(f"G{i}_cnv" for i in range(20))
    unit = np.ones(GENES, np.float32)
    return Split(
        cohort="brca",
        kind="official",
        fold=0,
        task=Task("er", "classification", ("Negative", "Positive")),
        train=patients(40, 1, without_genes=3),
        valid=patients(15, 2),
        test=patients(18, 3, without_genes=2),
        edges=(),
        genes=FittedGenes(columns, 0 * unit, unit, ()),
    )


@pytest.fixture
def fit(split: Split, tmp_path: Path) -> Callable[..., Fitted]:
    def run(settings: mkd.Settings, where: str = "fit", of: Split = split) -> Fitted:
        with Journal(tmp_path / where) as journal:
            return mkd.fit(of, settings, 0, journal)

    return run


def size(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# ---- architecture


def test_the_networks_have_the_published_number_of_parameters() -> None:
    settings = mkd.published()
    assert size(Student(1024, settings)) == 328_835
    assert size(MultimodalTeacher(1024, TWO_OMICS, settings)) == 10_035_076
    # The published count of T_G holds a second gate, which the released code never calls.
    assert size(GenomicTeacher(TWO_OMICS, replace(settings, shared_gate=False))) == 5_083_844
    assert size(GenomicTeacher(TWO_OMICS, settings)) == 5_083_844 - size(GatedAttention(256, 128))


@pytest.mark.parametrize("omics", [1, 2])
@pytest.mark.parametrize("shared_gate", [True, False])
def test_no_parameter_is_allocated_and_unused(omics: int, shared_gate: bool) -> None:
    torch.manual_seed(0)
    settings = replace(SMALL, shared_gate=shared_gate, dropout=0.0, pooling="attention+moments")
    columns = (torch.arange(20), torch.arange(20, 40))[:omics]
    networks = torch.nn.ModuleList(
        [
            Student(WIDTH, settings),
            GenomicTeacher(columns, settings),
            MultimodalTeacher(WIDTH, columns, settings),
        ]
    )
    student, genomic, multimodal = networks
    window = patients(16, 0).batch(range(16))
    loss = mkd.window_losses(
        student(window.bags, window.mask)[0],
        genomic(window.genes),
        multimodal(window.bags, window.mask, window.genes),
        window.label,
        has_genes(window.genes),
        settings,
    )["total"]
    loss.backward()
    unused = [name for name, p in networks.named_parameters() if p.grad is None]
    assert unused == []


def test_eight_thousand_genes_make_sixteen_tokens_in_rank_order(oracles: dict[str, Any]) -> None:
    known = oracles["O35_tokens"]
    tokens = GeneTokens(known["token"], 3, dropout=0.0)
    genes = torch.randn(2, known["n_genes"])
    embedded = tokens(genes)
    assert embedded.shape == (2, known["tokens"], 3)
    third = torch.nn.functional.elu(tokens.embed(genes[:, 2 * 512 : 3 * 512]))
    torch.testing.assert_close(embedded[:, 2], third)


def test_gated_attention_weighs_by_both_branches(oracles: dict[str, Any]) -> None:
    known = oracles["O31_gated_attention"]
    gate = GatedAttention(2, 2).double()
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.zero_()
        gate.content.weight.copy_(torch.eye(2))
        gate.score.weight.copy_(torch.tensor([known["w"]]))
    rows = torch.tensor([known["H"]], dtype=torch.float64)
    weights = gate(rows)
    expected = torch.tensor([known["alpha"]], dtype=torch.float64)
    torch.testing.assert_close(weights, expected, atol=1e-6, rtol=0)
    expected = torch.tensor([known["pooled"]], dtype=torch.float64)
    torch.testing.assert_close(pooled(weights, rows), expected, atol=1e-6, rtol=0)


def test_fusion_is_the_gated_kronecker_product_of_the_equations() -> None:
    torch.manual_seed(0)
    fusion = BilinearFusion(6, 3, dropout=0.25).eval().double()
    a, b = torch.randn(2, 4, 6, dtype=torch.float64)
    sides = []
    for vector, i in ((a, 0), (b, 1)):
        gated = torch.sigmoid(fusion.gates[i](a, b)) * torch.relu(fusion.shrink[i](vector))
        side = torch.relu(fusion.out[i](gated))
        sides.append(torch.cat([side, torch.ones(4, 1, dtype=torch.float64)], dim=1))
    outer = torch.stack([torch.kron(x, y) for x, y in zip(*sides, strict=True)])
    joint = torch.relu(fusion.joint(outer))
    expected = torch.relu(fusion.last(torch.cat([joint, a, b], dim=1)))
    torch.testing.assert_close(fusion(a, b), expected)


# ---- the student


@pytest.fixture(params=["attention", "attention+moments"])
def student(request: pytest.FixtureRequest) -> Student:
    torch.manual_seed(0)
    found = Student(WIDTH, replace(SMALL, pooling=request.param))
    found.standardize(patients(20, 4))
    if found.moments is not None:
        torch.nn.init.normal_(found.moments.weight)
    return found.eval()


def test_the_order_of_the_instances_changes_nothing(student: Student) -> None:
    features = torch.randn(30, WIDTH)
    order = torch.randperm(30)
    straight, shuffled = (SlideStudent(student)(x) for x in (features, features[order]))
    close = {"atol": 1e-6, "rtol": 0}
    torch.testing.assert_close(shuffled.probability, straight.probability, **close)
    torch.testing.assert_close(shuffled.embedding, straight.embedding, atol=1e-5, rtol=0)
    torch.testing.assert_close(shuffled.attention, straight.attention[order], **close)


def test_padding_changes_nothing(student: Student) -> None:
    group = patients(6, 5)
    window: Batch = group.batch(range(6))
    together, attention = student(window.bags, window.mask)
    assert not attention[~window.mask].any()
    for i, bag in enumerate(group.bags):
        alone = SlideStudent(student)(bag)
        probability = torch.softmax(together.logits[i], dim=0)
        torch.testing.assert_close(alone.probability, probability, atol=1e-6, rtol=0)
        torch.testing.assert_close(alone.attention, attention[i, : len(bag)], atol=1e-6, rtol=0)
        assert alone.attention.sum().item() == pytest.approx(1, abs=1e-6)


def test_standardization_centers_features_and_moments() -> None:
    group = patients(30, 6)
    student = Student(WIDTH, replace(SMALL, pooling="attention+moments"))
    student.standardize(group)
    rows = torch.cat(group.bags)
    torch.testing.assert_close(student.get_buffer("feature_center"), rows.mean(dim=0))
    each = torch.stack(
        [torch.cat([bag.mean(dim=0), bag.std(dim=0, correction=0)]) for bag in group.bags]
    )
    torch.testing.assert_close(
        student.get_buffer("moment_center"), each.mean(dim=0), atol=1e-4, rtol=0
    )


def test_the_exported_student_agrees_with_torch_for_any_number_of_instances(
    student: Student, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    pytest.importorskip("onnx", reason="needs onnx, of the extra `training`")
    slide = SlideStudent(student).eval()
    path = tmp_path / "student.onnx"
    names = ["probability", "attention", "embedding"]
    torch.onnx.export(
        slide,
        (torch.randn(5, WIDTH),),
        str(path),
        input_names=["features"],
        output_names=names,
        dynamic_axes={"features": {0: "tiles"}, "attention": {0: "tiles"}},
        dynamo=False,
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 7, 400):
        features = torch.randn(count, WIDTH)
        found = session.run(names, {"features": features.numpy()})
        for mine, theirs in zip(slide(features), found, strict=True):
            assert mine.shape == theirs.shape
            assert np.abs(mine.detach().numpy() - theirs).max() <= 1e-4


# ---- the losses


def test_the_losses_of_a_window_are_the_published_ones(oracles: dict[str, Any]) -> None:
    known = oracles["O30_total"]

    def answer(of: str) -> Answer:
        logits, features = (
            torch.tensor(known[f"{kind}_{of}"], dtype=torch.float64) for kind in ("logit", "f")
        )
        return Answer(logits, features)

    label = torch.tensor(known["y"]).long()
    found = mkd.window_losses(
        answer("student"),
        answer("gen"),
        answer("mul"),
        label,
        torch.ones(3, dtype=torch.bool),
        mkd.published(),
    )
    for name in ("ce", "sp", "kl", "or", "da"):
        assert found[name].item() == pytest.approx(known[f"L_{name}"], abs=1e-6)
    assert found["total"].item() == pytest.approx(known["total"], abs=1e-6)
    norms = torch.tensor(known["f_mul"], dtype=torch.float64).norm(dim=1)
    assert found["log_norm_M"].item() == pytest.approx(norms.log().mean().item(), abs=1e-6)


@pytest.mark.parametrize("switch", ["sp", "kl", "da", "orthogonal"])
def test_a_loss_that_is_switched_off_leaves_the_total(switch: str) -> None:
    torch.manual_seed(0)
    answers = [Answer(torch.randn(6, 2), torch.randn(6, 4)) for _ in range(3)]
    rest = (torch.tensor([0, 1, 0, 1, 1, 0]), torch.ones(6, dtype=torch.bool))
    full = mkd.window_losses(*answers, *rest, mkd.published())
    less = mkd.window_losses(*answers, *rest, replace(mkd.published(), **{switch: 0.0}))
    name = "or" if switch == "orthogonal" else switch
    assert full[name].item() > 0
    assert (full["total"] - less["total"]).item() == pytest.approx(full[name].item(), abs=1e-5)


def test_orthogonality_per_sample_sees_what_the_batch_mean_cancels(
    oracles: dict[str, Any],
) -> None:
    known = oracles["O28_or"]
    student, genomic, multimodal = (
        Answer(torch.zeros(2, 2), torch.tensor(known[f"f_{of}"]))
        for of in ("student", "gen", "mul")
    )
    rest = (torch.tensor([0, 1]), torch.ones(2, dtype=torch.bool))
    answers = (student, genomic, multimodal)
    released = mkd.window_losses(*answers, *rest, mkd.published())["or"]
    separate = replace(mkd.published(), per_sample_orthogonality=True)
    assert released.item() == known["released"]
    found = mkd.window_losses(*answers, *rest, separate)["or"]
    assert found.item() == pytest.approx(known["per_sample_abs_variant"], abs=1e-6)


def test_a_patient_without_genes_reaches_the_student_by_its_label_alone() -> None:
    torch.manual_seed(0)
    student = Answer(torch.randn(5, 2), torch.randn(5, 4))
    teachers = [Answer(torch.randn(4, 2), torch.randn(4, 4)) for _ in range(2)]
    complete = torch.tensor([True, True, False, True, True])
    label = torch.tensor([0, 1, 1, 0, 1])
    found = mkd.window_losses(student, *teachers, label, complete, mkd.published())
    far = student.embedding.clone()
    far[2] += 100
    other = student.logits.clone()
    other[2] = torch.tensor([3.0, -3.0])
    moved = mkd.window_losses(Answer(other, far), *teachers, label, complete, mkd.published())
    assert {n for n in found if not torch.equal(found[n], moved[n])} == {"ce", "total"}


def test_a_teacher_is_not_moved_by_what_it_teaches_but_by_similarity_it_is() -> None:
    torch.manual_seed(0)
    student, teacher = (torch.randn(6, 2, requires_grad=True) for _ in range(2))
    distill_kl(student, teacher, 4.0).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    student, teacher = (torch.randn(6, 4, requires_grad=True) for _ in range(2))
    similarity_preserving(student, teacher).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad.abs().sum() > 0


# ---- genes


def test_the_score_test_ranks_genes_as_a_fitted_cox_model_does() -> None:
    draw = np.random.default_rng(0)
    genes = draw.normal(size=(150, 6)) * [1, 2, 1, 5, 1, 1]
    genes[:, 5] = 3.0
    hazard = np.exp(0.8 * genes[:, 0] + 0.15 * genes[:, 1])
    death = draw.exponential(1 / hazard)
    censored = draw.exponential(2.0, size=150)
    time, event = np.minimum(death, censored).round(2), (death <= censored).astype(float)
    p = cox_p_values(genes, time, event)
    assert list(np.argsort(p)[:2]) == [0, 1]
    assert p[5] == 1.0
    # Against the definition, one risk set at a time.
    for gene in range(5):
        score = variance = 0.0
        for i in np.flatnonzero(event):
            at_risk = genes[time >= time[i], gene]
            score += genes[i, gene] - at_risk.mean()
            variance += at_risk.var()
        assert p[gene] == pytest.approx(2 * norm.sf(abs(score) / variance**0.5), rel=1e-6)


def test_genes_are_ranked_per_omic_on_profiled_training_patients(split: Split) -> None:
    group = split.train
    columns = split.genes.columns
    best = ranked_columns(group, columns, "cnv", token=4, limit=8192)
    assert len(best) == 20
    assert all(columns[i].endswith("_cnv") for i in best.tolist())
    assert ranked_columns(group, columns, "cnv", token=8, limit=8192).tolist() == best[:16].tolist()
    assert ranked_columns(group, columns, "cnv", token=4, limit=9).tolist() == best[:8].tolist()
    profiled = group.subset(range(3, 40))
    assert ranked_columns(profiled, columns, "cnv", token=4, limit=99).tolist() == best.tolist()


def test_fewer_genes_than_a_token_are_refused(split: Split) -> None:
    with pytest.raises(TrainingError, match=r"found 20 rna genes.*set a smaller token"):
        ranked_columns(split.train, split.genes.columns, "rna", token=512, limit=8192)


# ---- sampling and windows


def test_sampling_weights_balance_the_classes(oracles: dict[str, Any]) -> None:
    known = oracles["O33_sampler"]
    group = replace(patients(4, 0), label=torch.tensor(known["labels"]).long())
    expected = torch.tensor(known["weights"], dtype=torch.float64)
    torch.testing.assert_close(cell_weights(group), expected, atol=1e-6, rtol=0)


def test_an_incomplete_last_window_is_left_out(tmp_path: Path) -> None:
    seen = []
    model = torch.nn.Linear(WIDTH, 1)

    def losses(batch: Batch) -> dict[str, torch.Tensor]:
        seen.append(len(batch))
        return {"total": model(batch.bags).mean()}

    schedule = Schedule(epochs=1, lr=0.0, weight_decay=0.0, window=8, drop_last=True)
    with Journal(tmp_path) as journal:
        train("windows", model, losses, patients(25, 0), schedule, seed=0, journal=journal)
    assert seen == [8, 8, 8]


def test_a_window_of_one_patient_is_refused(fit: Callable[..., Fitted]) -> None:
    with pytest.raises(TrainingError, match="CORAL undefined for one patient"):
        fit(replace(SMALL, window=1))


# ---- the fit


def test_a_fit_scores_student_teachers_twin_and_null(fit: Callable[..., Fitted]) -> None:
    found = fit(replace(SMALL, null=True))
    roles = {"student", "teacher", "genomic", "twin", "null"}
    assert set(found.scores) == {(role, rule) for role in roles for rule in ("inner", "last")}
    for score in found.scores.values():
        assert score.probability is not None
        assert score.probability.shape == (18, 2)
        np.testing.assert_allclose(score.probability.sum(axis=1), 1, atol=1e-6)
    assert found.facts["training_without_genes"] == 3
    assert found.facts["test_without_genes"] == 2
    assert found.facts["genes"] == 40


def test_all_three_networks_learn_the_marker(fit: Callable[..., Fitted], split: Split) -> None:
    found = fit(replace(SMALL, epochs=20, patience=20, lr=5e-3, incomplete=True))
    positive = split.test.label.numpy() == 1
    profiled = has_genes(split.test.genes).numpy()
    for role, at_least in (("student", 0.95), ("teacher", 0.95), ("genomic", 0.8)):
        margin = found.scores[role, "last"].probability[:, 1]
        higher = margin[positive & profiled][:, None] > margin[~positive & profiled][None, :]
        assert higher.mean() >= at_least, role


def test_the_exported_student_is_the_one_that_was_scored(
    fit: Callable[..., Fitted], split: Split
) -> None:
    settings = replace(mkd.adapted(), epochs=2, width=16, attention=8, fusion=4, token=4, window=8)
    found = fit(replace(settings, crossfit=1.0, crossfit_epochs=1, crossfit_folds=2))
    assert found.student is not None
    exported, _ = calibrated(found.student, split.valid, split.task.kind)
    with torch.inference_mode():
        each = [exported(bag).probability.double().numpy() for bag in split.test.bags]
    np.testing.assert_allclose(
        np.stack(each), found.scores["student", "inner"].probability, atol=2e-3
    )


def test_the_same_seed_gives_the_same_scores(fit: Callable[..., Fitted]) -> None:
    settings = replace(SMALL, crossfit=1.0, crossfit_epochs=1, crossfit_folds=2)
    first, second = (fit(settings, where) for where in ("one", "two"))
    for key, score in first.scores.items():
        np.testing.assert_array_equal(score.probability, second.scores[key].probability)


def test_the_fold_that_is_scored_teaches_nothing(fit: Callable[..., Fitted], split: Split) -> None:
    other = replace(split, test=replace(split.test, label=1 - split.test.label))
    first, second = fit(SMALL, "one"), fit(SMALL, "two", other)
    for key, score in first.scores.items():
        np.testing.assert_array_equal(score.probability, second.scores[key].probability)


def test_a_survival_task_is_refused(fit: Callable[..., Fitted], split: Split) -> None:
    with pytest.raises(TrainingError, match="use er, pr or her2"):
        fit(SMALL, of=replace(split, task=Task("os", "survival", ())))
