"""Files that are not the model that the settings say: one sentence each; and the sizes of the released networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from tests.backbones import tiny_unet
from tests.offline import go_offline

from ppd_lightning.backbones.unet.user_sites import attach_user_branch
from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of both models and a checkpoint file."""
    folder = tmp_path_factory.mktemp("models")
    for name in tiny_unet.NAMES:
        tiny_unet.folder(folder / name, name)
    tiny_unet.checkpoint(folder / "sdxl.safetensors", "sdxl")
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """An SDXL folder that a test may harm."""
    return Path(shutil.copytree(whole / "sdxl", tmp_path / "model"))


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def one_fault(path: Path | str, name: str = "sdxl", **settings: Any) -> str:
    """The one sentence that loading a network is refused with."""
    model = tiny_unet.backbone(path, name, **settings)
    with pytest.raises(UserError) as error:
        model.load_network()
    (sentence,) = error.value.faults
    assert "\n" not in sentence
    return sentence


def test_a_folder_of_the_other_model_names_it(whole: Path, copy: Path) -> None:
    assert "use model=sdxl" in one_fault(whole / "sdxl", "sd15")
    assert "use model=sd15" in one_fault(whole / "sd15")
    (copy / "model_index.json").unlink()
    assert "is it model=sdxl?" in one_fault(copy, "sd15")


def test_a_folder_of_another_family_is_named(copy: Path) -> None:
    change(copy / "model_index.json", _class_name="StableDiffusion3Pipeline")
    assert "holds a StableDiffusion3Pipeline, not a Stable Diffusion XL" in one_fault(copy)


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("scheduler", {"timestep_spacing": "trailing", "_class_name": "EulerAncestralDiscreteScheduler"}),
        ("scheduler", {"_class_name": "LCMScheduler"}),
        ("unet", {"time_cond_proj_dim": 8}),
    ],
)
def test_a_distilled_model_is_refused(copy: Path, file: str, values: dict[str, Any]) -> None:
    change(copy / file / ("config.json" if file == "unet" else "scheduler_config.json"), **values)
    assert "distilled to a few steps" in one_fault(copy)


@pytest.mark.parametrize("name", ["sdxl-turbo", "SDXL-Lightning", "my_LCM_mix"])
def test_a_name_of_a_distilled_model_is_refused(copy: Path, name: str) -> None:
    assert "by its name" in one_fault(copy.rename(copy.with_name(name)))


def test_a_name_that_only_contains_such_a_word_is_not(copy: Path) -> None:
    assert tiny_unet.backbone(copy.rename(copy.with_name("turbocharged")), "sdxl").faults() == []


def test_a_network_for_inpainting_is_refused(copy: Path) -> None:
    change(copy / "unet/config.json", in_channels=9)
    assert "9 channels" in one_fault(copy)


def test_the_scheduler_and_the_settings_must_agree(copy: Path) -> None:
    assert "use the same" in one_fault(copy, prediction="v_prediction")
    change(copy / "scheduler/scheduler_config.json", prediction_type="v_prediction")
    assert "use the same" in one_fault(copy, zero_terminal_snr=True, prediction="v_prediction")
    change(copy / "scheduler/scheduler_config.json", prediction_type="epsilon")
    change(copy / "scheduler/scheduler_config.json", beta_schedule="linear")
    assert "beta_schedule is linear" in one_fault(copy)


def test_a_lora_a_pickle_a_part_and_nothing_are_no_checkpoints(whole: Path, tmp_path: Path) -> None:
    lora = tmp_path / "style.safetensors"
    save_file({"lora_unet_down_blocks_1_attentions_0.lora_down.weight": torch.zeros(2, 2)}, lora)
    assert "is a LoRA" in one_fault(lora)
    pickle = tmp_path / "model.ckpt"
    pickle.write_bytes(b"anything")
    assert "opening a pickle can run code" in one_fault(pickle)
    assert "has no Stable Diffusion XL in the original layout" in one_fault(
        whole / "sdxl/unet/diffusion_pytorch_model.safetensors"
    )
    assert "there is no file" in one_fault(tmp_path / "nowhere.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((whole / "sdxl.safetensors").read_bytes()[:-10])
    assert "cut short" in one_fault(damaged)


def test_a_checkpoint_file_says_what_it_is(whole: Path, tmp_path: Path) -> None:
    assert "use model=sdxl" in one_fault(whole / "sdxl.safetensors", "sd15")
    keys = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    velocity = tiny_unet.checkpoint(tmp_path / "noob.safetensors", "sdxl", keys)
    assert "model.prediction=v_prediction" in one_fault(velocity, zero_terminal_snr=True)
    assert "model.zero_terminal_snr=true" in one_fault(velocity, prediction="v_prediction")
    right: dict[str, Any] = {"prediction": "v_prediction", "zero_terminal_snr": True}
    model = tiny_unet.backbone(velocity, "sdxl", config_path=str(whole / "sdxl"), **right)
    assert model.faults() == []
    assert model.load_network().config.cross_attention_dim == sum(tiny_unet.WIDTHS)


def test_a_checkpoint_without_its_configurations_names_them(whole: Path, tmp_path: Path) -> None:
    sentence = one_fault(whole / "sdxl.safetensors", config_path=str(tmp_path))
    assert sentence.startswith(f"model.config_path: {tmp_path} lacks unet/config.json; get this part from stabilityai/")


def test_missing_files_are_named_with_their_origin(copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go_offline(monkeypatch, tmp_path / "hub")
    shutil.rmtree(copy / "text_encoder_2")
    (copy / "vae/config.json").unlink()
    found = {finding.need: finding for finding in tiny_unet.backbone(copy, "sdxl").findings()}
    remedy = found["model sdxl: text encoder"].remedies[0]
    assert "hf download stabilityai/stable-diffusion-xl-base-1.0" in remedy
    assert "text_encoder_2/model.safetensors" in remedy
    assert "model.codec_path" in found["model sdxl: encoder"].remedies[0]
    assert found["model sdxl: prior"].remedies == ()


def test_a_codec_may_lie_elsewhere(whole: Path, copy: Path) -> None:
    shutil.rmtree(copy / "vae")
    assert "model.codec_path" in " ".join(tiny_unet.backbone(copy, "sdxl").faults())
    for path in (copy, whole / "sdxl.safetensors"):
        settings = {"codec_path": str(whole / "sdxl"), "config_path": str(copy)}
        model = tiny_unet.backbone(path, "sdxl", **settings)
        assert model.faults() == []
        model.load_codec("cpu", "encoder")


def test_noise_is_not_predicted_where_there_is_nothing_else() -> None:
    with pytest.raises(UserError, match=r"model\.zero_terminal_snr: a step that is noise alone"):
        compose(["model=sdxl", "model.zero_terminal_snr=true"])


@pytest.mark.parametrize("name", tiny_unet.NAMES)
def test_the_shipped_settings_are_the_released_models(name: str) -> None:
    model = compose([f"model={name}"]).model
    assert (model.name, model.token_width, model.prediction) == (name, "enough", "epsilon")
    assert model.config_path == model.release.hub
    assert model.release.hub.endswith(str(model.path)) or name == "sd15"


SIZES = {
    "sd15": ({"cross_attention_dim": 768, "attention_head_dim": 8}, 860, 16, (19.2, 19.2, 6.4)),
    "sdxl": (
        {
            "cross_attention_dim": 2048,
            "attention_head_dim": (5, 10, 20),
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        2567,
        70,
        (340.8, 127.8, 42.6),
    ),
}


@pytest.mark.parametrize("name", tiny_unet.NAMES)
def test_sizes_of_the_released_networks(name: str) -> None:
    settings, millions, sites, of_branch = SIZES[name]
    with torch.device("meta"):
        network = UNet2DConditionModel(**settings)
        assert sum(weight.numel() for weight in network.parameters()) // 10**6 in (millions - 1, millions)
        assert sites * 2 in (len(network.attn_processors), len(network.attn_processors) + 1)
        for width, expected in zip(("network", 768, 256), of_branch, strict=True):
            branch = attach_user_branch(network, 64, token_width=width)
            assert len(branch.blocks) == sites
            assert round(sum(weight.numel() for weight in branch.blocks.parameters()) / 1e6, 1) == expected
            branch.detach()
        own = attach_user_branch(network, 64, num_tokens=4, token_width="enough")
    assert own.config["token_width"] == 256
