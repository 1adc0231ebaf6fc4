"""Every image of a grid of blends is where its weights put it."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ppd_lightning.evaluation.statistics.simplex import simplex_grid
from ppd_lightning.figures.simplex import simplex_figure

CELL = 16


def coloured(weights: np.ndarray) -> list[Image.Image]:
    """Images whose red, green and blue are the weights."""
    colours = np.zeros((len(weights), 3))
    colours[:, : weights.shape[1]] = weights
    return [Image.new("RGB", (8, 8), tuple((255 * colour).round().astype(int).tolist())) for colour in colours]


def centres(figure: Figure) -> dict[tuple[int, ...], tuple[float, float]]:
    """The colour of each image, and x and y of its centre in sides of an image, from left and from below."""
    found = {}
    for image in figure.axes[0].images:
        left, right, bottom, top = image.get_extent()
        assert (right - left, top - bottom) == pytest.approx((1, 1))
        found[tuple(np.asarray(image.get_array())[0, 0].tolist())] = ((left + right) / 2, (bottom + top) / 2)
    return found


def test_of_three_users_the_first_is_above_the_second_left_and_the_third_right() -> None:
    weights = simplex_grid(3, 4)
    figure = simplex_figure(coloured(weights), weights, ["red", "green", "blue"], cell=CELL)
    at = centres(figure)
    red, green, blue = at[255, 0, 0], at[0, 255, 0], at[0, 0, 255]
    assert green[1] == blue[1] < red[1]
    assert green[0] < red[0] < blue[0]
    assert red[0] == pytest.approx((green[0] + blue[0]) / 2)
    assert at[0, 128, 128] == pytest.approx(((green[0] + blue[0]) / 2, green[1]))
    assert {text.get_text() for text in figure.axes[0].texts} == {"red", "green", "blue"}


def test_no_image_hides_another_and_all_are_within_the_figure() -> None:
    weights = simplex_grid(3, 4)
    figure = simplex_figure(coloured(weights), weights, ["a", "b", "c"], cell=CELL)
    places = np.array(list(centres(figure).values()))
    assert len(places) == len(weights)
    distances = np.abs(places[:, None] - places).max(2) + 2 * np.eye(len(places))
    assert distances.min() >= 1
    (left, right), (bottom, top) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    assert (places - 0.5 >= [left, bottom]).all()
    assert (places + 0.5 <= [right, top]).all()


def test_two_users_are_a_line() -> None:
    weights = simplex_grid(2, 4)
    at = centres(simplex_figure(coloured(weights), weights, ["red", "green"], cell=CELL))
    assert {y for _, y in at.values()} == {0.5}
    assert at[255, 0, 0][0] < at[128, 128, 0][0] < at[0, 255, 0][0]


def test_four_users_have_no_figure() -> None:
    weights = simplex_grid(4, 2)
    with pytest.raises(ValueError, match="two or three users"):
        simplex_figure(coloured(weights[:, :3]), weights, list("abcd"), cell=CELL)
