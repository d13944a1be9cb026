from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch, of the extra `training`")
pytest.importorskip("sksurv", reason="needs scikit-survival, of the extra `training`")

from torch import nn  # noqa: E402  # after the check for torch

from training.cohorts import cohort  # noqa: E402  # after the check for torch
from training.cohorts.genes import FittedGenes  # noqa: E402  # after the check for torch
from training.cohorts.material import TASKS  # noqa: E402  # after the check for torch
from training.errors import TrainingError  # noqa: E402  # after the check for torch
from training.learning import (  # noqa: E402  # after the check for torch
    split,  # after the check for torch
    survival,  # after the check for torch
)
from training.learning.attention import masked_softmax  # noqa: E402  # after the check for torch
from training.learning.bags import Patients  # noqa: E402  # after the check for torch
from training.learning.fitted import Fitted  # noqa: E402  # after the check for torch
from training.learning.journal import Journal  # noqa: E402  # after the check for torch
from training.methods.ghanet import genes as ghanet_genes  # noqa: E402  # after the check for torch
from training.methods.ghanet import method as ghanet  # noqa: E402  # after the check for torch
from training.methods.ghanet.network import (  # noqa: E402  # after the check for torch
    Attention,
    GHANet,
    Widths,
    genomic_hyperedges,
    hyper_attention,
)

FIFTH = Fraction(1, 5)
SIZES = (7, 11, 5, 9, 13, 6)
SMALL = Widths(features=10, hidden=32, feed_forward=64, gate=16, squeezed=16)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As `dicom-train fit` runs: small products gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def network() -> GHANet:
    torch.manual_seed(0)
    return GHANet(SMALL, SIZES).double().eval()


def of(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def bag(count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(1, count, SMALL.features)))


def whole(bags: torch.Tensor) -> torch.Tensor:
    return torch.ones(bags.shape[:2], dtype=torch.bool)


def weights_of(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def close(found: torch.Tensor, expected: Any, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected), atol=tolerance, rtol=0)


def patients(count: int, columns: int, seed: int = 0) -> Patients:
    """Survival follows the first feature and the first gene; bags of 3 to 11 instances."""
    generator = np.random.default_rng(seed)
    hidden = generator.normal(size=count)
    time = np.exp(2 - 2 * hidden + 0.1 * generator.normal(size=count))
    bags = [generator.normal(size=(generator.integers(3, 12), 10)) for _ in range(count)]
    for own, instances in zip(hidden, bags, strict=True):
        instances[:, 0] = own
    genes = generator.normal(size=(count, columns))
    genes[:, :1] = hidden[:, None]
    event = (np.arange(count) % 4 > 0).astype(np.float32)
    edges = survival.bin_edges(time, event)
    return Patients(
        tuple(f"P{at:03}" for at in range(count)),
        tuple(torch.from_numpy(instances.astype(np.float32)) for instances in bags),
        torch.from_numpy(genes.astype(np.float32)),
        torch.from_numpy(time.astype(np.float32)),
        torch.from_numpy(event),
        torch.from_numpy(survival.to_bins(time, edges)),
        torch.zeros(count, dtype=torch.int64),
        torch.full((count,), torch.nan),
    )


def made_split(groups: tuple[tuple[str, tuple[int, ...]], ...], columns: int) -> split.Split:
    known = patients(80, columns)
    names = tuple(f"G{at}_rnaseq" for at in range(columns))
    zeros, ones = np.zeros(columns, np.float32), np.ones(columns, np.float32)
    return split.Split(
        cohort="made",
        kind="official",
        fold=0,
        task=TASKS["os"],
        train=known.subset(range(48)),
        valid=known.subset(range(48, 60)),
        test=known.subset(range(60, 80)),
        edges=tuple(survival.bin_edges(known.time, known.event).tolist()),
        genes=FittedGenes(names, zeros, ones, groups),
    )


TWO_GROUPS = (("Oncogenes", tuple(range(12))), ("Protein Kinases", tuple(range(10, 30))))
QUICK = ghanet.Settings(epochs=6, lr=1e-3, hidden=32, window=16)


def selected(given: split.Split) -> tuple[ghanet_genes.Group, ...]:
    return ghanet_genes.selected_groups(given, p_value=0.05, at_least=8)


def fitted(given: split.Split, settings: ghanet.Settings, out: Path, seed: int = 0) -> Fitted:
    with Journal(out) as journal:
        return ghanet.fit(given, settings, seed, journal)


def test_parameter_counts_are_the_published_ones_without_the_dead_block() -> None:
    network = GHANet(Widths(), (94, 334, 521, 468, 1495, 479))
    dead = weights_of(Attention(Widths()))  # a second block, allocated and never called
    assert dead == 1_049_088
    assert weights_of(network) == 17_909_060 - dead
    assert weights_of(network.heads) == 3_321_663
    assert weights_of(network) - weights_of(network.heads) == 13_538_309


def test_outputs_have_the_shapes_of_the_paper(network: GHANet) -> None:
    bags = bag(40)
    answer = network(bags, whole(bags))
    assert answer.logits.shape == (1, 4)
    assert answer.group_attention.shape == (1, 6, 40)
    assert answer.attention.shape == (1, 40)
    assert tuple(genes.shape[1] for genes in network.genes(answer.groups)) == SIZES
    close(answer.attention.sum(dim=-1), of([1.0]))
    close(answer.group_attention.sum(dim=-1), torch.ones(1, 6).double())


def test_attention_without_keys_and_values_equals_the_textbook_block() -> None:
    torch.manual_seed(0)
    block = Attention(SMALL).double().eval()
    textbook = nn.MultiheadAttention(32, 4, batch_first=True).double().eval()
    projections = [block.query.weight, block.key.weight, block.value.weight]
    textbook.load_state_dict(
        {
            "in_proj_weight": torch.cat(projections),
            "in_proj_bias": torch.zeros(96),
            "out_proj.weight": block.output.weight,
            "out_proj.bias": block.output.bias,
        }
    )
    tokens, context = torch.randn(3, 6, 32).double(), torch.randn(3, 9, 32).double()
    mask = torch.arange(9) < torch.tensor([9, 4, 1]).unsqueeze(1)
    expected, weights = textbook(tokens, context, context, ~mask, average_attn_weights=False)
    mixed, scores = block(tokens, context, mask)
    close(mixed, expected, 1e-12)
    close(masked_softmax(scores, mask[:, None, None]), weights, 1e-12)


def test_hyperedges_match_the_oracle(oracles: dict[str, Any]) -> None:
    oracle = oracles["O7_hyper"]
    mask = torch.ones(1, 10, dtype=torch.bool)
    e1 = masked_softmax(of([oracle["gate_scores"]]), mask)
    e2 = genomic_hyperedges(of([oracle["token_patch_scores"]]), mask, FIFTH)
    mixed = hyper_attention(e1, e2, "both")
    assert [row.nonzero().flatten().tolist() for row in e2[0]] == oracle["kept"]
    close(e1[0], of(oracle["e1"]))
    close(torch.stack([row[row > 0] for row in e2[0]]), of(oracle["e2_nonzero"]))
    close(mixed[0], of(oracle["A"]))
    close(mixed[0].sum(dim=-1), of(oracle["row_sums"]))
    close(hyper_attention(e1, e2, "e1")[0], e1.expand(2, -1))
    close(hyper_attention(e1, e2, "e2"), e2)


def test_hyperedges_keep_a_fifth_of_the_bag_and_at_least_one(oracles: dict[str, Any]) -> None:
    oracle = oracles["O7b_k"]
    for count, kept in zip(oracle["N"], oracle["k"], strict=True):
        scores = torch.randperm(count).double().view(1, 1, -1)
        e2 = genomic_hyperedges(scores, torch.ones(1, count, dtype=torch.bool), FIFTH)
        assert int((e2 > 0).sum()) == max(1, kept), count
    e2 = genomic_hyperedges(
        torch.arange(100.0).view(1, 1, -1), torch.ones(1, 100, dtype=torch.bool), Fraction("0.29")
    )
    assert int((e2 > 0).sum()) == 29  # in floats 0.29 * 100 is below 29


def test_hyperedges_count_instances_without_the_padding() -> None:
    mask = torch.arange(20) < torch.tensor([20, 10, 3]).unsqueeze(1)
    scores = torch.arange(20.0).flip(0).expand(3, 1, 20) - 50  # padding scores higher if counted
    e2 = genomic_hyperedges(torch.where(mask.unsqueeze(1), scores, 0.0), mask, FIFTH)
    assert (e2 > 0).sum(dim=-1).flatten().tolist() == [4, 2, 1]
    assert not e2[~mask.unsqueeze(1)].any()


def test_ties_with_the_last_kept_instance_are_kept() -> None:
    e2 = genomic_hyperedges(of([[[1.0, 1, 1, 0, 0]]]), torch.ones(1, 5, dtype=torch.bool), FIFTH)
    close(e2, of([[[1 / 3, 1 / 3, 1 / 3, 0, 0]]]))


def test_hyperedges_in_half_precision_are_finite() -> None:
    mask = torch.arange(10).unsqueeze(0) < 8
    e2 = genomic_hyperedges(torch.randn(1, 6, 10).half(), mask, FIFTH)
    assert torch.isfinite(e2).all()
    close(e2.float().sum(dim=-1), torch.ones(1, 6), 1e-3)


def test_the_order_and_the_number_of_copies_of_instances_do_not_matter(network: GHANet) -> None:
    bags = bag(40)
    expected = network(bags, whole(bags)).logits
    shuffled = bags[:, torch.randperm(40)]
    doubled = torch.cat([bags, bags], dim=1)
    close(network(shuffled, whole(shuffled)).logits, expected, 1e-10)
    close(network(doubled, whole(doubled)).logits, expected, 1e-10)


def test_padding_changes_nothing(network: GHANet) -> None:
    short, long = bag(4), bag(23, seed=1)
    mask = torch.arange(23) < torch.tensor([[4], [23]])
    padded = torch.zeros(2, 23, SMALL.features).double()
    padded[0, :4], padded[1] = short[0], long[0]
    together = network(padded, mask)
    for row, alone in enumerate((short, long)):
        answer, count = network(alone, whole(alone)), alone.shape[1]
        close(together.logits[row], answer.logits[0], 1e-10)
        close(together.groups[row], answer.groups[0], 1e-10)
        close(together.attention[row, :count], answer.attention[0], 1e-10)
        close(together.group_attention[row, :, :count], answer.group_attention[0], 1e-10)
        assert not together.attention[row, count:].any()
        assert not together.group_attention[row, :, count:].any()


def test_the_heads_do_not_touch_the_hazards(network: GHANet) -> None:
    bags = bag(12)
    before = network(bags, whole(bags)).logits
    for weight in network.heads.parameters():
        nn.init.normal_(weight)
    assert torch.equal(network(bags, whole(bags)).logits, before)


def test_the_survival_loss_trains_the_tokens_through_r_and_never_the_heads(
    network: GHANet,
) -> None:
    bags = bag(12)
    network(bags, whole(bags)).logits.sum().backward()
    assert network.associating.tokens.grad.abs().max() > 1e-6
    assert network.associating.attention.key.weight.grad.abs().max() > 1e-8
    assert all(weight.grad is None for weight in network.heads.parameters())


@pytest.mark.parametrize("hyperedges", ["both", "e2"])
def test_no_gradient_passes_through_the_genomic_hyperedges(hyperedges: Any) -> None:
    network = GHANet(replace(SMALL, hyperedges=hyperedges), SIZES).double()
    bags = bag(12)
    instances = network.instances(bags)
    groups, scores = network.associating(instances.context, whole(bags))
    answer = network.survival(instances, groups.detach(), scores, whole(bags))
    answer.logits.sum().backward()
    assert all(weight.grad is None for weight in network.associating.parameters())


def test_one_window_has_the_mean_gradient_of_its_patients() -> None:
    torch.manual_seed(0)
    network = GHANet(replace(SMALL, dropout=0.0), (3, 4)).double()
    groups = (
        ghanet_genes.Group("a", (0, 2, 4), ("", "", "")),
        ghanet_genes.Group("b", (1, 3, 5, 6), ("",) * 4),
    )
    given = patients(5, 7)
    given = replace(given, bags=tuple(b.double() for b in given.bags), genes=given.genes.double())
    losses = ghanet.losses_of(network, groups, 0.3)

    def gradient(rows: list[int]) -> torch.Tensor:
        network.zero_grad()
        losses(given.batch(rows))["total"].backward()
        return torch.cat([weight.grad.flatten() for weight in network.parameters()])

    each = torch.stack([gradient([row]) for row in range(5)])
    close(gradient(list(range(5))), each.mean(dim=0), 1e-10)


def test_the_total_is_likelihood_plus_three_tenths_of_the_reconstruction() -> None:
    torch.manual_seed(0)
    network = GHANet(SMALL, (3,)).eval()
    groups = (ghanet_genes.Group("a", (0, 2, 4), ("", "", "")),)
    batch = patients(6, 5).batch(range(6))
    found = ghanet.losses_of(network, groups, 0.3)(batch)
    close(found["total"], found["nll"] + 0.3 * found["reconstruction"])
    assert found["reconstruction"] > 0
    alone = ghanet.losses_of(network, groups, 0)(batch)
    close(alone["total"], found["nll"])


def test_patients_without_genes_add_nothing_to_the_reconstruction() -> None:
    torch.manual_seed(0)
    network = GHANet(SMALL, (3,)).eval()
    losses = ghanet.losses_of(network, (ghanet_genes.Group("a", (0, 2, 4), ("",) * 3),), 0.3)
    given = patients(6, 5)
    known = losses(given.batch(range(3)))["reconstruction"]
    given.genes[3:] = 0  # missing genes stand at the training mean
    close(losses(given.batch(range(6)))["reconstruction"], known / 2)
    unknown = losses(given.batch(range(3, 6)))
    assert torch.equal(unknown["total"], unknown["nll"])


def test_selection_keeps_columns_that_differ_and_eight_where_fewer_do() -> None:
    groups = selected(made_split(TWO_GROUPS, 30))
    assert [group.name for group in groups] == ["Oncogenes", "Protein Kinases"]
    assert 0 in groups[0].positions  # the gene that drives survival
    assert all(len(group.positions) >= 8 for group in groups)
    assert set(groups[1].positions) <= set(range(10, 30))
    assert groups[0].columns == tuple(f"G{at}_rnaseq" for at in groups[0].positions)


def test_selection_does_not_look_at_validation_or_test_patients() -> None:
    given = made_split(TWO_GROUPS, 30)
    other = replace(given, valid=given.test, test=given.valid)
    assert selected(given) == selected(other)


def test_a_fold_scores_every_role_and_rule(tmp_path: Path) -> None:
    given = made_split(TWO_GROUPS, 30)
    found = fitted(given, replace(QUICK, null=True), tmp_path)
    roles = [(role, rule) for role in ("null", "twin", "student") for rule in ("last", "inner")]
    assert set(found.scores) == set(roles)
    assert all(score.survival.shape == (20, 4) for score in found.scores.values())
    for name in ("genomic_correlation", "genomic_correlation/Oncogenes", "parameters"):
        assert name in found.facts
    assert found.student is not None
    risks = [found.student(features).risk.item() for features in given.test.bags]
    np.testing.assert_allclose(risks, found.scores["student", "inner"].risk, atol=1e-5)


def test_the_student_reads_survival_and_a_visible_gene_from_the_bag(tmp_path: Path) -> None:
    given = made_split(TWO_GROUPS, 30)
    found = fitted(given, replace(QUICK, epochs=20, twin=False), tmp_path)
    risk = found.scores["student", "last"].risk
    assert np.corrcoef(risk, -np.log(given.test.time.numpy()))[0, 1] > 0.8
    with (tmp_path / "log.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    recon = [float(row["value"]) for row in rows if row["name"] == "reconstruction"]
    assert recon[-1] < recon[0]


def test_the_twin_differs_from_the_student_only_by_the_reconstruction(tmp_path: Path) -> None:
    given = made_split(TWO_GROUPS, 30)
    weightless = replace(QUICK, recon_weight=0.0)
    found = fitted(given, weightless, tmp_path / "without")
    taught = fitted(given, QUICK, tmp_path / "with")
    twin = taught.scores["twin", "last"].risk
    np.testing.assert_array_equal(found.scores["student", "last"].risk, twin)
    assert np.abs(taught.scores["student", "last"].risk - twin).max() > 1e-4


def test_the_null_gives_each_patient_the_genes_of_another() -> None:
    given = patients(30, 4)
    null = ghanet_genes.permuted_genes(given, seed=3)
    assert not torch.equal(null.genes, given.genes)
    assert torch.equal(null.genes.sort(dim=0).values, given.genes.sort(dim=0).values)
    assert torch.equal(null.time, given.time)
    assert torch.equal(null.genes, ghanet_genes.permuted_genes(given, seed=3).genes)


def test_the_same_seed_gives_the_same_scores(tmp_path: Path) -> None:
    given, settings = made_split(TWO_GROUPS, 30), replace(QUICK, twin=False, max_patches_train=5)
    first, again = (fitted(given, settings, tmp_path / name) for name in ("a", "b"))
    other = fitted(given, settings, tmp_path / "c", seed=1)
    risks = [found.scores["student", "last"].risk for found in (first, again, other)]
    np.testing.assert_array_equal(risks[0], risks[1])
    assert not np.array_equal(risks[0], risks[2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hyperedges": "e3"}, "hyperedges"),
        ({"ratio": 0.0}, "ratio 0.0"),
        ({"hidden": 30}, "30 and 4 heads"),
    ],
)
def test_settings_out_of_range_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=message):
        fitted(made_split(TWO_GROUPS, 30), replace(QUICK, **changes), tmp_path)


def test_a_cohort_without_genes_and_a_task_of_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no gene columns"):
        fitted(made_split((), 0), QUICK, tmp_path)
    classes = replace(made_split(TWO_GROUPS, 30), task=TASKS["er"])
    with pytest.raises(TrainingError, match="found task er, expected survival"):
        fitted(classes, QUICK, tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*TracerWarning.*")
def test_the_exported_student_equals_torch_for_few_and_many_instances(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs onnx, of the extra `training`")
    onnxruntime = pytest.importorskip("onnxruntime")
    openvino = pytest.importorskip("openvino")
    torch.manual_seed(0)
    groups = tuple(ghanet_genes.Group(str(at), (), ("",) * size) for at, size in enumerate(SIZES))
    student = ghanet.SlideStudent(GHANet(SMALL, SIZES), groups).eval()
    names = list(ghanet.SlideOutputs._fields)
    path = str(tmp_path / "student.onnx")
    torch.onnx.export(
        student,
        (torch.randn(17, 10),),
        path,
        dynamo=False,
        opset_version=18,
        input_names=["features"],
        output_names=names,
        dynamic_axes={"features": {0: "N"}, "attention": {0: "N"}, "group_attention": {1: "N"}},
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    core = openvino.Core()
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(path), "CPU", exact)
    for count in (*range(1, 31), *range(31, 999, 22), 999):
        features = torch.randn(count, 10)
        with torch.inference_mode():
            expected = student(features)
        by_onnx = session.run(names, {"features": features.numpy()})
        by_openvino = compiled([features.numpy()])
        for at, (name, value) in enumerate(zip(names, expected, strict=True)):
            for found in (by_onnx[at], by_openvino[at]):
                what = f"{name} of {count}"
                np.testing.assert_allclose(found, value.numpy(), atol=1e-4, err_msg=what)
    assert [value.shape for value in by_onnx[2:]] == [(999,), (96,), (6, 999), (6,)]


def test_a_real_fold_is_learned(shared: Path, tmp_path: Path) -> None:
    given = split.prepare(cohort.load("blca", shared / "data"), "official", 0)
    settings = ghanet.Settings(epochs=4, lr=1e-3, hidden=64, twin=False)
    found = fitted(given, settings, tmp_path)
    with (tmp_path / "log.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    for name in ("nll", "reconstruction"):
        values = [float(row["value"]) for row in rows if row["name"] == name]
        assert values[-1] < values[0] - 0.02, name
    assert len([name for name in found.facts if name.startswith("columns/")]) == 6
    assert found.facts["genomic_correlation"] > 0
    assert found.student is not None
    output = found.student(given.test.bags[0])
    assert output.group_attention.shape == (6, len(given.test.bags[0]))
    assert output.expression.shape == (6,)


def test_a_cohort_with_few_columns_keeps_its_six_groups(shared: Path) -> None:
    given = split.prepare(cohort.load("ucec", shared / "data"), "official", 0)
    groups = selected(given)
    assert len(groups) == len(given.genes.groups)
    assert all(len(group.positions) >= 1 for group in groups)
    network = ghanet.build(given.width, groups, replace(QUICK, hidden=16))
    found = ghanet.losses_of(network, groups, 0.3)(given.train.batch(range(4)))
    assert torch.isfinite(found["total"])
