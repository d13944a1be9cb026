from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="needs torch, of the extra `training`")

from training.cohorts.cohort import Task  # noqa: E402
from training.cohorts.genes import FittedGenes  # noqa: E402
from training.cohorts.who2021 import CLASSES, who2021  # noqa: E402
from training.errors import TrainingError  # noqa: E402
from training.learning.bags import Patients, fixed_rows  # noqa: E402  # after the check for torch
from training.learning.graphs import run, write_graph  # noqa: E402
from training.learning.journal import Journal  # noqa: E402
from training.learning.loop import learning_rate_factor, train  # noqa: E402
from training.learning.split import Split  # noqa: E402
from training.methods.disentangled import method as disentangled  # noqa: E402
from training.methods.disentangled import stages as disentangled_stages  # noqa: E402
from training.methods.disentangled.deformable import DeformableAttention, sampling_side  # noqa: E402
from training.methods.disentangled.density_peaks import (  # noqa: E402
    cluster_count,
    density_peaks,
    merge,
    squared_distances,
)
from training.methods.disentangled.genes import MICROENVIRONMENT, TUMOR, subspaces  # noqa: E402
from training.methods.disentangled.losses import (  # noqa: E402
    Targets,
    aligned,
    distillation,
    event_times,
)
from training.methods.disentangled.stages import Fold  # noqa: E402
from training.methods.disentangled.student import (  # noqa: E402
    MagnificationStudent,
    Shape,
    SlideStudent,
    Student,
    merged,
)
from training.methods.disentangled.teacher import (  # noqa: E402
    MagnificationTeacher,
    SingleKeyAttention,
    Teacher,
)
from training.methods.disentangled.tokens import Slides, coarser, grid_side, token_rows  # noqa: E402

SMALL = Shape(16, 3, side=8, ratio=0.02)
QUICK = disentangled.Settings(
    epochs=1, twin_epochs=1, teacher_epochs=1, window=16, cross_fit=2, gene_lists="groups"
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # two that share a busy core wait for each other
    yield
    torch.set_num_threads(before)


def of(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(found: torch.Tensor, expected: Any, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found.double(), of(expected), atol=tolerance, rtol=0)


def parameters(module: torch.nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


# Shapes as published


def test_a_published_teacher_has_the_published_number_of_parameters() -> None:
    assert parameters(MagnificationTeacher(1024, 4)) == 552_134


def test_a_published_student_has_the_published_number_of_parameters() -> None:
    shape = Shape(1024, 4, order="density", unused=True)
    assert parameters(MagnificationStudent(shape)) == 243_558
    assert parameters(Student(shape)) == 487_116


def test_the_layers_the_release_never_calls_and_the_probe_are_the_only_difference() -> None:
    assert parameters(MagnificationStudent(Shape(1024, 4))) == 243_558 - 16_512 - 256 + 129


def test_sampling_points_to_a_side_follow_the_grid(oracles: dict[str, Any]) -> None:
    oracle = oracles["O12_grid"]
    assert [sampling_side(side) for side in oracle["n"]] == oracle["m"]
    assert sampling_side(grid_side(2500)) ** 2 == oracle["keys_for_2500"]


def test_attention_over_2500_tokens_has_144_places_and_sums_to_one() -> None:
    block = DeformableAttention().eval()
    tokens = torch.randn(1, 2500, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        output, attention = block(tokens, tokens)
    assert output.shape == (1, 2500, 128)
    assert attention.shape == (1, 8, 2500, 144)
    torch.testing.assert_close(attention.sum(-1), torch.ones(1, 8, 2500))


def test_an_offset_moves_a_sampling_place_by_at_most_four_cells() -> None:
    torch.manual_seed(0)
    block = DeformableAttention().eval()
    places = block.places(100 * torch.randn(2, 8, 2500, 64), 50)
    cells = torch.arange(12.0)
    row, column = torch.meshgrid(cells, cells, indexing="ij")
    moved = (places + 1) / 2 * 11 - torch.stack([column, row], dim=-1)
    assert 3.9 < moved.abs().max() <= 4 + 1e-4


@pytest.mark.parametrize("tokens", [2400, 0, 63])
def test_tokens_that_make_no_square_are_refused(tokens: int) -> None:
    with pytest.raises(TrainingError, match=f"found {tokens} tokens, expected a square"):
        grid_side(tokens)


def test_a_network_refuses_tokens_that_make_no_square() -> None:
    with pytest.raises(TrainingError, match="found 2400 tokens, expected a square"):
        MagnificationTeacher(16, 3)(torch.zeros(1, 2400, 16), *torch.zeros(2, 1, 128))


def test_a_grid_too_small_to_sample_and_an_odd_one_to_halve_are_refused() -> None:
    with pytest.raises(TrainingError, match="two sampling points"):
        sampling_side(7)
    with pytest.raises(TrainingError, match="even side"):
        coarser(torch.zeros(1, 81, 4))


def test_a_number_of_regions_other_than_two_is_refused() -> None:
    with pytest.raises(TrainingError, match="found 1 regions of 64 tokens"):
        Shape(16, 3, side=8)


# Bags and tokens


def test_token_rows_in_the_graph_equal_the_rule_of_fixed_bags(oracles: dict[str, Any]) -> None:
    oracle = oracles["O25_fixdim"]
    for count in (2, 5, 7):
        assert token_rows(torch.tensor([count]), 5)[0].tolist() == oracle[f"n{count}"]
    thinned = token_rows(torch.tensor([6000]), 2500)[0]
    assert thinned[:5].tolist() == oracle["head_6000"]
    assert int(thinned.max()) == oracle["max_6000"]


def test_token_rows_agree_with_fixed_rows_for_every_bag_size() -> None:
    counts = torch.arange(1, 700)
    expected = torch.stack([fixed_rows(int(count), 64) for count in counts])
    assert torch.equal(token_rows(counts, 64), expected)


def test_the_coarser_view_is_the_mean_of_two_by_two_neighbors_at_their_places() -> None:
    fine = torch.arange(16.0).reshape(1, 16, 1)
    expected = [2.5, 2.5, 4.5, 4.5] * 2 + [10.5, 10.5, 12.5, 12.5] * 2
    assert coarser(fine).flatten().tolist() == expected


# Gathering


def test_density_peaks_finds_the_centers_and_the_clusters(oracles: dict[str, Any]) -> None:
    oracle = oracles["O19_dpc"]
    points = of(oracle["points"]).unsqueeze(0)
    centers, cluster = density_peaks(points, 2, neighbors=oracle["k"])
    assert centers[0].tolist() == oracle["centres"]
    assert cluster[0].tolist() == oracle["assign"]
    tokens, share = merge(points, of(oracle["log_weights"]).exp().unsqueeze(0), cluster, 2)
    close(tokens[0], oracle["merged_tokens"])
    assert float(share.sum()) == pytest.approx(2, abs=1e-5)


def test_the_number_of_clusters_is_a_share_rounded_up(oracles: dict[str, Any]) -> None:
    assert cluster_count(2500, 0.0008) == oracles["O19b_count"]["value"]
    assert cluster_count(100, 0.0008) == oracles["O19b_count"]["N100"]


def test_equal_densities_are_decided_by_place_and_not_by_noise() -> None:
    square = of([[[0, 0], [0, 1], [1, 0], [1, 1]]])
    centers, _ = density_peaks(square, 2, neighbors=2)
    assert centers[0].tolist()[0] == 0
    same = torch.zeros(1, 6, 3)
    centers, cluster = density_peaks(same, 2)
    assert centers[0].tolist() == [0, 1]
    assert set(cluster[0].tolist()) == {0, 1}  # no region is empty, even of one repeated instance


@pytest.mark.parametrize("count", [1, 3, 7, 12, 20, 63])
def test_repeats_of_a_short_bag_lead_to_the_same_regions_however_sums_are_rounded(
    count: int,
) -> None:
    """Places of one instance are one token: which of two instances is denser is not left to the
    rounding of the sums, which another runtime does otherwise."""
    torch.manual_seed(0)
    bag = torch.nn.functional.layer_norm(torch.randn(1, count, 128), (128,))
    tokens = bag[:, token_rows(torch.tensor([count]), 64)[0]]
    found = density_peaks(tokens, 2)[1]
    assert (
        int((squared := squared_distances(tokens)).eq(0).sum())
        == sum(
            int((token_rows(torch.tensor([count]), 64)[0] == at).sum()) ** 2 for at in range(count)
        )
        or count == 1
    )
    assert bool((squared >= 0).all())
    for seed in range(20):
        noise = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(seed))
        again = density_peaks(tokens + 2e-7 * noise, 2)[1]
        regions, others = (merge(tokens, torch.ones(1, 64), c, 2)[0] for c in (found, again))
        torch.testing.assert_close(others, regions, atol=1e-4, rtol=0)


def test_the_more_confident_magnification_answers(oracles: dict[str, Any]) -> None:
    oracle = oracles["O18_maxconf"]
    close(merged(of(oracle["l10"]), of(oracle["l20"]), "confidence"), oracle["merged"])


def test_the_fine_magnification_answers_on_a_tie() -> None:
    coarse, fine = of([[1, 0, 0]]), of([[0, 1, 0]])
    assert torch.equal(merged(coarse, fine, "confidence"), fine)


# Teacher


def test_attention_to_one_key_is_a_constant_shift() -> None:
    torch.manual_seed(0)
    block = SingleKeyAttention().eval()
    queries, key = torch.randn(3, 10, 128), torch.randn(3, 128)
    expected, _ = block.published(queries, key.unsqueeze(1), key.unsqueeze(1))
    found = block(key, queries=10).expand(-1, 10, -1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_a_teacher_reads_both_magnifications_with_genes() -> None:
    teacher = Teacher(16, 4, ((0, 1), (2, 3, 4)), 0.1)
    tokens = torch.randn(5, 64, 16)
    for reading in teacher(tokens, coarser(tokens), torch.randn(5, 5)):
        assert reading.logits.shape == (5, 4)
        assert reading.halves.shape == (5, 2, 128)
        assert reading.tumor_map.shape == (5, 8, 64, 4)


@pytest.mark.parametrize("mode", ["projection", "release"])
def test_coordination_leaves_no_row_of_the_classifier_in_conflict(mode: Any) -> None:
    torch.manual_seed(0)
    teacher = MagnificationTeacher(16, 3)
    halves, label = torch.randn(6, 2, 128).tanh(), torch.tensor([0, 1, 2, 0, 1, 2])
    first = torch.randn(3, 128)
    teacher.classify.weight.grad = torch.cat([first, torch.randn(3, 128) - first], dim=1)
    teacher.fuse.weight.grad = torch.ones_like(teacher.fuse.weight)
    teacher.coordinate(halves, label, mode)
    gradient = teacher.classify.weight.grad
    products = (gradient[:, :128] * gradient[:, 128:]).sum(dim=1)
    assert float(products.min()) > -1e-4
    assert bool((teacher.fuse.weight.grad == 1).all())  # the backbone is left alone


# Student


def test_a_student_depends_on_the_order_of_its_instances() -> None:
    torch.manual_seed(0)
    student = SlideStudent(Student(SMALL), survives=False)
    features = torch.randn(60, 16)
    with torch.inference_mode():
        kept, turned = student(features), student(features.flip(0))
    assert float((kept.probability - turned.probability).abs().max()) > 1e-4


def test_a_report_says_where_it_looked_and_what_each_magnification_said() -> None:
    torch.manual_seed(0)
    student = SlideStudent(Student(replace(SMALL, classes=4)), survives=True)
    for count in (1, 40, 64, 200):
        with torch.inference_mode():
            report = student(torch.randn(count, 16))
        assert report.attention.shape == report.region.shape == (count,)
        assert float(report.attention.sum()) == pytest.approx(1, abs=1e-5)
        seen = set(token_rows(torch.tensor([count]), 64)[0].tolist())
        assert {i for i in range(count) if report.region[i] >= 0} == seen
        assert -4 <= float(report.risk) <= 0
        assert bool((report.survival.diff() <= 0).all())
        assert report.magnifications.shape == (2, 4)
        assert report.embedding.shape == (512,)


def test_a_given_coarse_magnification_is_read_instead_of_the_derived_one() -> None:
    torch.manual_seed(0)
    student = SlideStudent(Student(SMALL), survives=False)
    fine, coarse = torch.randn(40, 16), torch.randn(10, 16)
    with torch.inference_mode():
        alone, both = student(fine), student(fine, coarse)
    assert not torch.equal(alone.magnifications[0], both.magnifications[0])
    assert torch.equal(alone.magnifications[1], both.magnifications[1])


def test_training_orders_the_tokens_as_the_teacher_and_inference_by_the_probe() -> None:
    torch.manual_seed(0)
    student = MagnificationStudent(SMALL).eval()
    tokens = torch.randn(4, 64, 16)
    own = student(tokens).regions
    swapped = student(tokens, own.flip(1))
    torch.testing.assert_close(swapped.regions, own.flip(1))
    assert torch.equal(swapped.region, 1 - student(tokens).region)
    assert student.probe is not None
    scores = student.probe(own).squeeze(-1)
    assert bool((scores[:, 0] >= scores[:, 1]).all())


def test_the_density_order_ignores_the_teacher() -> None:
    torch.manual_seed(0)
    student = MagnificationStudent(replace(SMALL, order="density")).eval()
    tokens = torch.randn(4, 64, 16)
    own = student(tokens)
    assert torch.equal(student(tokens, own.regions.flip(1)).regions, own.regions)
    assert float(student.order_loss(own.regions)) == 0


@pytest.mark.parametrize("survives", [False, True])
def test_the_exported_student_equals_its_module_for_any_number_of_instances(
    tmp_path: Path, survives: bool
) -> None:
    torch.manual_seed(0)
    student = SlideStudent(Student(replace(SMALL, classes=4)), survives=survives)
    example = torch.randn(40, 16)
    names = student(example)._fields
    axes = {"features": {0: "N"}, "attention": {0: "N"}, "region": {0: "N"}}
    path = write_graph(
        "student", student, (example,), tmp_path, inputs=["features"], outputs=names, dynamic=axes
    )
    for count in (1, 7, 63, 64, 65, 300):
        features = torch.randn(count, 16)
        with torch.inference_mode():
            expected = student(features)
        found = run(path, {"features": features.numpy()})
        for name, value in zip(names, expected, strict=True):
            np.testing.assert_allclose(found[name], value.numpy(), atol=1e-4, rtol=0)


# Distillation


def test_event_times_are_a_distribution_that_a_common_rise_of_the_hazards_moves() -> None:
    logits = torch.tensor([[-2.0, 0.0, 1.0, -0.5]])
    chance = event_times(logits).exp()
    hazard = torch.sigmoid(logits)[0]
    assert float(chance.sum()) == pytest.approx(1, abs=1e-6)
    assert float(chance[0, 1]) == pytest.approx(float((1 - hazard[0]) * hazard[1]), abs=1e-6)
    assert float(event_times(logits + 1).exp()[0, -1]) < float(chance[0, -1])


def test_patients_without_genes_take_no_part_in_the_distillation() -> None:
    torch.manual_seed(0)
    logits, regions = torch.randn(2, 6, 3), torch.randn(2, 6, 2, 128)
    known = torch.tensor([True, False, True, True, False, False])
    targets = Targets(torch.randn(6, 2, 3), torch.randn(6, 2, 2, 128), known)
    other = targets._replace(
        logits=torch.where(known[:, None, None], targets.logits, torch.zeros(())),
    )
    found = distillation(logits, regions, targets, temperature=2.0, times=False)
    again = distillation(logits, regions, other, temperature=2.0, times=False)
    assert found == again
    nobody = targets._replace(known=torch.zeros(6, dtype=torch.bool))
    assert distillation(logits, regions, nobody, temperature=2.0, times=False) == (0, 0)


def test_alignment_undoes_a_rotation_between_two_teachers() -> None:
    torch.manual_seed(0)
    reference = torch.randn(300, 2, 2, 128)
    turn = torch.linalg.qr(torch.randn(128, 128)).Q
    seen = reference @ turn
    torch.testing.assert_close(aligned(seen, seen, reference), reference, atol=1e-3, rtol=0)


def test_the_null_control_deals_the_same_targets_to_other_patients() -> None:
    known = torch.arange(20) % 3 > 0
    targets = Targets(torch.arange(20.0), torch.zeros(20), known)
    dealt = targets.shuffled(0)
    assert torch.equal(dealt.known, known)
    assert torch.equal(dealt.logits[~known], targets.logits[~known])
    assert sorted(dealt.logits.tolist()) == targets.logits.tolist()
    assert not torch.equal(dealt.logits, targets.logits)


def test_the_learning_rate_warms_up_and_falls_to_nothing(oracles: dict[str, Any]) -> None:
    oracle = oracles["O21b_lr_warmup_cosine"]
    found = [learning_rate_factor(step, 100, 1000, True) for step in oracle["it"]]
    assert found == pytest.approx(oracle["factor"], abs=1e-6)


def test_the_released_schedule_rises_again_where_ours_does_not(oracles: dict[str, Any]) -> None:
    oracle = oracles["O21_lr_quirk"]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    released = []
    for _ in range(26):
        released.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert [released[step] for step in oracle["step"]] == pytest.approx(oracle["lr"], abs=1e-9)
    ours = [learning_rate_factor(step, 2, 26, True) for step in range(2, 27)]
    assert ours == sorted(ours, reverse=True)


# Labels and genes


def test_who_2021_classes_follow_the_markers(oracles: dict[str, Any]) -> None:
    oracle = oracles["O23_who2021"]
    assert [who2021(*case) for case in oracle["cases"]] == oracle["label"]
    assert len(CLASSES) == len(oracle["names"])


def test_an_undetermined_marker_has_no_class() -> None:
    with pytest.raises(TrainingError, match="IDH status ''"):
        who2021("", "codel", 0, "G2")
    with pytest.raises(TrainingError, match="1p/19q status"):
        who2021("Mutant", "", 0, "G2")


def test_gene_lists_are_unique_and_take_the_expression_of_what_the_cohort_has() -> None:
    for symbols in (TUMOR.split(), MICROENVIRONMENT.split()):
        assert len(symbols) == len(set(symbols))
    columns = ("EGFR_cnv", "EGFR_rnaseq", "CD68_rnaseq", "ACTB_rnaseq")
    assert subspaces(columns, (), "signatures") == ((1,), (2,))


def test_an_empty_subspace_and_an_unknown_list_are_refused() -> None:
    with pytest.raises(TrainingError, match="found no tumor gene among 1"):
        subspaces(("CD68_rnaseq",), (), "signatures")
    with pytest.raises(TrainingError, match="found no microenvironment gene"):
        subspaces(("EGFR_rnaseq",), (), "signatures")
    with pytest.raises(TrainingError, match="gene_lists='best'"):
        subspaces(("EGFR_rnaseq",), (), "best")


# Fitting


def patients(count: int, seed: int, survives: bool) -> Patients:
    draw = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % 3
    genes = torch.randn(count, 6, generator=draw) + label.unsqueeze(1)
    genes[-4:] = 0  # not measured
    bags = tuple(torch.randn(5 + i % 9, 16, generator=draw) + 0.7 * label[i] for i in range(count))
    return Patients(
        ids=tuple(f"P{seed}{i:03d}" for i in range(count)),
        bags=bags,
        genes=genes,
        time=torch.rand(count, generator=draw) * 40 + 1,
        event=(torch.arange(count) % 2).float(),
        bin=torch.arange(count) // 2 % 4,
        label=torch.zeros(count, dtype=torch.int64) if survives else label,
        age=torch.full((count,), 50.0),
    )


def split(survives: bool) -> Split:
    task = (
        Task("os", "survival", ())
        if survives
        else Task("diagnosis", "classification", tuple("abc"))
    )
    genes = FittedGenes(
        columns=tuple(f"G{i}_rnaseq" for i in range(6)),
        mean=np.zeros(6, np.float32),
        std=np.ones(6, np.float32),
        groups=(("Oncogenes", (0, 1, 2)), ("Cell Differentiation Markers", (3, 4, 5))),
    )
    parts = (patients(n, seed, survives) for seed, n in enumerate((52, 18, 21)))
    return Split(
        "toy", "official", 0, task, *parts, edges=(0.0, 10.0, 20.0, 30.0, 41.0), genes=genes
    )


def calibrated_alike(said: Any, scored: Any) -> bool:
    """Whether what is scored is what the student says, calibrated: one scale of the log
    probabilities, and one shift of each class, for four fifths of the patients.

    Densities of tokens may tie within what one sum differs from another: then other tokens lead
    when a slide is read alone than in a batch.
    """
    said, scored = np.log(said), np.log(scored)
    said, scored = (x - x.mean(axis=1, keepdims=True) for x in (said, scored))
    known = np.stack([np.column_stack([row, np.eye(3)]) for row in said])
    agree = np.ones(len(said), bool)
    for _ in range(4):  # those whose leading tokens tie must not bend the fit
        rows = known[agree].reshape(-1, 4)
        found, *_ = np.linalg.lstsq(rows, scored[agree].ravel(), rcond=None)
        off = np.abs(known @ found - scored).max(axis=1)
        agree = off <= np.sort(off)[int(0.8 * len(off))]
    return bool((off < 1e-3).mean() >= 0.8)


@pytest.mark.parametrize("survives", [False, True])
def test_a_fold_is_fitted_with_twin_teacher_student_and_null(
    tmp_path: Path, survives: bool
) -> None:
    given = split(survives)
    with Journal(tmp_path) as journal:
        fitted = disentangled.fit(given, replace(QUICK, null=True), 0, journal)
    roles = {role for role, _ in fitted.scores}
    assert roles == {"twin", "teacher", "student", "null"}
    assert {rule for _, rule in fitted.scores} == {"inner", "last"}
    for score in fitted.scores.values():
        values = score.risk if survives else score.probability
        assert values is not None
        assert len(values) == len(given.test)
        assert np.isfinite(values).all()
    with torch.inference_mode():
        report = fitted.student(given.test.bags[0])
    best = fitted.scores["student", "inner"]
    if survives:
        assert float(report.risk) == pytest.approx(best.risk[0], abs=1e-4)
    else:
        with torch.inference_mode():
            said = [fitted.student(bag).probability.numpy() for bag in given.test.bags]
        assert calibrated_alike(said, best.probability)


def test_the_twin_is_trained_as_long_as_the_student_and_sees_no_teacher(tmp_path: Path) -> None:
    given = split(False)
    settings = replace(QUICK, epochs=2, twin_epochs=1, null=False)
    with Journal(tmp_path / "one") as journal:
        one = disentangled.fit(given, settings, 0, journal)
    epochs = pd.read_csv(tmp_path / "one" / "log.csv").groupby("phase")["epoch"].max()
    assert epochs["alone"] == 1
    assert epochs["twin"] == epochs["student"] == 2
    train = replace(given.train, genes=given.train.genes.flip(1) * 2)
    with Journal(tmp_path / "other") as journal:
        other = disentangled.fit(replace(given, train=train), settings, 0, journal)
    twins = [found.scores["twin", "last"].probability for found in (one, other)]
    students = [found.scores["student", "last"].probability for found in (one, other)]
    assert (twins[0] == twins[1]).all()
    assert not (students[0] == students[1]).all()


def test_the_same_seed_gives_the_same_scores_and_a_killed_fit_goes_on(tmp_path: Path) -> None:
    given, found = split(False), []
    for name in ("one", "two", "two"):  # the third finds the finished phases of the second
        with Journal(tmp_path / name) as journal:
            fitted = disentangled.fit(given, QUICK, 3, journal)
        found.append(fitted.scores["student", "last"].probability)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[1], found[2])


def test_two_magnifications_of_tile_features_are_fitted_as_given(tmp_path: Path) -> None:
    given = split(False)
    train, valid, test = (
        replace(part, coarse=tuple(bag[::2].clone() for bag in part.bags))
        for part in (given.train, given.valid, given.test)
    )
    two = replace(given, train=train, valid=valid, test=test)
    with Journal(tmp_path / "two") as journal:
        both = disentangled.fit(two, QUICK, 0, journal)
    with Journal(tmp_path / "one") as journal:
        derived = disentangled.fit(given, QUICK, 0, journal)
    first, second = (f.scores["student", "last"].probability for f in (both, derived))
    assert not np.array_equal(first, second)
    with torch.inference_mode():
        said = [both.student(*shown).probability.numpy() for shown in two.test.shown]
    assert calibrated_alike(said, both.scores["student", "inner"].probability)


def test_the_target_of_a_patient_comes_from_a_teacher_that_did_not_see_the_patient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, taught = split(False), {}

    def recorded(
        phase: str, model: Any, losses: Any, of_phase: Patients, *rest: Any, **more: Any
    ) -> Any:
        states = train(phase, model, losses, of_phase, *rest, **more)
        taught[phase] = (set(of_phase.ids), states.last)
        return states

    monkeypatch.setattr(disentangled_stages, "train", recorded)
    with Journal(tmp_path) as journal:
        genes = subspaces(given.genes.columns, given.genes.groups, "groups")
        slides = [Slides(part, 8) for part in (given.train, given.valid)]
        fold = Fold(given.task, QUICK, 0, journal, *slides, genes)
        teacher, states = fold.teach("teacher", slides[0].subset(fold.measured()))
        targets = fold.targets(teacher, states)
    assert targets.known.tolist() == [True] * 48 + [False] * 4
    for phase in ("teacher/0", "teacher/1"):
        trained_on, state = taught[phase]
        held = [i for i in range(48) if given.train.ids[i] not in trained_on]
        assert held
        teacher.load_state_dict(state)
        batch = given.train.batch(held)
        with torch.inference_mode():
            coarse, fine = teacher.eval()(*slides[0].tokens(batch), batch.genes)
        expected = torch.stack([coarse.logits, fine.logits], dim=1)
        torch.testing.assert_close(targets.logits[held], expected, atol=1e-5, rtol=0)


def test_too_few_patients_with_genes_are_refused(tmp_path: Path) -> None:
    given = split(False)
    bare = replace(given.train, genes=torch.zeros_like(given.train.genes))
    with (
        Journal(tmp_path) as journal,
        pytest.raises(TrainingError, match="found 0 training patients with genes"),
    ):
        disentangled.fit(replace(given, train=bare), QUICK, 0, journal)


def test_the_published_choices_build_the_published_networks() -> None:
    choices = disentangled.published("os")
    assert (choices.side, choices.cross_fit, choices.token_order) == (50, 0, "density")
    assert choices.gene_dropout == 0.01


def test_projecting_the_values_of_few_keys_first_changes_nothing() -> None:
    torch.manual_seed(0)
    block = DeformableAttention().eval()
    attention, value = torch.rand(2, 8, 64, 4), torch.randn(2, 8, 4, 64)
    read = (attention @ value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(block.output(attention, value), block.to_output(read))


def test_the_densest_of_tokens_that_are_all_close_together_is_found():
    """Their densities are 1 to the last bit, so only distances tell which is denser."""
    line = torch.tensor([0.0, 6.0, 12.0, 18.0, 24.0, 30.0, 100.0, 101.0, 102.0, 103.0, 104.0])
    tokens = torch.stack([line, torch.zeros(11)], dim=1)[None] * 1e-5
    near = squared_distances(tokens).topk(5, largest=False).values.mean(dim=-1)
    assert torch.exp(-near).unique().tolist() == [1.0]
    centers, cluster = density_peaks(tokens, 2)
    assert centers[0, 0] == 8, "the middle of the closer ones"
    assert cluster[0].tolist() == [1] * 6 + [0] * 5
