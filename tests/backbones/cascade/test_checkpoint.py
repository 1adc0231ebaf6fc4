"""Stage C in the released sizes, on the meta device, and its weights under the names of the original checkpoint."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from diffusers import StableCascadeUNet
from diffusers.loaders.single_file_utils import convert_stable_cascade_unet_single_file_to_diffusers
from diffusers.models.unets.unet_stable_cascade import SDCascadeAttnBlock
from tests import tiny
from tests.original_names import to_original
from torch import Tensor

from ppd_lightning.backbones.cascade.checkpoint import STAGE_C, from_original, stage_c_config
from ppd_lightning.backbones.cascade.user_attention import attach_user_branch
from ppd_lightning.backbones.stage_c import PARTS

BLOCKS = ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock")
# What diffusers' scripts/convert_stable_cascade.py and convert_stable_cascade_lite.py made the released folders with.
RELEASED = {
    "in_channels": 16,
    "out_channels": 16,
    "timestep_ratio_embedding_dim": 64,
    "patch_size": 1,
    "down_blocks_repeat_mappers": (1, 1),
    "up_blocks_repeat_mappers": (1, 1),
    "block_types_per_layer": (BLOCKS, BLOCKS),
    "clip_text_in_channels": 1280,
    "clip_text_pooled_in_channels": 1280,
    "clip_image_in_channels": 768,
    "clip_seq": 4,
    "effnet_in_channels": None,
    "pixel_mapper_in_channels": None,
    "kernel_size": 3,
    "dropout": (0.1, 0.1),
    "self_attn": True,
    "timestep_conditioning_type": ("sca", "crp"),
    "switch_level": (False,),
}
SIZES = {
    "stage_c": {
        "conditioning_dim": 2048,
        "block_out_channels": (2048, 2048),
        "num_attention_heads": (32, 32),
        "down_num_layers_per_block": (8, 24),
        "up_num_layers_per_block": (24, 8),
    },
    "stage_c_lite": {
        "conditioning_dim": 1536,
        "block_out_channels": (1536, 1536),
        "num_attention_heads": (24, 24),
        "down_num_layers_per_block": (4, 12),
        "up_num_layers_per_block": (12, 4),
    },
}


def on_meta(name: str) -> StableCascadeUNet:
    with torch.device("meta"):
        return StableCascadeUNet(**stage_c_config(name))


def count(weights: Any) -> int:
    return sum(weight.numel() for weight in weights)


@pytest.mark.parametrize("name", STAGE_C)
def test_the_configuration_is_that_of_the_released_folder(name: str) -> None:
    arguments = inspect.signature(StableCascadeUNet.__init__).parameters
    defaults = {key: argument.default for key, argument in arguments.items() if key != "self"}
    assert defaults | stage_c_config(name) == RELEASED | SIZES[name]


@pytest.mark.parametrize(
    ("name", "parameters", "attentions"), [("stage_c", 3_589_103_632, 64), ("stage_c_lite", 1_030_785_040, 32)]
)
def test_the_networks_have_the_released_sizes(name: str, parameters: int, attentions: int) -> None:
    unet = on_meta(name)
    assert count(unet.parameters()) == parameters
    assert sum(isinstance(block, SDCascadeAttnBlock) for block in unet.modules()) == attentions


@pytest.mark.parametrize("name", STAGE_C)
def test_the_sizes_that_are_reported_are_those_of_the_files(name: str) -> None:
    """Four bytes a parameter, or two."""
    fp32, bf16 = (count(on_meta(name).parameters()) * bytes_each / 1e9 for bytes_each in (4, 2))
    assert PARTS[name]["prior"].size == f"{fp32:.1f} GB, or {bf16:.1f} GB as .bf16"


@pytest.mark.parametrize(("name", "keys_and_values"), [("stage_c", 536_870_912), ("stage_c_lite", 150_994_944)])
def test_the_branch_of_a_released_network_has_the_papers_size(name: str, keys_and_values: int) -> None:
    """150M is the figure that the paper gives."""
    with torch.device("meta"):
        branch = attach_user_branch(on_meta(name).to(torch.bfloat16), 1024)
    assert count(branch.blocks.parameters()) == keys_and_values
    assert count(branch.projection.parameters()) == 1024 * 4 * stage_c_config(name)["conditioning_dim"]
    assert {weight.dtype for weight in branch.parameters()} == {torch.float32}


def test_a_new_branch_has_values_of_zero_and_keys_that_are_not() -> None:
    """On one block of the released width: no token is lost, and the branch can learn."""
    unet = StableCascadeUNet(
        **stage_c_config("stage_c_lite") | {"down_num_layers_per_block": (0, 1), "up_num_layers_per_block": (0, 0)}
    )
    (block,) = attach_user_branch(unet, 8).blocks
    assert block.to_k.weight.shape == block.to_v.weight.shape == (1536, 1536)
    assert not block.to_v.weight.any()
    assert block.to_k.weight.std().item() == pytest.approx(1536**-0.5, rel=0.01)
    assert torch.linalg.matrix_rank(block.to_k.weight[:64]) == 64


def test_original_names_become_those_that_diffusers_gives_them() -> None:
    original = to_original(tiny.unet().state_dict())
    assert any("attn.in_proj_weight" in name for name in original)
    ours, theirs = from_original(original), convert_stable_cascade_unet_single_file_to_diffusers(dict(original))
    assert ours.keys() == theirs.keys() == tiny.unet().state_dict().keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
        assert torch.equal(tensor, tiny.unet().state_dict()[name]), name


@pytest.mark.parametrize("broken", [torch.tensor(1.0), torch.zeros(0, 2), torch.zeros(2, 2), torch.zeros(7, 2)])
def test_what_cannot_be_split_is_left_to_the_check_of_names_and_shapes(broken: Tensor) -> None:
    renamed = from_original({"x.attention.attn.in_proj_weight": broken})
    assert not any(tensor.shape == (2, 2) and "to_q" in name for name, tensor in renamed.items())


def test_names_of_diffusers_stay() -> None:
    state = tiny.unet().state_dict()
    assert from_original(state).keys() == state.keys()
