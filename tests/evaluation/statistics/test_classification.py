"""The classifier is a multinomial logistic regression; it finds planted users, and none in noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.statistics.classification import classify, hits, split_rows, splits_of, top_rates

USERS, ROWS, WIDTH = 40, 8, 5


def planted(strength: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of users who differ by `strength` times what one user's rows differ by; no two rows share a pair."""
    generator = np.random.default_rng(seed)
    users = np.repeat(np.arange(USERS), ROWS)
    vectors = strength * generator.normal(size=(USERS, WIDTH))[users] + generator.normal(size=(len(users), WIDTH))
    return vectors.astype(np.float32), users, np.arange(len(users))[:, None]


def rates(vectors: np.ndarray, users: np.ndarray, shots: np.ndarray, tests: int = 3) -> list[dict[str, float]]:
    splits = splits_of(users, shots, tests)
    return top_rates(vectors, users, splits, sizes=[1, 4, 16], regularisation=1.0, resamples=500)[0]


def test_planted_users_are_found_well_above_chance() -> None:
    for rate in rates(*planted(2.0)):
        assert rate["low"] > rate["chance"] + 0.2
    assert rates(*planted(20.0))[0]["rate"] > 0.95


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_at_chance(seed: int) -> None:
    """At 160 tests of 1 in 40 four deviations are 0.05; of 16 in 40 they are 0.155."""
    one, four, sixteen = rates(*planted(0.0, seed), tests=4)
    assert abs(one["rate"] - 1 / 40) < 0.05
    assert abs(four["rate"] - 4 / 40) < 0.1
    assert abs(sixteen["rate"] - 16 / 40) < 0.155


def test_users_of_many_rows_are_not_the_likelier_for_it() -> None:
    """In noise, each of five users with 40 rows and of 35 with one is the likeliest equally often: 35 in 40 times."""
    generator = np.random.default_rng(0)
    users = np.concatenate([np.repeat(np.arange(5), 40), np.arange(5, 40)])
    odds = classify(generator.normal(size=(len(users), 3)), users, generator.normal(size=(4000, 3)), 1.0)
    assert (odds.argmax(1) >= 5).mean() > 0.7


def test_the_same_vector_for_everybody_is_at_chance_exactly() -> None:
    vectors, users, shots = planted(1.0)
    for rate in rates(np.ones_like(vectors), users, shots):
        assert rate["rate"] == pytest.approx(rate["chance"], abs=1e-3)


def test_log_odds_are_those_of_an_independent_solver() -> None:
    generator = np.random.default_rng(1)
    users = np.repeat(np.arange(4), 6)
    vectors = generator.normal(size=(24, 3)) + users[:, None]
    standard = (vectors - vectors.mean(0)) / vectors.std(0)

    inputs, weights = np.concatenate([standard, np.ones((24, 1))], axis=1), np.zeros((4, 4))
    for _ in range(20_000):  # plain gradient descent
        odds = np.exp(inputs @ weights)
        gradient = inputs.T @ (odds / odds.sum(1, keepdims=True) - np.eye(4)[users])
        gradient[:3] += 0.7 * weights[:3]
        weights -= 0.02 * gradient
    assert np.abs(gradient).max() < 1e-6
    expected = inputs @ weights
    found = classify(vectors, users, vectors, 0.7)
    found, expected = (odds - odds.mean(1, keepdims=True) for odds in (found, expected))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_places_are_counted_and_equals_share_them() -> None:
    odds = np.array([[3.0, 2.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 5.0, 5.0, 1.0]])
    found = hits(odds, np.array([1, 3, 2]), [1, 2, 3])
    np.testing.assert_allclose(found, [[0, 1, 1], [0.25, 0.5, 0.75], [0.5, 1, 1]])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 5))
def test_training_and_test_share_no_pair_where_that_can_be(seed: int, turn: int) -> None:
    generator = np.random.default_rng(seed)
    users = np.repeat(np.arange(6), generator.integers(2, 7, 6))
    shots = users[:, None] * 100 + generator.integers(0, 9, (len(users), 2))
    split = split_rows(users, shots, turn)
    assert not set(split.train) & set(split.test)
    assert users[split.test].tolist() == list(range(6))
    for user, chosen in enumerate(split.test):
        trained = split.train[users[split.train] == user]
        assert len(trained)
        overlaps = bool(set(shots[trained].ravel()) & set(shots[chosen]))
        others = [row for row in np.flatnonzero(users == user) if row != chosen]
        assert overlaps == all(set(shots[row]) & set(shots[chosen]) for row in others)
        assert split.apart[user] != overlaps


def test_users_whose_rows_all_share_pairs_are_not_tested() -> None:
    """Half of the users have rows with one pair in common, and vectors that would give them away."""
    vectors, users, shots = planted(0.0)
    shots = np.where((users < USERS // 2)[:, None], -1, shots)
    told = np.where((users < USERS // 2)[:, None], 100.0 * np.eye(USERS)[users], 0).astype(np.float32)
    splits = splits_of(users, shots, 2)
    vectors = np.concatenate([vectors, told], 1)
    rates_, tested = top_rates(vectors, users, splits, sizes=[1], regularisation=1.0, resamples=100)
    assert tested == USERS // 2
    assert rates_[0]["rate"] < 0.25
    assert rates_[0]["chance"] == 1 / USERS
    with pytest.raises(UserError, match="any two rows of a user share a pair"):
        splits_of(users, np.zeros_like(shots), 2)
