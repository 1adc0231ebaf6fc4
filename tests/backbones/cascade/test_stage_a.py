from __future__ import annotations

import torch
from safetensors.torch import load_file
from tests import tiny, tiny_codec
from torch import Tensor
from torch.nn import functional as F

from ppd_lightning.backbones.cascade.stage_a import StageADecoder, decoder_weights
from ppd_lightning.backbones.diffusers_parts import load_network

LATENTS = torch.randn(2, 4, 6, 10, generator=torch.Generator().manual_seed(1))


def test_images_are_those_of_diffusers_class_to_the_bit() -> None:
    released = tiny_codec.released_stage_a()
    latents = 20 * LATENTS  # the first layer of the tiny network is small
    expected = released.decode(latents).sample
    assert torch.equal(tiny_codec.stage_a()(latents), expected)
    assert expected.std() > 0.05


def test_images_are_a_plain_rewrite_in_float64() -> None:
    decoder = tiny_codec.stage_a()
    weights = {name: weight.double() for name, weight in decoder.state_dict().items()}

    def convolved(x: Tensor, name: str, call=F.conv2d, **settings: int) -> Tensor:
        return call(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **settings)

    def normed(x: Tensor) -> Tensor:
        return (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()

    def block(x: Tensor, name: str) -> Tensor:
        gammas = weights[f"{name}.gammas"]
        y = F.pad(normed(x) * (1 + gammas[0]) + gammas[1], (1, 1, 1, 1), mode="replicate")
        x = x + gammas[2] * convolved(y, f"{name}.depthwise.1", groups=x.shape[1])
        y = (normed(x) * (1 + gammas[3]) + gammas[4]).movedim(1, -1)
        y = F.gelu(y @ weights[f"{name}.channelwise.0.weight"].T + weights[f"{name}.channelwise.0.bias"])
        y = y @ weights[f"{name}.channelwise.2.weight"].T + weights[f"{name}.channelwise.2.bias"]
        return x + gammas[5] * y.movedim(-1, 1)

    x = convolved(20 * LATENTS.double(), "up_blocks.0.0")
    x = block(x, "up_blocks.1")
    x = convolved(x, "up_blocks.2", F.conv_transpose2d, stride=2, padding=1)
    x = block(x, "up_blocks.3")
    expected = F.pixel_shuffle(convolved(x, "out_block.0"), 2)
    torch.testing.assert_close(decoder(20 * LATENTS).double(), expected, rtol=1e-5, atol=1e-5)
    assert expected.shape == (2, 3, 24, 40)


def test_names_and_shapes_of_weights_are_those_of_the_released_size() -> None:
    with torch.device("meta"):
        state = StageADecoder().state_dict()
    assert {name.partition(".")[0] for name in state} == {"up_blocks", "out_block"}
    blocks = {int(name.split(".")[1]) for name in state if name.startswith("up_blocks") and name.endswith("gammas")}
    assert blocks == {*range(1, 13), 14}  # twelve at the coarse level, one at the fine
    shapes = {name: tuple(state[name].shape) for name in ("up_blocks.0.0.weight", "up_blocks.13.weight")}
    assert shapes == {"up_blocks.0.0.weight": (384, 4, 1, 1), "up_blocks.13.weight": (384, 192, 4, 4)}
    assert state["up_blocks.14.channelwise.0.weight"].shape == (768, 192)
    assert state["out_block.0.weight"].shape == (12, 192, 1, 1)


def test_the_released_folder_is_read_without_encoder_and_codebook(tmp_path) -> None:
    tiny_codec.save_stage_a(tmp_path / "vqgan")
    file = tmp_path / "vqgan/diffusion_pytorch_model.safetensors"
    assert len(decoder_weights(load_file(file))) < len(load_file(file))
    config = tmp_path / "vqgan/config.json"
    loaded = load_network(StageADecoder, config, file, saved_as="PaellaVQModel", convert=decoder_weights)
    plain = StageADecoder.from_pretrained(tmp_path, subfolder="vqgan", local_files_only=True)
    for decoder in (loaded, plain):
        assert torch.equal(decoder(LATENTS), tiny_codec.stage_a()(LATENTS))
        assert decoder.scale_factor == 0.3764


def test_diffusers_writes_what_is_read_here(tmp_path) -> None:
    tiny_codec.released_stage_a().save_pretrained(tmp_path / "vqgan")
    names = load_file(tmp_path / "vqgan/diffusion_pytorch_model.safetensors").keys()
    tiny_codec.save_stage_a(tmp_path / "tiny/vqgan")
    ours = load_file(tmp_path / "tiny/vqgan/diffusion_pytorch_model.safetensors").keys()
    assert ours <= names
    folder = tiny.stage_c_folder(tmp_path / "whole")
    (tmp_path / "vqgan/config.json").rename(folder / "vqgan/config.json")
    (tmp_path / "vqgan/diffusion_pytorch_model.safetensors").rename(
        folder / "vqgan/diffusion_pytorch_model.safetensors"
    )
    stage_a = tiny.stage_c(folder).load_codec("cpu", "decoder").decoder.stage_a
    assert torch.equal(stage_a(LATENTS), tiny_codec.stage_a()(LATENTS))
