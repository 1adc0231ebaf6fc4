"""Statistics are rewards of the image alone, by their formulas, through the same interface as all others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError
from ppd_lightning.rewards import image_statistics
from ppd_lightning.rewards.reward import open_rewards

NAMES = ("colourfulness", "brightness", "clutter", "sharpness", "symmetry")
SETTINGS = compose(["mode=synthetic", f"reward=[{','.join(NAMES)}]", "data.image_size=16"]).rewards


def pictures(count: int) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("name", NAMES)
def test_a_score_is_its_formula_of_the_pixels_whatever_the_caption_and_the_batch(name: str) -> None:
    reward = open_rewards(SETTINGS)[name]
    shown = pictures(33)
    pixels = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in shown]).float() / 255
    scores = reward.score(shown, ["x"] * 33)
    torch.testing.assert_close(scores, getattr(image_statistics, name)(pixels))
    torch.testing.assert_close(reward.score(shown[:1], [""]), scores[:1])
    assert not reward.needs_captions


def test_sharpness_equals_the_filter_applied_pixel_by_pixel() -> None:
    image = np.random.default_rng(1).random((3, 7, 9))
    luma = np.tensordot([0.299, 0.587, 0.114], image, 1)
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]) / 6
    filtered = [(luma[y - 1 : y + 2, x - 1 : x + 2] * kernel).sum() for y in range(1, 6) for x in range(1, 8)]
    found = image_statistics.sharpness(torch.from_numpy(image)[None].float())
    assert found.item() == pytest.approx(np.var(filtered), rel=1e-5)


def test_symmetry_is_the_correlation_with_the_mirror_image() -> None:
    image = np.random.default_rng(2).random((3, 6, 8))
    luma = np.tensordot([0.299, 0.587, 0.114], image, 1)
    expected = np.corrcoef(luma.ravel(), luma[:, ::-1].ravel())[0, 1]
    found = image_statistics.symmetry(torch.from_numpy(image)[None].float())
    assert found.item() == pytest.approx(expected, abs=1e-5)


def test_a_mirror_image_is_symmetric_its_negative_is_not_and_one_colour_is() -> None:
    half = torch.rand(1, 3, 8, 4, generator=torch.Generator().manual_seed(0))
    mirrored, negative = torch.cat([half, half.flip(3)], 3), torch.cat([half, 1 - half.flip(3)], 3)
    both = torch.cat([mirrored, negative, torch.full((1, 3, 8, 8), 0.7)])
    first, second, plain = image_statistics.symmetry(both).tolist()
    assert first == pytest.approx(1, abs=1e-5)
    assert second < 0
    assert plain == 1


def test_blur_takes_sharpness_away() -> None:
    sharp = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    soft = torch.nn.functional.avg_pool2d(sharp, 3, 1)
    assert image_statistics.sharpness(soft) < 0.5 * image_statistics.sharpness(sharp)


def test_a_size_that_is_none_is_reported() -> None:
    settings = compose(["reward=[clutter]", "rewards.clutter.options.size=2"]).rewards
    with pytest.raises(
        UserError, match=r"rewards\.clutter\.options\.size: must be a whole number of pixels, 3 or more"
    ):
        open_rewards(settings)
