"""Train the embedded world's flow model, a mini Stable Diffusion 3, on the latents and texts of the shipped base.

    python experiments/emoji/base/flow.py

A `diffusers.SD3Transformer2DModel` that predicts the velocity, noise - latents, on the path of `model=emoji_flow`.
Codec, text encoder and tokenizer are those that ship already. The training is that of `make.py`: a checkpoint every two
minutes, and the same command goes on from the last. When it is finished the shipped folder and `recipe.json` are
written.

B = batch, K = concepts, S = styles.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import SD3Transformer2DModel
from make import SHIPPED, pictures, record, train
from torch import Tensor, nn

from ppd_lightning.config.compose import compose
from ppd_lightning.worlds.emoji.pictures import shipped_concepts


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


class LatentFlow(nn.Module):
    """The network with the fixed text states of every caption, the last being the empty one."""

    def __init__(self, text: Tensor, pooled: Tensor) -> None:
        super().__init__()
        self.transformer = make_transformer()
        self.text, self.pooled = text, pooled
        # Running error by time, as in make.py: every noise level has the same share of the loss.
        self.register_buffer("error_by_time", torch.zeros(100))

    def forward(self, noised: Tensor, network_time: Tensor, caption: Tensor) -> Tensor:
        """Noised latents (B, 16, 8, 8), times (B,) in [0, 1000] and caption rows (B,) to the velocity."""
        velocity: Tensor = self.transformer(
            noised,
            encoder_hidden_states=self.text[caption],
            pooled_projections=self.pooled[caption],
            timestep=network_time,
        ).sample
        return velocity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3400)
    parser.add_argument("--decay", type=int, default=1700)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--concepts", type=int, default=100)
    parser.add_argument("--work", type=Path, default=Path("outputs/base"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    names, drawn = pictures(args.work)
    concepts = shipped_concepts(args.concepts)
    model = compose(["model=emoji_flow"]).model
    path, codec = model.diffusion_path, model.load_codec()
    with torch.no_grad():
        images = drawn[[names.index(name) for name in concepts]]
        latents = torch.stack([codec.encode(styles.float() / 255) for styles in images])  # (K, S, 16, 8, 8)
        texts = model.load_text()([*concepts, ""])
    torch.manual_seed(args.seed)
    network = LatentFlow(texts["text"], texts["text_pooled"][:, 0])

    def loss_of_step(generator: torch.Generator) -> Tensor:
        concept = torch.randint(len(concepts), (args.batch,), generator=generator)
        style = torch.randint(latents.shape[1], (args.batch,), generator=generator)
        times = (torch.arange(args.batch) + torch.rand(args.batch, generator=generator)) / args.batch
        caption = torch.where(torch.rand(args.batch, generator=generator) < 0.1, len(concepts), concept)
        clean = latents[concept, style]
        noise = torch.randn(clean.shape, generator=generator)
        velocity = network(path.add_noise(clean, noise, times), path.network_time(times), caption)
        error = velocity - path.target(clean, noise, times)
        errors = error.square().mean((1, 2, 3))
        buckets, bucket, found = network.error_by_time, (times * 99.999).long(), errors.detach()
        buckets[bucket] = torch.where(buckets[bucket] == 0, found, buckets[bucket].lerp(found, 0.02))
        return (errors / buckets[bucket].clamp(min=1e-5)).mean()

    average, done = train("flow", args, network, loss_of_step, ema_decay=0.999)
    average.transformer.to(torch.bfloat16).save_pretrained(SHIPPED / "transformer")
    done["error"] = float(network.error_by_time.mean())
    record("flow", args, done)


if __name__ == "__main__":
    main()
