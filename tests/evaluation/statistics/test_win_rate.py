"""A win rate counts what it says, and its interval is as wide as the people differ."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ppd_lightning.evaluation.statistics.intervals import words
from ppd_lightning.evaluation.statistics.win_rate import win_rate


def test_wins_losses_and_ties_are_counted_and_ties_count_half() -> None:
    found = win_rate(np.array([1.0, 0.5, 0.1, -0.1, 0.0, -2.0]), list("abcdef"), tie=0.1)
    assert (found.n, found.wins, found.losses, found.ties) == (6, 2, 1, 3)
    assert found.rate == pytest.approx((2 + 3 / 2) / 6)
    assert found.decided == pytest.approx(2 / 3)
    assert found.low <= found.rate <= found.high


@pytest.mark.parametrize(("difference", "rate"), [(1.0, 1.0), (-1.0, 0.0), (0.0, 0.5)])
def test_unanimous_people_leave_no_doubt(difference: float, rate: float) -> None:
    found = win_rate(np.full(20, difference), ["a", "b"] * 10, tie=0.0)
    assert (found.rate, found.low, found.high) == (rate, rate, rate)


def test_one_person_has_no_interval_and_two_have_one() -> None:
    one = win_rate(np.array([1.0, -1.0, 1.0]), ["ann"] * 3, tie=0.0)
    assert (one.numbers()["rate"], one.numbers()["low"], one.numbers()["high"]) == (0.6667, None, None)
    assert words(one.low, one.high, ".2f") == "none: fewer than 2 to resample"
    two = win_rate(np.array([1.0, -1.0, 1.0]), ["ann", "bob", "ann"], tie=0.0)
    assert words(two.low, two.high, ".2f") == "0.00 to 1.00"


def test_nothing_is_decided_where_all_are_ties() -> None:
    assert win_rate(np.zeros(3), list("abc"), tie=0.0).decided == 0.5


def test_one_comparison_each_gives_the_binomial_interval() -> None:
    n, p = 400, 0.7
    found = win_rate(np.where(np.arange(n) < n * p, 1.0, -1.0), [str(i) for i in range(n)], tie=0.0, resamples=20_000)
    half = 1.96 * math.sqrt(p * (1 - p) / n)
    assert found.low == pytest.approx(p - half, abs=0.004)
    assert found.high == pytest.approx(p + half, abs=0.004)


def test_intervals_cluster_by_person() -> None:
    """Ten comparisons of each person that always agree tell no more than one of each."""
    once = np.random.default_rng(0).choice([-1.0, 1.0], 60, p=[0.3, 0.7])
    alone = win_rate(once, [str(i) for i in range(60)], tie=0.0, resamples=5000)
    copies = np.repeat(once, 10)
    together = win_rate(copies, [str(i // 10) for i in range(600)], tie=0.0, resamples=5000)
    naive = win_rate(copies, [str(i) for i in range(600)], tie=0.0, resamples=5000)
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high), abs=0.01)
    assert (together.high - together.low) / (naive.high - naive.low) == pytest.approx(math.sqrt(10), rel=0.1)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """People whose own rates differ around 0.65; the true rate lies in about 95 % of the intervals."""
    generator, covered = np.random.default_rng(1), 0
    for trial in range(300):
        own = generator.beta(6.5, 3.5, size=50)
        won = generator.random((50, 8)) < own[:, None]
        found = win_rate(
            np.where(won, 1.0, -1.0).ravel(), np.repeat(np.arange(50), 8).astype(str).tolist(), tie=0.0, seed=trial
        )
        covered += found.low <= 0.65 <= found.high
    assert 0.90 <= covered / 300 <= 0.985


def test_order_of_the_comparisons_does_not_matter() -> None:
    generator = np.random.default_rng(2)
    differences, people = generator.normal(size=100), generator.integers(10, size=100).astype(str)
    order = generator.permutation(100)
    first = win_rate(differences, people.tolist(), tie=0.1)
    assert first == win_rate(differences[order], people[order].tolist(), tie=0.1)


def test_blocks_of_the_bootstrap_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    differences, people = np.random.default_rng(3).normal(size=40), [str(i % 8) for i in range(40)]
    whole = win_rate(differences, people, tie=0.1)
    monkeypatch.setattr("ppd_lightning.evaluation.statistics.win_rate.BLOCK", 100)
    assert win_rate(differences, people, tie=0.1) == whole


@pytest.mark.parametrize(
    ("differences", "people"), [([], []), ([0.0, np.nan], ["a", "b"]), ([[0.0], [1.0]], ["a", "b"]), ([0.0] * 3, ["a"])]
)
def test_what_cannot_be_counted_is_refused(differences: list[float], people: list[str]) -> None:
    with pytest.raises(ValueError, match="difference"):
        win_rate(np.array(differences), people, tie=0.0)
