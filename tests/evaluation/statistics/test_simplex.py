"""Blends of users: the grid holds every weight once, and rank correlations are scipy's own."""

from __future__ import annotations

from itertools import pairwise
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from ppd_lightning.evaluation.statistics.simplex import rank_correlations, simplex_grid


@given(users=st.integers(1, 4), divisions=st.integers(1, 6))
def test_the_grid_holds_every_weight_once(users: int, divisions: int) -> None:
    grid = simplex_grid(users, divisions)
    assert grid.shape == (comb(divisions + users - 1, users - 1), users)
    assert np.allclose(grid.sum(1), 1)
    assert np.allclose(grid * divisions, np.round(grid * divisions))
    assert len({tuple(row) for row in grid.round(9).tolist()}) == len(grid)
    corners = {tuple(row) for row in np.eye(users).tolist()}
    assert corners <= {tuple(row) for row in grid.tolist()}


def test_the_correlation_is_spearmans() -> None:
    generator, weights = np.random.default_rng(0), simplex_grid(3, 4)
    scores = generator.normal(size=(7, len(weights), 3))
    for user, found in enumerate(rank_correlations(weights, scores, resamples=50)):
        expected = spearmanr(weights[:, user], scores.mean(0)[:, user]).statistic
        assert found.correlation == pytest.approx(expected, abs=1e-12)
        assert found.low <= found.high
        assert found.points == 15


def test_scores_that_follow_the_weights_rise_at_every_step_and_leave_no_doubt() -> None:
    weights = simplex_grid(3, 4)
    captions = np.random.default_rng(1).normal(size=(9, 1, 1))  # captions differ, not what a weight does
    for found in rank_correlations(weights, captions + weights**2, resamples=200):
        assert found.rises == 1
        assert found.correlation > 0.99  # points with one weight differ in their last bits alone
        assert found.low > 0.95


def test_scores_that_have_nothing_to_do_with_the_weights_correlate_with_nothing() -> None:
    weights, generator = simplex_grid(3, 8), np.random.default_rng(2)
    for found in rank_correlations(weights, generator.normal(size=(40, len(weights), 3))):
        assert found.low < 0 < found.high
        assert 0.2 < found.rises < 0.8


def test_equal_scores_correlate_with_nothing_and_do_not_rise() -> None:
    weights = simplex_grid(2, 3)
    assert [(found.correlation, found.rises) for found in rank_correlations(weights, np.zeros((2, 4, 2)))] == [
        (0, 0)
    ] * 2


def test_two_users_are_a_line() -> None:
    grid = simplex_grid(2, 4)
    assert [first - second for (first, _), (second, _) in pairwise(grid.tolist())] == [0.25] * 4


@pytest.mark.parametrize(
    "scores", [np.zeros((2, 3)), np.zeros((2, 4, 3)), np.zeros((0, 4, 2)), np.full((1, 4, 2), np.nan)]
)
def test_what_does_not_belong_together_is_refused(scores: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected|finite"):
        rank_correlations(simplex_grid(2, 3), scores)
