"""Curves of taste against content, against what can be computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ppd_lightning.evaluation.statistics.curves import Curves, common_range, differences, mean_differences, taste_at


def curve(*points: tuple[float, float], resamples: int = 0) -> Curves:
    """The same points in each resampling."""
    content, taste = (np.array([values] * (1 + resamples), np.float64) for values in zip(*points, strict=True))
    return Curves(content, taste)


def at(curves: Curves, *levels: float) -> list[float]:
    found: list[float] = taste_at(curves.content, curves.taste, np.array([levels]))[0].tolist()
    return found


def test_a_curve_joins_its_points_by_straight_lines_and_ends_with_them() -> None:
    falling = curve((1.0, 0.5), (0.9, 0.7), (0.7, 0.8))
    assert at(falling, 1.0, 0.95, 0.9, 0.8, 0.7) == pytest.approx([0.5, 0.6, 0.7, 0.75, 0.8])
    assert np.isnan(at(falling, 1.01, 0.69)).all()


def test_where_a_curve_passes_a_level_again_the_highest_taste_counts() -> None:
    back_and_forth = curve((1.0, 0.5), (0.8, 0.6), (0.9, 0.9), (0.7, 0.7))
    assert at(back_and_forth, 0.85) == pytest.approx([0.85]), "of 0.575, 0.75 and 0.85"
    standing = curve((0.9, 0.5), (0.9, 0.8), (0.9, 0.6))
    assert at(standing, 0.9) == pytest.approx([0.8])


def test_the_order_of_the_guidance_scale_joins_points_not_that_of_contents() -> None:
    noisy = curve((1.0, 0.5), (0.98, 0.6), (0.99, 0.7), (0.9, 0.8))
    assert at(noisy, 0.985) == pytest.approx([0.7 + 0.1 * 0.005 / 0.09])


def test_the_common_range_is_what_both_have() -> None:
    one, other = curve((1.0, 0.5), (0.8, 0.7)), curve((0.95, 0.5), (0.6, 0.9))
    assert [float(end[0]) for end in common_range(one.content, other.content)] == [0.8, 0.95]


def test_the_mean_difference_of_parallel_lines_is_their_distance() -> None:
    one, other = curve((1.0, 0.6), (0.5, 1.1)), curve((1.0, 0.5), (0.8, 0.7), (0.6, 0.9))
    assert mean_differences(one, other)[0] == pytest.approx(0.1)


def test_the_mean_difference_of_a_triangle_is_half_of_its_height() -> None:
    one, other = curve((1.0, 0.5), (0.8, 0.9), (0.6, 0.5)), curve((1.0, 0.5), (0.6, 0.5))
    assert mean_differences(one, other)[0] == pytest.approx(0.2)


def test_a_method_that_only_turns_the_scale_further_is_no_better() -> None:
    """The same trade, met at other guidance scales, by points at other places."""
    slow, quick = curve((1.0, 0.5), (0.96, 0.58), (0.9, 0.7)), curve((1.0, 0.5), (0.93, 0.64), (0.5, 1.5))
    for found in differences(slow, quick, [0.97, 0.92], 3):
        assert found.value == pytest.approx(0, abs=1e-12)


def test_levels_outside_of_the_common_range_are_left_out() -> None:
    one, other = curve((1.0, 0.6), (0.8, 0.7), resamples=3), curve((0.95, 0.5), (0.6, 0.7), resamples=3)
    found = differences(one, other, [0.99, 0.9, 0.75], 3)
    assert [difference.level for difference in found] == [None, 0.9]
    assert (found[0].begin, found[0].end, found[0].reached) == (0.8, 0.95, 1.0)
    assert found[1].value == pytest.approx(0.65 - (0.5 + 0.2 * 0.05 / 0.35))
    assert found[1].low == pytest.approx(found[1].value)


def test_curves_without_a_common_content_are_not_compared() -> None:
    assert differences(curve((1.0, 0.5), (0.9, 0.6)), curve((0.8, 0.5), (0.7, 0.9)), [0.85], 3) == []


def test_the_share_of_resamplings_that_reach_a_level_is_reported() -> None:
    content = np.array([[1.0, 0.8], [1.0, 0.8], [1.0, 0.9], [1.0, 0.9]])
    one = Curves(content, np.array([[0.5, 0.9]] * 4))
    other = Curves(np.array([[1.0, 0.7]] * 4), np.full((4, 2), 0.5))
    mean, at_level = differences(one, other, [0.85], 3)
    assert [math.isnan(found.low) for found in differences(one, other, [0.85], 1)] == [True, True]
    assert mean.reached == 1.0
    assert at_level.reached == pytest.approx(1 / 3), "of three resamplings, two end at 0.9"
    assert at_level.low == pytest.approx(0.3)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """People whose tastes and recognised pictures vary; the two methods differ by 0.1 at every content."""
    generator, people, hits, trials, resamples = np.random.default_rng(0), 80, 0, 60, 200
    scales = np.array([0.0, 1.0, 2.0])
    for _ in range(trials):
        likes = generator.normal(0, 0.3, people)
        keeps = generator.random((people, 1, 10))

        def measured(
            gain: float, likes: np.ndarray = likes, keeps: np.ndarray = keeps
        ) -> tuple[np.ndarray, np.ndarray]:
            content = (keeps < 1 - 0.1 * scales[None, :, None]).mean(2)  # (P, G)
            taste = gain * (scales > 0) + 0.2 * scales + likes[:, None] * scales
            return content, taste + generator.normal(0, 0.2, taste.shape) * (scales > 0)

        times = generator.multinomial(people, np.full(people, 1 / people), size=resamples)
        times = np.concatenate([np.ones((1, people), int), times]) / people
        one, other = (Curves(times @ content, times @ taste) for content, taste in (measured(0.1), measured(0.0)))
        (found,) = [each for each in differences(one, other, [0.85], 3) if each.level]
        hits += found.low <= 0.1 <= found.high
    assert hits / trials >= 0.85
