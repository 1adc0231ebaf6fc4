"""Stable Diffusion 3: texts, latents and pictures are those of diffusers' own pipeline; other files are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from safetensors.torch import save_file
from tests.backbones import tiny_sd3

from ppd_lightning.backbones.sd3.released import RELEASES
from ppd_lightning.backbones.sd3.text import joint_states
from ppd_lightning.backbones.sd3.user_sites import attach_user_branch
from ppd_lightning.backbones.stable_diffusion_3 import StableDiffusion3
from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError
from ppd_lightning.generation.pipeline import Guidance, UserPipeline, _generator

CAPTIONS = ["a red fox", "a far too long caption", ""]
SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd3.folder(tmp_path_factory.mktemp("sd3"))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A folder that a test may harm."""
    return Path(shutil.copytree(folder, tmp_path / "sd3"))


def opened(folder: Path, **parts: Any) -> StableDiffusion3Pipeline:
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(("t5", "tokens"), [(True, 5), (True, 12), (False, 5)])
def test_text_states_are_those_of_the_released_pipeline(folder: Path, t5: bool, tokens: int) -> None:
    model = tiny_sd3.backbone(folder, t5=t5, text_tokens=tokens)
    states = model.load_text()(CAPTIONS)
    assert tuple(states) == model.text_arrays
    stock = opened(folder, **({} if t5 else {"text_encoder_3": None, "tokenizer_3": None}))
    joint, _, pooled, _ = stock.encode_prompt(CAPTIONS, None, None, max_sequence_length=tokens)
    torch.testing.assert_close(joint_states(states, stock.transformer, tokens), joint, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(states["text_pooled"], pooled, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("t5", [True, False])
@pytest.mark.parametrize("scale", [1.0, 4.5])
def test_pictures_are_those_of_the_released_pipeline(folder: Path, t5: bool, scale: float) -> None:
    model = tiny_sd3.backbone(folder, t5=t5)
    ours = UserPipeline.of(model, model.load_network(), None, image_size=SIZE)
    drawn = ours(CAPTIONS[:2], None, [3, 4], steps=5, guidance=Guidance(scale))
    keys = zip(CAPTIONS[:2], [3, 4], strict=True)
    noise = torch.stack([torch.randn(ours.latent_shape, generator=_generator("network", *key)) for key in keys])
    stock = opened(folder, **({} if t5 else {"text_encoder_3": None, "tokenizer_3": None}))
    asked: dict[str, Any] = {"guidance_scale": scale, "num_inference_steps": 5, "latents": noise}
    (expected,) = stock(
        CAPTIONS[:2],
        height=SIZE,
        width=SIZE,
        max_sequence_length=tiny_sd3.T5_TOKENS,
        output_type="pt",
        return_dict=False,
        **asked,
    )
    assert drawn.std() > 0.05
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-4)


def test_latents_are_those_that_the_released_pipeline_decodes(folder: Path) -> None:
    model, vae = tiny_sd3.backbone(folder), opened(folder).vae
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    latents = model.load_codec("cpu", "encoder").encode(images)
    assert latents.shape == (2, *model.latent_shape(SIZE)) == (2, 16, 4, 4)
    with torch.no_grad():
        mean = vae.encode(2 * images - 1).latent_dist.mode()
    torch.testing.assert_close(latents / 1.5305 + 0.0609, mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "weights", "branch"),
    [
        ("sd35_medium", {"num_attention_heads": 24, "pos_embed_max_size": 384}, 2_243_171_520, (113.2, 56.6, 18.9)),
        ("sd35_large", {"num_attention_heads": 38, "pos_embed_max_size": 192}, 8_056_627_520, (449.5, 142.0, 47.3)),
        ("sd3_medium", {"num_attention_heads": 24, "pos_embed_max_size": 192}, 2_028_328_000, (113.2, 56.6, 18.9)),
    ],
)
def test_sizes_of_the_released_networks(
    name: str, shape: dict[str, int], weights: int, branch: tuple[float, ...]
) -> None:
    """Configurations after diffusers' scripts/convert_sd3_to_diffusers.py."""
    release = RELEASES[name]
    with torch.device("meta"):
        network = SD3Transformer2DModel(
            num_layers=release.blocks,
            caption_projection_dim=64 * shape["num_attention_heads"],
            dual_attention_layers=tuple(range(release.dual)),
            qk_norm=release.qk_norm,
            **shape,
        )
        assert sum(weight.numel() for weight in network.parameters()) == weights
        for width, millions in zip(("network", 768, 256), branch, strict=True):
            made = attach_user_branch(network, 64, token_width=width)
            assert round(sum(weight.numel() for weight in made.blocks.parameters()) / 1e6, 1) == millions
            made.detach()
        sites = len(attach_user_branch(network, 64, dual=True).blocks)
    assert sites == release.blocks + release.dual


def test_the_images_second_attention_is_a_site_where_it_is_asked_for(folder: Path) -> None:
    sites = [
        len(model.attach(model.load_network(), 6).blocks)
        for model in (tiny_sd3.backbone(folder, dual_sites=dual) for dual in (False, True))
    ]
    assert sites == [3, 5]


@pytest.mark.parametrize("dual", [False, True])
def test_a_new_branch_changes_no_bit_in_bf16_either(folder: Path, dual: bool) -> None:
    """The image's positions are a part of the joint ones in memory: projected alone they would be rounded otherwise."""
    model = tiny_sd3.backbone(folder, dual_sites=dual)
    network, text = model.load_network(torch.bfloat16), model.load_text()(CAPTIONS)
    noised, t = torch.randn(3, 16, 4, 4), torch.rand(3)
    with torch.no_grad():
        stock = model.predict(network, noised, t, text)
        with model.attach(network, 6).user(torch.randn(3, 6)):
            assert torch.equal(model.predict(network, noised, t, text), stock)


def test_weights_in_several_files_are_the_same(folder: Path, copy: Path) -> None:
    network = tiny_sd3.backbone(folder).load_network()
    one = copy / "transformer"
    shutil.rmtree(one)
    tiny_sd3.transformer().save_pretrained(one, max_shard_size="80KB")
    encoder = copy / "text_encoder_3"
    shutil.rmtree(encoder)
    tiny_sd3.text_encoder_t5().save_pretrained(encoder, max_shard_size="20KB")
    model = tiny_sd3.backbone(copy)
    assert len(model.files("prior")) > 3 < len(model.files("t5")) - 2
    again = model.load_network().state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in network.state_dict().items())
    states = [tiny_sd3.backbone(path).load_text()(["a fox"])["text_t5"] for path in (folder, copy)]
    torch.testing.assert_close(*states)


def test_a_missing_t5_is_one_sentence_that_names_the_setting(copy: Path) -> None:
    shutil.rmtree(copy / "text_encoder_3")
    shutil.rmtree(copy / "tokenizer_3")
    with pytest.raises(UserError) as error:
        tiny_sd3.backbone(copy).require("prior", "text_encoder", "tokenizer")
    (fault,) = error.value.faults
    assert "text_encoder_3/" in fault
    assert "leave T5 out by model.t5=false" in fault
    tiny_sd3.backbone(copy, t5=False).require()
    (finding,) = (found for found in tiny_sd3.backbone(copy).findings() if found.remedies)
    assert finding.need == "model sd35_medium: t5"
    assert any("model.t5=false" in remedy for remedy in finding.remedies)


@pytest.mark.parametrize("change", [{"t5": False}, {"text_tokens": 4}])
def test_texts_of_another_length_are_other_texts(folder: Path, change: dict[str, Any]) -> None:
    model, other = tiny_sd3.backbone(folder), tiny_sd3.backbone(folder, **change)
    assert model.fingerprint("text_encoder") != other.fingerprint("text_encoder")
    assert model.prediction_settings() != other.prediction_settings()
    assert model.fingerprint("prior") == other.fingerprint("prior")


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def lora(folder: Path) -> Path:
    shutil.rmtree(folder / "transformer")
    save_file({"transformer.block.lora_A.weight": torch.zeros(1)}, folder / "pytorch_lora_weights.safetensors")
    return folder


def lora_file(folder: Path) -> Path:
    return lora(folder) / "pytorch_lora_weights.safetensors"


def one_file(folder: Path) -> Path:
    save_file({"model.diffusion_model.pos_embed": torch.zeros(1)}, folder / "sd3.safetensors")
    return folder / "sd3.safetensors"


def another_family(folder: Path) -> Path:
    edit(folder / "model_index.json", _class_name="StableDiffusionXLPipeline")
    return folder


def another_release(folder: Path) -> Path:
    edit(folder / "transformer/config.json", num_layers=38, dual_attention_layers=[])
    return folder


def another_network(folder: Path) -> Path:
    edit(folder / "transformer/config.json", _class_name="UNet2DConditionModel")
    return folder


def another_shift(folder: Path) -> Path:
    edit(folder / "scheduler/scheduler_config.json", shift=1.0)
    return folder


def another_scheduler(folder: Path) -> Path:
    edit(folder / "scheduler/scheduler_config.json", _class_name="EulerDiscreteScheduler")
    return folder


def distilled(folder: Path) -> Path:
    return folder.rename(folder.with_name("sd35-large-turbo"))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lora, r"^model\.path: .* is a LoRA, weights that are added to a model, and no model; merge it"),
        (lora_file, r"^model\.path: .* is a LoRA, weights that are added to a model, and no model; merge it"),
        (one_file, r"^model\.path: .*sd3\.safetensors is a file; Stable Diffusion 3\.5 Medium is opened from a folder"),
        (another_family, r"^model\.path: .* holds a StableDiffusionXLPipeline, not a Stable Diffusion 3\.5 Medium"),
        (another_release, r"^model\.name: .* is Stable Diffusion 3\.5 Large, not .* Medium; use model=sd35_large$"),
        (another_network, r"config\.json: no configuration of a SD3Transformer2DModel \(it is one of a UNet2DCond"),
        (another_shift, r"^model\.shift: 3, and .*scheduler has 1; use the same$"),
        (
            another_scheduler,
            r"scheduler: expected a FlowMatchEulerDiscreteScheduler with one shift; is this",
        ),
        (distilled, r"^model\.path: by its name \(turbo\) .* is a model that was distilled to a few steps"),
    ],
)
def test_other_files_are_one_sentence(copy: Path, harm: Callable[[Path], Path], told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        tiny_sd3.backbone(harm(copy)).load_network()
    assert len(error.value.faults) == 1


def test_a_damaged_piece_is_named(copy: Path) -> None:
    weights = copy / "transformer/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"transformer/diffusion_pytorch_model\.safetensors: cut short"):
        tiny_sd3.backbone(copy).load_network()


@pytest.mark.parametrize("name", RELEASES)
def test_each_release_has_its_file_of_settings_and_terms(name: str) -> None:
    model = compose([f"model={name}", "model.path=nowhere", "data.image_size=512"]).model
    assert isinstance(model, StableDiffusion3)
    facts = model.card_facts()
    assert facts.base == facts.front_matter["base_model"] == RELEASES[name].hub
    assert facts.front_matter["license_name"] == "stabilityai-ai-community"
    assert "below one million US dollars" in facts.licence[0]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "data.image_size=520",
            r"data\.image_size: 520 pixels are off the grid of sd35_medium's tokens; use a multiple of 16",
        ),
        ("model.text_tokens=600", r"model\.text_tokens: "),
        ("model.shift=0.0", r"model\.shift: "),
    ],
)
def test_settings_that_make_no_sense(override: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        compose(["model=sd35_medium", "data=pickapic", "data.root=nowhere", override])
