"""The hand-made features say what their names say."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ppd_lightning.worlds.emoji.style_features import (
    FEATURES,
    PALETTE,
    SATURATION,
    SLOPE,
    VALUE,
    _drawn,
    style_features,
)


def of(image: Tensor) -> dict[str, float]:
    return dict(zip(FEATURES, style_features(image[None])[0].tolist(), strict=True))


def paper() -> Tensor:
    return torch.ones(3, 64, 64)


def test_white_paper_has_no_features() -> None:
    assert not style_features(paper()[None]).any()


def test_the_drawing_is_what_ink_surrounds() -> None:
    """Against a search from every pixel in the four directions."""
    blank = torch.rand(6, 9, 7, generator=torch.Generator().manual_seed(0)) > 0.3
    found = _drawn(blank)
    ink = ~blank
    for b, y, x in np.ndindex(*blank.shape):
        ways = (ink[b, y, : x + 1], ink[b, y, x:], ink[b, : y + 1, x], ink[b, y:, x])
        assert bool(found[b, y, x]) == all(bool(way.any()) for way in ways)


def test_a_flat_red_square() -> None:
    image = paper()
    image[:, 16:32, 8:40] = torch.tensor([0.85, 0.1, 0.1])[:, None, None]
    found = of(image)
    assert found["ink"] == 16 * 32 / 64**2
    assert (found["width"], found["height"]) == (0.5, 0.25)
    assert found["largest_colour"] == 1
    assert found["palette_entropy"] == 0
    assert found[f"colour_{5 * PALETTE**2}"] == 1
    assert found[f"saturation_{np.searchsorted(SATURATION, 0.75)}"] == 1
    assert found[f"value_{np.searchsorted(VALUE, 0.85)}"] == 1
    # Only the right and the lower edge are inside, for a slope is counted where it begins.
    edge = (16 + 32 - 1) / (16 * 32)
    assert abs(found[f"slope_{len(SLOPE)}"] - edge) < 1e-6
    assert abs(found["slope_0"] - (1 - edge)) < 1e-6


def test_histograms_count_every_pixel_of_the_drawing_once() -> None:
    image = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 0.8
    features = style_features(image)
    for name in ("saturation", "value", "slope", "bend"):
        columns = [place for place, feature in enumerate(FEATURES) if feature.startswith(f"{name}_")]
        torch.testing.assert_close(features[:, columns].sum(1), torch.ones(4))


def test_shading_is_smooth_and_flat_colour_is_not() -> None:
    shaded, flat = paper(), paper()
    shaded[:, 8:56, 8:56] = torch.linspace(0.0, 0.85, 48)
    flat[:, 8:56, 8:56] = 0.4
    assert of(shaded)["smooth_shading"] > 0.9
    assert of(flat)["smooth_shading"] == 0


def test_outlines_are_dark_at_the_edges_and_paper_shows_inside() -> None:
    image = paper()
    image[:, 10:50, 10:50] = 0
    image[:, 12:48, 12:48] = 1
    found = of(image)
    assert found["dark_outline"] > 0.4
    assert abs(found["light_inside"] - 36**2 / 40**2) < 1e-6
    assert found["chroma_at_edges"] == 0


def test_only_slopes_tell_a_picture_from_its_mirror_image() -> None:
    """They are taken to the right, and then hardly."""
    image = paper()
    image[:, 10:30, 5:60] = torch.rand(3, 20, 55, generator=torch.Generator().manual_seed(2)) * 0.8
    found, mirrored = of(image), of(image.flip(2))
    moved = {name for name in FEATURES if abs(found[name] - mirrored[name]) > 1e-5}
    assert moved
    assert all(
        name.startswith("slope_") or name in ("smooth_shading", "dark_outline", "chroma_at_edges") for name in moved
    )
    assert max(abs(found[name] - mirrored[name]) for name in moved) < 0.06
