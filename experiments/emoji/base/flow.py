"""Train the embedded world's flow model, a mini Stable Diffusion 3, on the latents and texts of the shipped base.

    python experiments/emoji/base/flow.py

A `diffusers.SD3Transformer2DModel` that predicts the velocity, noise - latents, on the path of `model=emoji_flow`.
Codec, text encoder and tokenizer are those that ship already. The training is that of `make.py`: a checkpoint every two
minutes, and the same command goes on from the last. When it is finished the shipped folder and `recipe.json` are
written.
"""

from __future__ import annotations

import torch
from diffusers import SD3Transformer2DModel
from latents import settings, train_on_latents
from make import SHIPPED, record
from torch import nn

from ppd_lightning.backbones.sd3.velocity import predict_velocity
from ppd_lightning.config.compose import compose


def make_transformer() -> SD3Transformer2DModel:
    """Stable Diffusion 3.5's network in small: 16 tokens of 2x2 latents and 8 of text, in 4 joint blocks.

    Every block begins as the identity, and the velocity as zero.
    """
    network = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=4,
        attention_head_dim=24,
        num_attention_heads=6,
        joint_attention_dim=128,
        caption_projection_dim=144,
        pooled_projection_dim=128,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    modulations = [block.norm1.linear for block in network.transformer_blocks]
    modulations += [block.norm1_context.linear for block in network.transformer_blocks]
    for layer in (*modulations, network.norm_out.linear, network.proj_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return network


def main() -> None:
    args = settings(__doc__, steps=3400, decay=1700, batch=64, lr=2e-3)
    path = compose(["model=emoji_flow"]).model.diffusion_path
    network, done = train_on_latents("flow", args, path, make_transformer, predict_velocity)
    network.to(torch.bfloat16).save_pretrained(SHIPPED / "transformer")
    record("flow", args, done)


if __name__ == "__main__":
    main()
