"""Consistency and thirds of people, on people who are consistent by construction or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from ppd_lightning.evaluation.scores.long_tail import consistency, thirds


def test_somebody_who_always_chooses_alike_is_predicted_every_time() -> None:
    generator = np.random.default_rng(0)
    liked = np.array([3.0, -1.0, 2.0])
    differences = generator.normal(size=(20, 3))
    differences *= np.sign(differences @ liked)[:, None]
    assert consistency(differences) > 0.85
    assert consistency(np.tile(liked, (5, 1))) == 1.0


def test_coin_tosses_are_predicted_half_the_time() -> None:
    generator = np.random.default_rng(1)
    found = [consistency(generator.normal(size=(30, 6))) for _ in range(400)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.03)


def test_it_is_leave_one_out_as_written_out() -> None:
    differences = np.random.default_rng(2).normal(size=(9, 4))
    right = [differences[row] @ np.delete(differences, row, 0).mean(0) > 0 for row in range(9)]
    assert consistency(differences) == pytest.approx(np.mean(right))


def test_a_single_choice_predicts_nothing() -> None:
    assert consistency(np.ones((1, 3))) == 0.5


def test_thirds_are_ordered_complete_and_keep_equals_together() -> None:
    values = {f"{place}": float(place) for place in range(9)}
    assert thirds(values) == {"low": ["0", "1", "2"], "middle": ["3", "4", "5"], "high": ["6", "7", "8"]}
    assert thirds(dict.fromkeys("abc", 4.0)) == {"low": ["a", "b", "c"]}
    assert thirds({"a": 1.0, "b": 1.0, "c": 1.0, "d": 5.0}) == {"low": ["a", "b", "c"], "high": ["d"]}
    assert thirds({}) == {}
