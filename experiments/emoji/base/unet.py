"""Train a small UNet like Stable Diffusion XL's on the latents and texts of the shipped base, for a study.

    python experiments/emoji/base/unet.py

A `diffusers.UNet2DConditionModel` with cross-attention to the text at its inner level and XL's added conditions, pooled
text and sizes. It predicts the noise on Stable Diffusion's table of 1000 steps. Codec, text encoder and tokenizer are
those that ship already. The training is that of `flow.py`: a checkpoint every two minutes, and the same command goes on
from the last. When it is finished unet/ in the work folder is the model in diffusers' layout, beside a copy of those
parts, and `recipe.json` has its line.
"""

from __future__ import annotations

import shutil

import torch
from diffusers import UNet2DConditionModel
from latents import settings, train_on_latents
from make import SHIPPED, record
from torch import nn

from ppd_lightning.backbones.unet.prediction import predict_with_unet
from ppd_lightning.diffusion.betas import BetasPath


def make_unet() -> UNet2DConditionModel:
    """Stable Diffusion XL's network in small: attention on 4x4 positions, none on 8x8; the noise begins as zero."""
    network = UNet2DConditionModel(
        sample_size=8,
        in_channels=16,
        out_channels=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(48, 112),
        layers_per_block=1,
        attention_head_dim=(2, 4),
        cross_attention_dim=128,
        use_linear_projection=True,
        norm_num_groups=16,
        addition_embed_type="text_time",
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=128 + 6 * 16,
    )
    nn.init.zeros_(network.conv_out.weight)
    nn.init.zeros_(network.conv_out.bias)
    return network


def main() -> None:
    args = settings(__doc__, steps=4000, decay=2000, batch=32, lr=1.5e-3)
    network, done = train_on_latents("unet", args, BetasPath(), make_unet, predict_with_unet)
    folder = args.work / "unet"
    network.to(torch.bfloat16).save_pretrained(folder / "unet")
    for part in ("codec", "text_encoder", "tokenizer"):
        shutil.copytree(SHIPPED / part, folder / part, dirs_exist_ok=True)
    record("unet", args, done)


if __name__ == "__main__":
    main()
