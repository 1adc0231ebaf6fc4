from __future__ import annotations

import pytest
import torch
from tests import tiny_codec
from torch import Tensor
from torch.nn import functional as F

from ppd_lightning.backbones.cascade.previewer import Previewer


@pytest.fixture(scope="module")
def previewer() -> Previewer:
    return tiny_codec.previewer()


def _rewritten(state: dict[str, Tensor], latents: Tensor) -> Tensor:
    def block(features: Tensor, place: int, convolve, **settings) -> Tensor:
        features = F.gelu(
            convolve(features, *(state[f"blocks.{place}.{name}"] for name in ("weight", "bias")), **settings)
        )
        norm = (state[f"blocks.{place + 2}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(features, *norm)

    features = block(latents, 0, F.conv2d)
    features = block(features, 3, F.conv2d, padding=1)
    for place in (6, 12, 18):
        features = block(features, place, F.conv_transpose2d, stride=2)
        features = block(features, place + 3, F.conv2d, padding=1)
    return F.conv2d(features, state["blocks.24.weight"], state["blocks.24.bias"]).clamp(0, 1)


def test_previews_equal_a_plain_rewrite_in_float64(previewer) -> None:
    latents = torch.randn(2, 16, 4, 6, generator=torch.Generator().manual_seed(1))
    expected = _rewritten({name: weight.double() for name, weight in previewer.state_dict().items()}, latents.double())
    found = previewer(latents)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    assert ((expected > 0) & (expected < 1)).double().mean() > 0.5


def test_shapes_of_weights_are_those_of_the_released_file() -> None:
    with torch.device("meta"):
        state = Previewer().state_dict()
    shapes = {
        0: (512, 16, 1, 1),
        3: (512, 512, 3, 3),
        6: (512, 256, 2, 2),
        9: (256, 256, 3, 3),
        12: (256, 128, 2, 2),
        15: (128, 128, 3, 3),
        18: (128, 128, 2, 2),
        21: (128, 128, 3, 3),
        24: (3, 128, 1, 1),
    }
    assert {name: tuple(state[name].shape) for name in state if state[name].ndim == 4} == {
        f"blocks.{place}.weight": shape for place, shape in shapes.items()
    }
    norms = {name for name in state if name.endswith("running_var")}
    assert norms == {f"blocks.{place}.running_var" for place in range(2, 24, 3)}


def test_24_latents_become_192_pixels_between_0_and_1(previewer) -> None:
    images = previewer(3 * torch.randn(1, 16, 24, 24, generator=torch.Generator().manual_seed(1)))
    assert images.shape == (1, 3, 192, 192)
    assert images.min() == 0
    assert images.max() == 1


def test_a_preview_is_the_same_in_any_batch(previewer) -> None:
    latents = torch.randn(3, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(previewer(latents)[1:2], previewer(latents[1:2]))


def test_a_new_previewer_is_frozen_and_in_evaluation_mode() -> None:
    with torch.device("meta"):
        previewer = Previewer()
    assert not any(module.training for module in previewer.modules())
    assert not any(weight.requires_grad for weight in previewer.parameters())


def test_weights_in_bfloat16_give_float32_images_close_to_those_of_float32() -> None:
    previewer, latents = tiny_codec.previewer(), torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    exact = previewer(latents)
    rough = previewer.bfloat16()(latents)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0, atol=0.1)
    assert not torch.equal(rough, exact)
