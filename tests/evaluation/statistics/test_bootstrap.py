"""Intervals over people and trainings are as wide as closed forms say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ppd_lightning.evaluation.statistics.bootstrap import draw_people, draw_trainings, estimate, resampled_means
from ppd_lightning.evaluation.statistics.win_rate import win_rate


def test_one_training_has_the_interval_of_a_win_rate() -> None:
    generator = np.random.default_rng(0)
    differences = generator.normal(0.3, 1, 400)
    people = [f"person {row % 50}" for row in range(400)]
    expected = win_rate(differences, people, tie=0.1, resamples=4000)
    scores = 0.5 + 0.5 * (differences > 0.1) - 0.5 * (differences < -0.1)
    found = estimate(scores[None], people, 4000)
    assert (found.value, found.n, found.people, found.trainings) == (expected.rate, 400, 50, 1)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.005)


@pytest.mark.parametrize("trainings", [2, 3, 5])
def test_trainings_vary_as_much_as_the_unbiased_variance_of_their_mean_says(trainings: int) -> None:
    own = np.random.default_rng(trainings).normal(size=trainings)
    shares = draw_trainings(trainings, 200_000)
    assert shares.sum(1) == pytest.approx(1.0)
    assert (shares @ own).mean() == pytest.approx(own.mean(), abs=0.01)
    assert (shares @ own).std() == pytest.approx(own.std(ddof=1) / math.sqrt(trainings), rel=0.01)


def test_variances_of_people_and_trainings_add() -> None:
    generator = np.random.default_rng(3)
    of_trainings, of_people = np.array([0.0, 1.0, 3.0]), generator.normal(size=80)
    person, values = np.arange(80), of_trainings[:, None] + of_people
    drawn = resampled_means(values, person, draw_people(person, 50_000), [draw_trainings(3, 50_000)])
    variance = of_trainings.var(ddof=1) / 3 + of_people.var() / 80
    assert drawn.std() == pytest.approx(math.sqrt(variance), rel=0.02)


def test_every_training_of_one_method_meets_every_one_of_the_other() -> None:
    """With as many people as there may be, what is left is the spread of both methods' trainings."""
    one, other = np.array([1.0, 2.0, 4.0]), np.array([0.0, 3.0])
    values = np.repeat((one[:, None] - other)[:, :, None], 10, axis=2)
    people = [str(person) for person in range(10)]
    found = estimate(values, people, 2000)
    assert found.value == pytest.approx(one.mean() - other.mean())
    assert (found.low, found.high) == pytest.approx((1 - 3, 4 - 0))
    assert found.trainings == 2


def test_a_person_with_more_comparisons_counts_more_and_stays_together() -> None:
    values, people = np.array([1.0, 1.0, 1.0, 0.0]), ["ann", "ann", "ann", "bob"]
    found = estimate(values, people, 4000)
    assert (found.value, found.low, found.high, found.people) == (0.75, 0.0, 1.0, 2)


def test_trainings_alone_make_no_interval() -> None:
    found = estimate(np.array([[1.0, 0.0], [0.0, 0.0]]), ["ann", "ann"], 100)
    assert (found.value, found.people, found.trainings) == (0.25, 1, 2)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_nobody_and_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="N >= 1 people"):
        estimate(np.zeros((2, 0)), [], 10)
    with pytest.raises(ValueError, match="N >= 1 people"):
        estimate(np.zeros((2, 3)), ["ann"], 10)
