"""Random parts of Stable Cascade's codec: Stage B and A are a few kilobytes, the two without a configuration full-size.

Activations keep their size through each of them, so that a wrong layer is seen in what comes out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import StableCascadeUNet
from safetensors.torch import save_file
from tests import tiny
from torch import Tensor, nn
from torchvision.models.efficientnet import FusedMBConv, MBConv

from ppd_lightning.backbones.cascade.efficientnet_encoder import EfficientNetEncoder
from ppd_lightning.backbones.cascade.previewer import Previewer
from ppd_lightning.backbones.cascade.stage_a import StageADecoder

# The released shape, narrower: fine levels without attention, coarse ones with, repeated on the way up.
STAGE_B = {
    "in_channels": 4,
    "out_channels": 4,
    "timestep_ratio_embedding_dim": 16,
    "patch_size": 2,
    "conditioning_dim": 20,
    "block_out_channels": (12, 16, 32),
    "num_attention_heads": (0, 0, 2),
    "down_num_layers_per_block": (1, 1, 2),
    "up_num_layers_per_block": (2, 1, 1),
    "down_blocks_repeat_mappers": (1, 1, 1),
    "up_blocks_repeat_mappers": (2, 1, 2),
    "block_types_per_layer": (
        ("SDCascadeResBlock", "SDCascadeTimestepBlock"),
        ("SDCascadeResBlock", "SDCascadeTimestepBlock"),
        ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),
    ),
    "effnet_in_channels": 16,
    "pixel_mapper_in_channels": 3,
    "dropout": (0.0, 0.0, 0.1),
    "timestep_conditioning_type": ("sca",),
}
STAGE_A = {"bottleneck_blocks": 1, "embed_dim": 16, "num_vq_embeddings": 8}


def stage_b(seed: int = 0) -> StableCascadeUNet:
    """A frozen Stage B of three levels for text of `tiny.POOLED_WIDTH`."""
    return tiny._made(lambda: StableCascadeUNet(**STAGE_B, clip_text_pooled_in_channels=tiny.POOLED_WIDTH), seed)


def stage_a(seed: int = 0) -> StageADecoder:
    """A frozen Stage A whose images lie around 0.5 for what `stage_b` draws."""
    decoder: StageADecoder = tiny._made(lambda: StageADecoder(**STAGE_A), seed)
    decoder.up_blocks[0][0].weight.mul_(0.02)  # a Stage B that has learnt nothing draws latents that are far too large
    _around_a_half(decoder.out_block[0])
    return decoder


def released_stage_a() -> Any:
    """diffusers' class with the weights of `stage_a()`; the test is skipped where diffusers has none any more."""
    try:
        from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
    except ImportError:
        pytest.skip(f"diffusers {diffusers.__version__} has no PaellaVQModel to compare with")
    whole = PaellaVQModel(**STAGE_A).eval().requires_grad_(False)
    whole.load_state_dict(whole.state_dict() | stage_a().state_dict())
    return whole


def save_stage_a(folder: Path) -> None:
    """`stage_a()` as the released folder has it: under the name of its class, with encoder and codebook beside."""
    folder.mkdir(parents=True)
    fine, coarse = STAGE_A["embed_dim"] // 2, STAGE_A["embed_dim"]
    shapes = {
        "in_block.1.weight": (fine, 12, 1, 1),
        "down_blocks.0.gammas": (6,),
        "down_blocks.1.weight": (coarse, fine, 4, 4),
        "down_blocks.3.1.running_mean": (4,),
        "vquantizer.embedding.weight": (STAGE_A["num_vq_embeddings"], 4),
    }
    unused = {name: torch.ones(shape) for name, shape in shapes.items()}
    save_file(stage_a().state_dict() | unused, folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"_class_name": "PaellaVQModel", "scale_factor": 0.3764} | STAGE_A))


def previewer(seed: int = 0) -> Previewer:
    """A frozen previewer whose images lie around 0.5."""
    made: Previewer = tiny._made(Previewer, seed)
    _around_a_half(made.blocks[-1])
    _calibrate(made, torch.randn(4, 16, 4, 4, generator=torch.Generator().manual_seed(seed)))
    return made


def efficientnet_encoder(seed: int = 0) -> EfficientNetEncoder:
    """A frozen encoder; its latents have mean 0 and a deviation around 1 on `images`."""
    made: EfficientNetEncoder = tiny._made(EfficientNetEncoder, seed)
    for block in made.backbone.modules():
        if isinstance(block, MBConv | FusedMBConv) and block.use_res_connect:
            block.block[-1][1].weight.mul_(0.3)  # 35 random residuals of full size would be chaotic
    _calibrate(made, images(8, 96, 96, seed=seed))
    return made


def images(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth pictures (count, 3, height, width) in [0, 1]; the features of pixels of noise would be all the same."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def _around_a_half(last: nn.Conv2d) -> None:
    last.weight.mul_(0.2)
    last.bias.add_(0.5)


def _calibrate(module: nn.Module, batch: Tensor) -> None:
    """Give every BatchNorm statistics near those of a batch.

    Near, because a channel that hardly varies would be blown up, and the whole network be chaotic.
    """

    def set_statistics(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        (features,) = inputs
        norm.running_mean.copy_(features.mean((0, 2, 3)))
        norm.running_var.copy_(features.var((0, 2, 3)).mean() * torch.linspace(0.5, 1.5, norm.num_features))

    norms = [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(set_statistics) for norm in norms]
    module(batch)
    for hook in hooks:
        hook.remove()
