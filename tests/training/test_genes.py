from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra (torch)")

from training.cohorts.genes import (  # noqa: E402
    GROUPS,
    fit_genes,
    group_positions,
    high_low,
    read_signatures,
    select,
    welch,
)
from training.errors import TrainingError  # noqa: E402 (after the skip)

SIGNATURES = {"Oncogenes": ("MYC", "KRAS"), "Protein Kinases": ("MYC", "EGFR"), "Markers": ("CD3",)}


def frame(**columns: list[float]) -> pd.DataFrame:
    rows = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=[f"p{at}" for at in range(rows)]).astype(np.float32)


@pytest.fixture(scope="module")
def oracle(shared: Path) -> dict[str, list[float]]:
    return json.loads((shared / "reference/oracles.json").read_text())["O8_select"]


@pytest.fixture
def oracle_genes(oracle: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    event, bins = 1 - np.array(oracle["censored"]), np.array(oracle["bin"])
    genes = np.full((8, 2), 1e6)  # the dropped patient: would ruin both tests if it counted
    side = np.array(oracle["group"])
    genes[side == "high"], genes[side == "low"] = oracle["high"], oracle["low"]
    return genes, event, bins


def test_early_deaths_are_high_risk_late_ones_low_and_early_censored_neither(oracle: dict) -> None:
    words = {"high": 1, "low": 0, "drop": -1}
    event = 1 - np.array(oracle["censored"])
    assert high_low(event, oracle["bin"]).tolist() == [words[word] for word in oracle["group"]]


def test_welch_p_values_and_the_mask_are_those_of_the_oracle(oracle: dict, oracle_genes) -> None:
    genes, event, bins = oracle_genes
    np.testing.assert_allclose(welch(genes, event, bins), oracle["welch_p"], rtol=1e-9)
    kept = select(genes, event, bins, [0, 1], at_least=1)
    assert kept.tolist() == np.flatnonzero(oracle["mask"]).tolist()


def test_selection_returns_positions_among_all_genes_and_takes_tensors(oracle_genes) -> None:
    genes, event, bins = oracle_genes
    wide = torch.tensor(np.concatenate([np.zeros((8, 3)), genes], axis=1), dtype=torch.float32)
    kept = select(wide, torch.tensor(event), torch.tensor(bins), [4, 3, 0], at_least=1)
    assert kept.tolist() == [3]


def test_too_few_survivors_are_filled_with_the_smallest_p() -> None:
    rng = np.random.default_rng(0)
    event, bins = np.ones(40), np.arange(40) % 4
    genes = rng.normal(size=(40, 12))
    genes[bins < 2, 5] += 5
    kept = select(genes, event, bins, range(12), p=1e-6, at_least=4)
    assert 5 in kept
    assert set(kept) == set(np.argsort(welch(genes, event, bins))[:4])
    assert kept.tolist() == sorted(kept)


def test_a_group_smaller_than_the_minimum_keeps_all_its_columns() -> None:
    genes = np.random.default_rng(0).normal(size=(12, 3))
    assert select(genes, np.ones(12), np.arange(12) % 4, [0, 2]).tolist() == [0, 2]


def test_a_gene_without_any_spread_is_never_significant() -> None:
    genes = np.array([[1.0], [1.0], [0.0], [0.0]])  # constant on each side: p is undefined
    assert welch(genes * 0, np.ones(4), [0, 1, 2, 3]).tolist() == [1.0]


def test_a_group_without_columns_is_refused() -> None:
    with pytest.raises(TrainingError, match="functional group without gene columns"):
        select(np.zeros((8, 3)), np.ones(8), np.arange(8) % 4, [])


def test_selection_needs_two_patients_on_each_side() -> None:
    with pytest.raises(TrainingError, match="found 1 high-risk and 2 low-risk"):
        select(np.zeros((3, 1)), [1, 1, 1], [0, 2, 3], [0])


def test_scaling_uses_the_training_patients_only() -> None:
    train = frame(MYC_rnaseq=[0, 2, 4, 6], KRAS_mut=[0, 1, 0, 1])
    fitted = fit_genes(train, SIGNATURES)
    scaled = fitted.transform(frame(KRAS_mut=[1], MYC_rnaseq=[3 + 2 * np.sqrt(5)]))
    np.testing.assert_allclose(scaled.numpy(), [[2.0, 1.0]], rtol=1e-6)
    assert scaled.dtype == torch.float32


def test_missing_values_become_the_training_mean_and_outliers_are_clipped() -> None:
    fitted = fit_genes(frame(MYC_rnaseq=[-1, 1, np.nan, -1, 1]), SIGNATURES)
    scaled = fitted.transform(frame(MYC_rnaseq=[np.nan, 14000, -14000]))
    assert scaled.flatten().tolist() == [0.0, 10.0, -10.0]


def test_columns_that_do_not_vary_in_training_are_left_out_and_named() -> None:
    train = frame(
        MYC_rnaseq=[0, 1], KRAS_mut=[0, 0], EGFR_cnv=[np.nan, np.nan], CD3_cnv=[2, np.nan]
    )
    fitted = fit_genes(train, SIGNATURES)
    assert fitted.columns == ("MYC_rnaseq",)
    assert fitted.constant == ("KRAS_mut", "EGFR_cnv", "CD3_cnv")
    assert fitted.transform(train).shape == (2, 1)


def test_a_cohort_without_gene_columns_gives_a_matrix_of_width_zero() -> None:
    empty = pd.DataFrame(index=["p0", "p1"])
    assert fit_genes(empty, SIGNATURES).transform(empty).shape == (2, 0)


def test_a_missing_gene_column_is_named() -> None:
    fitted = fit_genes(frame(MYC_rnaseq=[0, 1], KRAS_mut=[0, 1]), SIGNATURES)
    with pytest.raises(TrainingError, match=r"found no gene column KRAS_mut \(1 of 2 missing\)"):
        fitted.transform(frame(MYC_rnaseq=[0, 1]))


def test_a_column_without_a_gene_suffix_is_refused() -> None:
    with pytest.raises(TrainingError, match="found 'train' among the gene columns"):
        fit_genes(frame(MYC_rnaseq=[0, 1], train=[0, 1]), SIGNATURES)


def test_infinite_values_are_refused() -> None:
    with pytest.raises(TrainingError, match="infinite value in gene column KRAS_cnv"):
        fit_genes(frame(MYC_cnv=[0, 1], KRAS_cnv=[0, np.inf]), SIGNATURES)


def test_a_gene_counts_with_every_column_and_in_every_group_that_lists_it() -> None:
    columns = ("MYC_rnaseq", "KRAS_mut", "EGFR_cnv", "MYC_cnv")
    assert group_positions(columns, SIGNATURES) == (
        ("Oncogenes", (0, 1, 3)),
        ("Protein Kinases", (0, 2, 3)),
    )


def test_a_signature_table_without_a_group_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signatures.csv"
    path.write_text(",".join(GROUPS[:-1]) + "\n")
    with pytest.raises(TrainingError, match="found no column Cytokines and Growth Factors"):
        read_signatures(path)


def test_the_published_signatures_have_the_published_sizes(shared: Path) -> None:
    groups = read_signatures(shared / "data/porpoise/datasets_csv/signatures.csv")
    assert list(groups) == list(GROUPS)
    # 452 rows of differentiation markers name 443 genes: 9 stand twice
    assert [len(members) for members in groups.values()] == [82, 328, 513, 443, 1334, 452]
