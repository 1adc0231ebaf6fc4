"""The codec of latent diffusion: the posterior's mean, scaled and shifted, image by image, in float32."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL
from tests import tiny

from ppd_lightning.backbones import diffusers_codec
from ppd_lightning.backbones.diffusers_codec import KLCodec


def codec(dtype: torch.dtype = torch.float32, **changes: object) -> KLCodec:
    settings = {"block_out_channels": (8, 16), "latent_channels": 4, "norm_num_groups": 4, "scaling_factor": 0.13}
    settings |= {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return KLCodec(tiny._made(lambda: AutoencoderKL(**settings | changes), 0).to(dtype))


def pictures(count: int = 3, side: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shift", [None, 0.06])
def test_latents_are_the_scaled_mean_of_the_posterior(shift: float | None) -> None:
    made, images = codec(shift_factor=shift), pictures()
    with torch.no_grad():
        posterior = made.autoencoder.encode(2 * images - 1).latent_dist
    torch.testing.assert_close(made.encode(images), (posterior.mean - (shift or 0)) * 0.13, rtol=1e-4, atol=1e-5)
    assert torch.equal(made.encode(images), made.encode(images))
    assert made.stride == 2


def test_decoding_undoes_the_scale_and_gives_pictures() -> None:
    made = codec(shift_factor=0.06)
    latents = made.encode(pictures())
    with torch.no_grad():
        expected = (made.autoencoder.decode(latents / 0.13 + 0.06).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(made.decode(latents, {}, []), expected, rtol=1e-4, atol=1e-4)


def test_an_image_does_not_depend_on_the_others() -> None:
    made, images = codec(), pictures()
    latents = made.encode(images)
    assert torch.equal(made.encode(images[1:2]), latents[1:2])
    assert torch.equal(made.decode(latents[1:2], {}, []), made.decode(latents, {}, [])[1:2])


def test_previews_are_smaller_pictures_of_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusers_codec, "PREVIEW_SIDE", 16)
    made = codec()
    latents = torch.randn(1, 4, 17, 17, generator=torch.Generator().manual_seed(1))
    full, small = made.decode(latents, {}, []), made.preview(latents)
    assert full.shape == (1, 3, 34, 34)
    assert small.shape == (1, 3, 17, 17)
    torch.testing.assert_close(small[0, :, 0, 0], full[0, :, :2, :2].mean((1, 2)))
    torch.testing.assert_close(made.preview(latents[..., :9, :9]), made.decode(latents[..., :9, :9], {}, []))


def test_weights_in_half_precision_are_computed_in_float32() -> None:
    assert codec(torch.float16).encode(pictures()).dtype == torch.float32


@pytest.mark.parametrize(
    "images",
    [torch.zeros(1, 3, 15, 16), torch.zeros(1, 4, 16, 16), torch.zeros(3, 16, 16), torch.zeros(1, 3, 16, 16).byte()],
)
def test_what_is_no_image_on_the_grid_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="images must be"):
        codec().encode(images)
