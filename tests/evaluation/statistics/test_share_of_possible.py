"""The share of the possible is a ratio of what two rates have above chance, over the same people."""

from __future__ import annotations

import numpy as np
import pytest

from ppd_lightning.evaluation.statistics.share_of_possible import share_of_possible
from ppd_lightning.evaluation.statistics.win_rate import win_rate

PEOPLE = [str(number // 4) for number in range(80)]


def test_it_is_the_ratio_of_what_both_have_above_chance() -> None:
    reached = np.tile([1.0, 1.0, 0.0, -1.0], 20)  # two wins, a tie and a loss each: 0.625
    possible = np.tile([1.0, 1.0, 1.0, -1.0], 20)  # 0.75
    found = share_of_possible(reached, possible, PEOPLE, tie=0.1, resamples=50)
    assert found == {"share": 0.5, "low": 0.5, "high": 0.5, "n": 80}
    negative = share_of_possible(-reached, possible, PEOPLE, tie=0.1, resamples=50)
    assert negative["share"] == -0.5


def test_people_are_drawn_in_pairs() -> None:
    """Whoever reaches all that is possible has a share of 1 whatever people are drawn, though the rate varies."""
    values = np.random.default_rng(0).normal(0.4, 1, size=80)
    found = share_of_possible(values, values, PEOPLE, tie=0.1, resamples=200)
    assert (found["share"], found["low"], found["high"]) == (1.0, 1.0, 1.0)
    rate = win_rate(values, PEOPLE, tie=0.1, resamples=200)
    assert rate.high - rate.low > 0.1


@pytest.mark.parametrize(
    ("possible", "expected"), [(0.0, (None, None, None)), (-1.0, (None, None, None)), (1.0, (1.0, 1.0, 1.0))]
)
def test_where_nothing_is_possible_there_is_no_share(
    possible: float, expected: tuple[float | None, float | None, float | None]
) -> None:
    found = share_of_possible(np.ones(80), np.full(80, possible), PEOPLE, tie=0.1, resamples=50)
    assert (found["share"], found["low"], found["high"]) == expected


def test_one_person_has_a_share_and_no_interval() -> None:
    found = share_of_possible(np.ones(4), np.ones(4), ["ann"] * 4, tie=0.1, resamples=50)
    assert (found["share"], found["low"], found["high"]) == (1.0, None, None)
