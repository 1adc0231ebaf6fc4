from __future__ import annotations

import math

import pytest

from ppd_lightning.training.learning_rate import SCHEDULES, learning_rate_factor


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_is_linear_and_reaches_the_peak_right_after(schedule: str) -> None:
    factors = [learning_rate_factor(step, 100, 9, schedule) for step in range(10)]
    assert factors == pytest.approx([(step + 1) / 10 for step in range(10)])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", lambda x: 1.0),
        ("linear", lambda x: 1 - x),
        ("cosine", lambda x: (1 + math.cos(math.pi * x)) / 2),
    ],
)
def test_what_follows_is_the_schedules_closed_form(schedule: str, expected) -> None:
    for step in range(20, 101):
        factor = learning_rate_factor(step, 100, 20, schedule)
        assert factor == pytest.approx(expected((step - 20) / 80), abs=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_warm_up_begins_at_the_peak_and_nothing_grows_after_the_end(schedule: str) -> None:
    assert learning_rate_factor(0, 10, 0, schedule) == 1
    assert learning_rate_factor(15, 10, 0, schedule) == pytest.approx(learning_rate_factor(10, 10, 0, schedule))


@pytest.mark.parametrize("step", [0, 50])
def test_an_unknown_schedule_is_refused_at_once(step: int) -> None:
    with pytest.raises(ValueError, match="'cosin'"):
        learning_rate_factor(step, 100, 10, "cosin")
