"""Every image of a grid of blends lies where its weights put it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ppd_lightning.evaluation.simplex_picture import GAP, LINE, draw_simplex
from ppd_lightning.evaluation.statistics.simplex import simplex_grid

CELL = 16


def coloured(weights: np.ndarray) -> list[Image.Image]:
    """Pictures whose red, green and blue are the weights."""
    colours = np.zeros((len(weights), 3))
    colours[:, : weights.shape[1]] = weights
    return [Image.new("RGB", (8, 8), tuple((255 * colour).round().astype(int).tolist())) for colour in colours]


def test_of_three_users_the_first_is_above_the_second_left_and_the_third_right() -> None:
    weights = simplex_grid(3, 4)
    sheet = draw_simplex(coloured(weights), weights, ["red", "green", "blue"], cell=CELL)
    middle, lowest = sheet.width // 2, sheet.height - LINE - 2 * GAP - CELL // 2
    assert sheet.getpixel((middle, LINE + CELL // 2)) == (255, 0, 0)
    assert sheet.getpixel((GAP + CELL // 2, lowest)) == (0, 255, 0)
    assert sheet.getpixel((sheet.width - GAP - CELL // 2, lowest)) == (0, 0, 255)
    assert sheet.getpixel((middle, lowest)) == (0, 128, 128)


def test_no_picture_hides_another() -> None:
    weights = simplex_grid(3, 4)
    sheet = np.asarray(draw_simplex(coloured(weights), weights, ["a", "b", "c"], cell=CELL)).reshape(-1, 3)
    for colour in (255 * weights).round():
        assert (sheet == colour).all(1).sum() == CELL * CELL


def test_two_users_are_a_line() -> None:
    weights = simplex_grid(2, 4)
    sheet = draw_simplex(coloured(weights), weights, ["red", "green"], cell=CELL)
    row = sheet.height - LINE - 2 * GAP - CELL // 2
    assert sheet.getpixel((GAP + CELL // 2, row)) == (255, 0, 0)
    assert sheet.getpixel((sheet.width - GAP - CELL // 2, row)) == (0, 255, 0)
    assert sheet.height < 3 * CELL + LINE


def test_four_users_have_no_place_on_paper() -> None:
    weights = simplex_grid(4, 2)
    with pytest.raises(ValueError, match="two or three users"):
        draw_simplex(coloured(weights[:, :3]), weights, list("abcd"), cell=CELL)
