"""A rank counts those of the cohort that are lower, never those of the same score."""

from __future__ import annotations

import numpy as np
import pytest

from inference.outputs.rank import rank_of

LINEAR = np.linspace(0, 1, 101).tolist()


@pytest.mark.parametrize(
    ("table", "score", "rank"),
    [
        ([0.5] * 101, 0.5, 0),
        ([0.0] * 41 + np.linspace(0.01, 1, 60).tolist(), 0.0, 0),
        (np.linspace(0, 0.99, 60).tolist() + [1.0] * 41, 1.0, 60),
        ([0.0] * 20 + [0.1] * 40 + np.linspace(0.2, 1, 41).tolist(), float(np.float32(0.1)), 20),
    ],
)
def test_those_of_the_same_score_are_not_below_it(table: list[float], score: float, rank: float):
    assert rank_of(score, table) == rank


def test_only_a_score_above_the_whole_cohort_ranks_above_100():
    assert rank_of(1.001, LINEAR) == 100
    assert 99 < rank_of(1.0, LINEAR) < 100
    assert rank_of(-0.1, LINEAR) == 0


@pytest.mark.parametrize("score", np.random.default_rng(0).random(50, np.float32).tolist())
def test_between_values_of_a_table_without_ties_the_rank_is_interpolated(score: float):
    assert rank_of(score, LINEAR) == float(np.interp(score, LINEAR, np.arange(101)))
