"""Stable Diffusion 1.5 and XL: texts, latents and pictures are those of diffusers' own pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from tests import tiny
from tests.backbones import tiny_unet

from ppd_lightning.backbones.base_fingerprint import base_fingerprint
from ppd_lightning.backbones.unet.pretrained import Pretrained15, PretrainedXL
from ppd_lightning.generation.pipeline import Guidance, UserPipeline, _generator

CAPTIONS = ["a red fox", "a far too long caption", ""]
SIZE = 32
STOCK = {"sd15": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}


@pytest.fixture(scope="module", params=tiny_unet.NAMES)
def released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    name = request.param
    return name, tiny_unet.folder(tmp_path_factory.mktemp(name), name)


@pytest.fixture(scope="module")
def velocity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_unet.folder(tmp_path_factory.mktemp("velocity"), "sdxl", "v_prediction")


def opened(name: str, folder: Path) -> Any:
    pipeline = STOCK[name].from_pretrained(folder, **({"safety_checker": None} if name == "sd15" else {}))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pictures(name: str, folder: Path, scale: float, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What we draw, and what the released pipeline draws from the same noise."""
    model, steps = tiny_unet.backbone(folder, name, **settings), 5
    ours = UserPipeline.of(model, model.load_network(), None, image_size=SIZE)
    drawn = ours(CAPTIONS[:2], None, [3, 4], steps=steps, guidance=Guidance(scale))
    keys = zip(CAPTIONS[:2], [3, 4], strict=True)
    noise = torch.stack([torch.randn(ours.latent_shape, generator=_generator("network", *key)) for key in keys])
    asked: dict[str, Any] = {"guidance_scale": scale, "num_inference_steps": steps, "latents": noise}
    stock = opened(name, folder)
    (expected, *_) = stock(CAPTIONS[:2], height=SIZE, width=SIZE, output_type="pt", return_dict=False, **asked)
    return drawn, expected


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_pictures_are_those_of_the_released_pipeline(released: tuple[str, Path], scale: float) -> None:
    drawn, expected = pictures(*released, scale)
    assert drawn.std() > 0.05
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-4)


def test_pictures_of_a_velocity_are_too(velocity: Path) -> None:
    drawn, expected = pictures("sdxl", velocity, 5.0, prediction="v_prediction")
    assert drawn.std() > 0.05
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-4)


def test_text_states_are_those_of_the_released_pipeline(released: tuple[str, Path]) -> None:
    name, folder = released
    model = tiny_unet.backbone(folder, name)
    states, stock = model.load_text()(CAPTIONS), opened(name, folder)
    assert tuple(states) == model.text_arrays
    if name == "sdxl":
        text, null, pooled, null_pooled = stock.encode_prompt(CAPTIONS, device="cpu")
        torch.testing.assert_close(states["text_pooled"], pooled)
    else:
        text, null = stock.encode_prompt(CAPTIONS, "cpu", 1, True)
    torch.testing.assert_close(states["text"], text)
    ours = model.null_text(model.load_text())
    torch.testing.assert_close(ours["text"], null[:1])
    if name == "sdxl":
        torch.testing.assert_close(ours["text_pooled"], null_pooled[:1])
    assert (name == "sdxl") == (not ours["text"].any())


def test_latents_are_those_that_the_released_pipeline_decodes(released: tuple[str, Path]) -> None:
    name, folder = released
    model, vae = tiny_unet.backbone(folder, name), opened(name, folder).vae
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    latents = model.load_codec("cpu", "encoder").encode(images)
    assert latents.shape == (2, *model.latent_shape(SIZE)) == (2, 4, 4, 4)
    with torch.no_grad():
        mean = vae.encode(2 * images - 1).latent_dist.mode()
    torch.testing.assert_close(latents / {"sd15": 0.18215, "sdxl": 0.13025}[name], mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", tiny_unet.NAMES)
def test_a_checkpoint_file_is_the_folder(name: str, tmp_path: Path) -> None:
    folder = tiny_unet.folder(tmp_path / "folder", name)
    file = tiny_unet.checkpoint(tmp_path / "fine-tune.safetensors", name)
    model, other = tiny_unet.backbone(file, name, config_path=str(folder)), tiny_unet.backbone(folder, name)
    assert model.faults() == []
    parts = [
        (model.load_network(), other.load_network()),
        (model.load_codec("cpu", "encoder").autoencoder, other.load_codec("cpu", "encoder").autoencoder),
    ]
    for ours, theirs in parts:
        found, expected = ours.state_dict(), theirs.state_dict()
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            assert torch.equal(found[key], tensor.half().float()), key
    ours, theirs = model.load_text()(CAPTIONS), other.load_text()(CAPTIONS)
    for key, states in theirs.items():
        torch.testing.assert_close(ours[key], states, rtol=0.02, atol=0.02)
    assert model.load_tokenizer()("a fox").input_ids == other.load_tokenizer()("a fox").input_ids
    assert {model.fingerprint(part) for part in ("prior", "encoder")} != {other.fingerprint("prior")}


@pytest.mark.parametrize("name", tiny_unet.NAMES)
def test_a_checkpoint_file_draws_what_diffusers_draws_of_it(name: str, tmp_path: Path) -> None:
    folder = tiny_unet.folder(tmp_path / "folder", name)
    file = tiny_unet.checkpoint(tmp_path / "fine-tune.safetensors", name)
    model = tiny_unet.backbone(file, name, config_path=str(folder))
    stock = STOCK[name].from_single_file(file, config=str(folder), local_files_only=True, torch_dtype=torch.float32)
    assert base_fingerprint(stock.unet) == base_fingerprint(model.load_network())
    text = stock.encode_prompt(CAPTIONS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)[0]
    torch.testing.assert_close(model.load_text()(CAPTIONS)["text"], text)
    kind = PretrainedXL if name == "sdxl" else Pretrained15
    given_away = kind(str(file), None, None, config=str(folder), prediction="epsilon", zero_terminal_snr=False)
    assert base_fingerprint(given_away.load_network(torch.float32)) == base_fingerprint(stock.unet)
    torch.testing.assert_close(given_away.load_text("cpu")(CAPTIONS), model.load_text()(CAPTIONS))
    codec = model.load_codec("cpu", "decoder").autoencoder.state_dict()
    assert all(
        torch.equal(codec[key], tensor) for key, tensor in given_away.load_codec("cpu").autoencoder.state_dict().items()
    )
    assert all(torch.equal(codec[key], tensor) for key, tensor in stock.vae.state_dict().items())


def test_fused_projections_and_an_attention_backend_leave_the_user_where_it_is(released: tuple[str, Path]) -> None:
    name, folder = released
    model = tiny_unet.backbone(folder, name)
    network, users = model.load_network(), tiny.users(2)
    branch = model.attach(network, tiny.EMBEDDING)
    for block in branch.blocks:
        torch.nn.init.normal_(block.to_v.weight, std=0.3)
    x, conditions = torch.randn(2, 4, 4, 4), model.load_text()(CAPTIONS[:2])

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            base = model.predict(network, x, torch.tensor([0.2, 0.9]), conditions)
            with branch.user(users):
                return base, model.predict(network, x, torch.tensor([0.2, 0.9]), conditions)

    expected = both()
    network.set_attention_backend("native")
    torch.testing.assert_close(both(), expected)
    network.fuse_qkv_projections()
    torch.testing.assert_close(both(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["fp16", "bf16"])
def test_half_precision_files_are_read(variant: str, tmp_path: Path) -> None:
    folder = tiny_unet.folder(tmp_path, "sdxl", variant=variant)
    model = tiny_unet.backbone(folder, "sdxl")
    assert model.faults() == []
    assert model.load_network(torch.bfloat16).dtype == torch.bfloat16
    assert model.load_text()(["a fox"])["text"].dtype == torch.float32
