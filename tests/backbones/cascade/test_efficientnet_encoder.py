from __future__ import annotations

import pytest
import torch
from tests import tiny_codec
from torch import Tensor, nn
from torchvision.models import efficientnet_v2_s

from ppd_lightning.backbones.cascade.efficientnet_encoder import EfficientNetEncoder


@pytest.fixture(scope="module")
def encoder() -> EfficientNetEncoder:
    return tiny_codec.efficientnet_encoder()


class _BatchNorm(nn.Module):
    """The formula of BatchNorm with running statistics."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, features: Tensor) -> Tensor:
        def of_channel(values: Tensor) -> Tensor:
            return values.double()[None, :, None, None]

        norm = self.norm
        normalised = (features - of_channel(norm.running_mean)) / (of_channel(norm.running_var) + norm.eps).sqrt()
        return normalised if norm.weight is None else normalised * of_channel(norm.weight) + of_channel(norm.bias)


def _written_out(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, _BatchNorm(child) if isinstance(child, nn.BatchNorm2d) else _written_out(child))
    return module


def test_latents_equal_torchvisions_network_in_float64_with_every_norm_written_out(encoder) -> None:
    images = tiny_codec.images(2, 96, 64, seed=1)
    network = efficientnet_v2_s(weights=None).features.eval().double()
    network.load_state_dict(encoder.backbone.state_dict())
    red, green, blue = images.double().unbind(1)
    normalised = torch.stack([(red - 0.485) / 0.229, (green - 0.456) / 0.224, (blue - 0.406) / 0.225], dim=1)
    with torch.no_grad():
        features = _written_out(network)(normalised)
    state = encoder.state_dict()
    latents = torch.einsum("oc,bchw->bohw", state["mapper.0.weight"].double()[:, :, 0, 0], features)
    mean, variance = (state[f"mapper.1.running_{name}"].double()[:, None, None] for name in ("mean", "var"))
    expected = (latents - mean) / (variance + 1e-5).sqrt()
    found = encoder(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.3  # the comparison is one of numbers that are not all small


def test_names_of_weights_are_those_of_the_released_file(encoder) -> None:
    names = set(encoder.state_dict())
    backbone = {f"backbone.{name}" for name in efficientnet_v2_s(weights=None).features.state_dict()}
    statistics = {f"mapper.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert names == backbone | {"mapper.0.weight"} | statistics
    assert encoder.state_dict()["mapper.0.weight"].shape == (16, 1280, 1, 1)


def test_a_latent_stands_for_32_pixels(encoder) -> None:
    assert encoder(torch.rand(1, 3, 768, 768)).shape == (1, 16, 24, 24)
    assert encoder(torch.rand(2, 3, 32, 96)).shape == (2, 16, 1, 3)


@pytest.mark.parametrize("size", [(100, 64), (64, 100), (0, 32)])
def test_sizes_off_the_grid_are_refused(encoder, size) -> None:
    with pytest.raises(ValueError, match=f"multiple of 32 pixels.*got {size[0]}x{size[1]}"):
        encoder(torch.rand(1, 3, *size))


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.zeros(3, 32, 32), torch.zeros(1, 4, 32, 32)]
)
def test_what_is_not_a_batch_of_float_pictures_is_refused(encoder, images) -> None:
    with pytest.raises(ValueError, match=r"floats of shape \(B, 3, H, W\)"):
        encoder(images)


def test_a_new_encoder_is_frozen_and_in_evaluation_mode() -> None:
    with torch.device("meta"):
        encoder = EfficientNetEncoder()
    assert not any(module.training for module in encoder.modules())
    assert not any(weight.requires_grad for weight in encoder.parameters())


def test_an_encoder_made_on_the_meta_device_is_whole_once_its_weights_are_assigned(encoder) -> None:
    with torch.device("meta"):
        empty = EfficientNetEncoder()
    empty.load_state_dict(encoder.state_dict(), assign=True)
    images = tiny_codec.images(1, 64, 64, seed=1)
    assert torch.equal(empty(images), encoder(images))


def test_weights_in_bfloat16_give_float32_latents_close_to_those_of_float32() -> None:
    encoder, images = tiny_codec.efficientnet_encoder(), tiny_codec.images(2, 64, 64, seed=1)
    exact = encoder(images)
    rough = encoder.bfloat16()(images)
    assert rough.dtype == torch.float32
    assert (rough - exact).square().mean() < 0.02 * exact.var()
    assert not torch.equal(rough, exact)
