"""Training a small network on the latents and texts of the shipped base: what the recipes of the networks share.

B = batch, K = concepts, S = styles, L = text tokens, C = text width, C' = pooled text width.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from make import pictures, train
from torch import Tensor, nn

from ppd_lightning.config.compose import compose
from ppd_lightning.diffusion.path import DiffusionPath
from ppd_lightning.worlds.emoji.concepts import shipped_concepts

Predict = Callable[[Any, Tensor, Tensor, Tensor, Tensor], Tensor]
"""Network, noised latents, its times, text states and pooled ones to the prediction."""


class LatentModel(nn.Module):
    """A network with the fixed text states of every caption, the last being the empty one.

    Args:
        network: whatever `predict` calls.
        text, pooled: states of the captions, (K + 1, L, C) and (K + 1, C').
    """

    def __init__(self, network: nn.Module, predict: Predict, text: Tensor, pooled: Tensor) -> None:
        super().__init__()
        self.network, self.predict = network, predict
        self.text, self.pooled = text, pooled
        # Running error by time, as in make.py: every noise level has the same share of the loss.
        self.register_buffer("error_by_time", torch.zeros(100))

    def forward(self, noised: Tensor, network_time: Tensor, caption: Tensor) -> Tensor:
        """Noised latents (B, 16, 8, 8), the network's times (B,) and caption rows (B,) to the prediction."""
        return self.predict(self.network, noised, network_time, self.text[caption], self.pooled[caption])


def settings(description: str | None, steps: int, decay: int, batch: int, lr: float) -> argparse.Namespace:
    """The settings of a recipe, with its own defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--decay", type=int, default=decay)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--lr", type=float, default=lr)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--concepts", type=int, default=100)
    parser.add_argument("--work", type=Path, default=Path("outputs/base"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    return args


def train_on_latents(
    name: str,
    args: argparse.Namespace,
    path: DiffusionPath,
    make_network: Callable[[], nn.Module],
    predict: Predict,
) -> tuple[Any, dict[str, Any]]:
    """Train a network to predict what a path asks for; text is left out in a tenth of the examples.

    Args:
        name: of the checkpoint and in the log.
        make_network: called once the seed is set.

    Returns:
        the averaged network and what was done, with its mean error over times.
    """
    names, drawn = pictures(args.work)
    concepts = shipped_concepts(args.concepts)
    base = compose(["model=emoji"]).model
    codec = base.load_codec()
    with torch.no_grad():
        images = drawn[[names.index(name) for name in concepts]]
        latents = torch.stack([codec.encode(styles.float() / 255) for styles in images])  # (K, S, 16, 8, 8)
        texts = base.load_text()([*concepts, ""])
    torch.manual_seed(args.seed)
    network = LatentModel(make_network(), predict, texts["text"], texts["text_pooled"][:, 0])

    def loss_of_step(generator: torch.Generator) -> Tensor:
        concept = torch.randint(len(concepts), (args.batch,), generator=generator)
        style = torch.randint(latents.shape[1], (args.batch,), generator=generator)
        times = (torch.arange(args.batch) + torch.rand(args.batch, generator=generator)) / args.batch
        caption = torch.where(torch.rand(args.batch, generator=generator) < 0.1, len(concepts), concept)
        clean = latents[concept, style]
        noise = torch.randn(clean.shape, generator=generator)
        predicted = network(path.add_noise(clean, noise, times), path.network_time(times), caption)
        error = predicted - path.target(clean, noise, times)
        errors = error.square().mean((1, 2, 3))
        buckets, bucket, found = network.error_by_time, (times * 99.999).long(), errors.detach()
        buckets[bucket] = torch.where(buckets[bucket] == 0, found, buckets[bucket].lerp(found, 0.02))
        return (errors / buckets[bucket].clamp(min=1e-5)).mean()

    average, done = train(name, args, network, loss_of_step, ema_decay=0.999)
    done["error"] = float(network.error_by_time.mean())
    return average.network, done
