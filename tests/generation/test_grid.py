from __future__ import annotations

import numpy as np
import torch

from ppd_lightning.generation.grid import as_bytes, as_picture, draw_grid


def test_pixels_are_rounded_and_kept_in_range() -> None:
    image = torch.tensor([0.0, 1.0, 0.5, 1.2, -0.1, 0.499 / 255])[None, None, None].expand(1, 3, 1, 6)
    assert as_bytes(image)[0, 0, :, 0].tolist() == [0, 255, 128, 255, 0, 0]


def test_channels_come_last() -> None:
    image = torch.zeros(3, 2, 4)
    image[0], image[2] = 1, 0.2
    assert np.asarray(as_picture(image)).tolist() == [[[255, 0, 51]] * 4] * 2


def test_each_picture_stands_in_its_row_and_column() -> None:
    colours = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0))
    images = colours[..., None, None].expand(2, 3, 3, 8, 8)
    sheet = np.asarray(draw_grid(images, ["a fox", "tree"], ["base", "ann\nlikes flat", "bo"], cell=40, title="Title"))
    found = {tuple(pixel) for pixel in sheet.reshape(-1, 3)}
    places = {}
    for row in range(2):
        for column in range(3):
            colour = as_bytes(images[row : row + 1, column])[0, 0, 0]
            assert tuple(colour) in found
            inside = np.argwhere((sheet == colour).all(2))
            assert len(inside) == 40 * 40
            places[row, column] = inside.min(0).tolist()
    assert places[0, 0][0] == places[0, 2][0] < places[1, 0][0] == places[1, 2][0]
    assert places[0, 0][1] == places[1, 0][1] < places[0, 1][1] < places[0, 2][1]
    assert places[0, 0][0] > 30
    assert places[0, 0][1] > 30
