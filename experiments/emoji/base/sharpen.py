"""Train the shipped codec's decoder on what the base draws, so that its pictures lose the sampler's grain.

    python experiments/emoji/base/sharpen.py

Needs a finished `make.py decoder`. Latents stay as the prior knows them: only the decoder learns. Half of its examples
are latents of pictures with noise; the other half are latents of the world's pictures that were noised up to a step of
the sampler and drawn on from there by the base, so that they have its errors and still show the same picture. As in
`make.py` there is a checkpoint every two minutes, and the same command goes on from the last.

B = batch, N = the world's pictures, R = draws of each.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from latents import settings
from make import SHIPPED, codec_pictures, pictures, record, train
from torch import Tensor
from torch.nn import functional as F

from ppd_lightning.config.compose import compose
from ppd_lightning.generation.pipeline import UserPipeline
from ppd_lightning.worlds.emoji.codec import EmojiCodec
from ppd_lightning.worlds.emoji.concepts import shipped_concepts
from ppd_lightning.worlds.emoji.pictures import STYLES

NOISE = 0.3
"""The largest on latents of pictures, in deviations of a latent; each picture's is drawn uniformly."""
STEPS, GUIDANCE = 10, 3.0
"""Of the base's sampler, and its guidance on the text."""
BEGINNINGS = (3, 4, 5, 6, 7, 8)
"""Steps at which drawings begin, two draws at each; before the third another picture may come out."""


@torch.no_grad()
def redrawn(codec: EmojiCodec, world: Tensor, captions: list[str]) -> Tensor:
    """Latents (R, N, 16, 8, 8) of the world's pictures, each drawn on by the base from a step of the sampler.

    Args:
        world: (N, 3, 64, 64) uint8. captions: N of them.
    """
    backbone = compose(["model=emoji"]).model
    pipeline = UserPipeline.of(backbone, backbone.load_network().eval(), None, image_size=world.shape[-1])
    text, null = pipeline.text(captions), backbone.null_text(pipeline.text)
    both = {name: torch.cat([part, null[name].expand_as(part)]) for name, part in text.items()}
    clean = torch.cat([codec.encode(part.float() / 255) for part in world.split(64)])
    drawn = []
    for draw, first in enumerate((*BEGINNINGS, *BEGINNINGS)):
        generators = [torch.Generator().manual_seed(1_000_003 * draw + row) for row in range(len(clean))]
        times = pipeline.sampler.timesteps(STEPS, "cpu")
        noise = torch.stack([torch.randn(clean.shape[1:], generator=one) for one in generators])
        latents = backbone.diffusion_path.add_noise(clean, noise, times[first].expand(len(clean)))
        for t in times[first:]:
            of_both = backbone.predict(pipeline.network, torch.cat([latents] * 2), t.expand(2 * len(clean)), both)
            of_text, of_null = of_both.chunk(2)
            latents = pipeline.sampler.step(torch.lerp(of_null, of_text, GUIDANCE), t, latents, generators)
        drawn.append(latents)
    return torch.stack(drawn)


def slopes(images: Tensor) -> Iterator[Tensor]:
    """Differences of neighbours, across and down."""
    yield images.diff(dim=-1)
    yield images.diff(dim=-2)


def psnr(painted: Tensor, images: Tensor) -> float:
    """In dB, the mean over pictures (n, 3, H, W) of range 0 to 1."""
    return float(-10 * (painted.clamp(0, 1) - images).square().mean((1, 2, 3)).log10().mean())


@torch.no_grad()
def drawn_psnr(codec: EmojiCodec, latents: Tensor, world: Tensor) -> float:
    """In dB, of the last draw of every picture."""
    images = world.float() / 255
    return psnr(torch.cat([codec.preview(part) for part in latents[-1].split(64)]), images)


def main() -> None:
    args = settings(__doc__, steps=2000, decay=1500, batch=32, lr=8e-4)
    training, measured = codec_pictures(args)
    codec = EmojiCodec.from_pretrained(SHIPPED / "codec", torch_dtype=torch.float32).eval()
    codec.encoder.requires_grad_(False)
    world = measured["world"]
    shipped = set(shipped_concepts(args.concepts))
    captions = [name for name in pictures(args.work)[0] if name in shipped for _ in STYLES]
    latents = redrawn(codec, world, captions)
    before = drawn_psnr(codec, latents, world)
    codec = codec.to(memory_format=torch.channels_last)
    half = args.batch // 2

    def loss_of_step(generator: torch.Generator) -> Tensor:
        codec.encoder.eval()
        rows = torch.randint(len(training), (half,), generator=generator)
        images = training[rows].float().div(255)
        if torch.rand((), generator=generator) < 0.5:
            images = images.flip(-1)
        own = codec.encode(images).detach()
        own = own + NOISE * torch.rand(half, 1, 1, 1, generator=generator) * torch.randn(own.shape, generator=generator)
        draw = torch.randint(len(latents), (half,), generator=generator)
        shown = torch.randint(len(world), (half,), generator=generator)
        wanted = torch.cat([images, world[shown].float().div(255)]).contiguous(memory_format=torch.channels_last)
        given = torch.cat([own, latents[draw, shown]]).contiguous(memory_format=torch.channels_last)
        painted = (codec.decoder(given) + 1) / 2
        edges = sum(F.l1_loss(a, b) for a, b in zip(slopes(painted), slopes(wanted), strict=True))
        return F.l1_loss(painted, wanted) + F.mse_loss(painted, wanted) + 0.5 * edges

    average, done = train("sharpen", args, codec, loss_of_step, ema_decay=0.99)
    with torch.no_grad():
        for label, images in measured.items():
            parts = [average.preview(average.encode(part.float() / 255)) for part in images.split(64)]
            done[f"psnr_{label}"] = psnr(torch.cat(parts), images.float() / 255)
        done |= {"psnr_drawn_before": before, "psnr_drawn": drawn_psnr(average, latents, world)}
    average.to(torch.bfloat16).save_pretrained(SHIPPED / "codec")
    record("sharpen", args, done)


if __name__ == "__main__":
    main()
