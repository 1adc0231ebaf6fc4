"""The image statistics are the published formulas, computed a second way in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppd_lightning.rewards.image_statistics import STATISTICS, image_statistics


def reference(image: np.ndarray) -> list[float]:
    """(3, H, W) float64, pixel by pixel."""
    red, green, blue = image
    rg, yb = red - green, 0.5 * (red + green) - blue
    colourfulness = np.sqrt(rg.std() ** 2 + yb.std() ** 2) + 0.3 * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
    luma = np.tensordot([0.299, 0.587, 0.114], image, 1)
    slopes = []
    for y in range(1, luma.shape[0] - 1):
        for x in range(1, luma.shape[1] - 1):
            part = luma[y - 1 : y + 2, x - 1 : x + 2]
            across = (part[:, 2] - part[:, 0]) @ [1, 2, 1] / 8
            down = (part[2] - part[0]) @ [1, 2, 1] / 8
            slopes.append(np.hypot(across, down))
    ink = sum(pixel.min() < 0.9 for pixel in image.reshape(3, -1).T) / luma.size
    return [colourfulness, luma.mean(), float(np.mean(slopes)), ink]


def column(images: torch.Tensor, name: str) -> list[float]:
    return image_statistics(images)[:, STATISTICS.index(name)].tolist()


def test_statistics_equal_an_independent_computation_in_float64() -> None:
    images = np.random.default_rng(0).random((5, 3, 9, 12)) ** 0.3
    ours = image_statistics(torch.from_numpy(images))
    assert ours.shape == (5, len(STATISTICS))
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), [reference(image) for image in images], rtol=2e-5)


def test_colourfulness_agrees_with_the_published_scale() -> None:
    """Half pure red, half pure blue: rg is 255 or 0, yb is 127.5 or -255, in the paper's units."""
    image = torch.zeros(1, 3, 8, 8)
    image[:, 0, :, :4], image[:, 2, :, 4:] = 1, 1
    published = np.hypot(127.5, 191.25) + 0.3 * np.hypot(127.5, -63.75)
    assert 255 * column(image, "colourfulness")[0] == pytest.approx(published)


def test_white_paper_has_no_ink_clutter_or_colour() -> None:
    assert image_statistics(torch.ones(1, 3, 8, 8)).tolist()[0] == pytest.approx([0, 1, 0, 0], abs=1e-6)


def test_grey_has_no_colour_and_its_own_brightness() -> None:
    grey = torch.full((1, 3, 8, 8), 0.25)
    assert column(grey, "colourfulness") == pytest.approx([0], abs=1e-6)
    assert column(grey, "brightness") == pytest.approx([0.25])


def test_clutter_counts_edges() -> None:
    one, three = torch.ones(2, 3, 18, 18)
    one[:, 9:] = 0
    three[:, 5:9], three[:, 13:] = 0, 0
    first, second = column(torch.stack([one, three]), "clutter")
    assert first == pytest.approx(1 / 16)
    assert second == pytest.approx(3 * first)


def test_a_batch_gives_what_each_image_gives_alone() -> None:
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([image_statistics(image[None]) for image in images])
    torch.testing.assert_close(image_statistics(images), alone)


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)]
)
def test_other_shapes_and_types_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\) float"):
        image_statistics(images)
