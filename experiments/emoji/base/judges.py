"""Train the judges of the emoji world and write them into the shipped folder.

    python experiments/emoji/base/judges.py

`pixels` and `statistics` learn the styles from two halves of the concepts that no world contains; `concepts` learns
the world's concepts in all their styles. They see the pictures as a generator would spoil them: moved, turned, blurred,
through the codec with noise on the latents, as JPEG; `concepts` also recoloured, covered in part and half-way between
two styles. `judges.json` gets the share that each has right on the world's pictures, clean and through the codec, and
what the judges of style take for what.

B = batch, K = concepts, S = styles.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from make import SHIPPED, pictures
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional as F

from ppd_lightning.worlds.emoji.codec import EmojiCodec
from ppd_lightning.worlds.emoji.concepts import shipped_concepts
from ppd_lightning.worlds.emoji.judges import ConvolutionalJudge, Judge, StatisticsJudge, save_judge
from ppd_lightning.worlds.emoji.pictures import STYLES
from ppd_lightning.worlds.emoji.style_features import style_features

LIST = SHIPPED.with_name("concepts.txt")
"""The style judges learn from none of its concepts, so that a world may take any number of them."""
RESULTS = Path(__file__).with_name("judges.json")


def uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def some(count: int, share: float, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator) < share


def moved(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """Shifted by up to 6 %, scaled by up to 15 %, turned by up to 12 degrees (times amount), half of them mirrored."""
    count = len(images)
    angle = amount * uniform(count, -math.pi / 15, math.pi / 15, generator)
    size = 1 + amount * uniform(count, -0.15, 0.15, generator)
    mirror = 1 - 2 * some(count, 0.5, generator).float()
    shift = amount * 0.24 * (torch.rand(count, 2, 1, generator=generator) - 0.5)
    across, down = angle.cos() / size, angle.sin() / size
    turn = torch.stack([torch.stack([across * mirror, -down], 1), torch.stack([down * mirror, across], 1)], 1)
    grid = F.affine_grid(torch.cat([turn, shift], 2), list(images.shape), align_corners=False)
    return 1 - F.grid_sample(1 - images, grid, align_corners=False)  # what comes in from outside is white


def through_codec(images: Tensor, others: Tensor, codec: EmojiCodec, mixed: float, generator: Generator) -> Tensor:
    """Decoded again from latents with noise of up to 0.4, after going up to `mixed` of the way to the other image's."""
    latents, target = codec.encode(images), codec.encode(others)
    latents = latents.lerp(target, uniform(len(images), 0, mixed, generator).view(-1, 1, 1, 1))
    noise = uniform(len(images), 0, 0.4, generator).view(-1, 1, 1, 1)
    return codec.preview(latents + noise * torch.randn(latents.shape, generator=generator))


def blurred(images: Tensor, generator: Generator) -> Tensor:
    """Smoothed by a Gaussian of one deviation, up to 1.2 pixels, for the whole batch."""
    deviation = float(uniform(1, 0.3, 1.2, generator))
    bell = torch.exp(-0.5 * (torch.arange(-3, 4) / deviation) ** 2)
    bell = (bell / bell.sum()).expand(3, 1, 1, -1)
    padded = F.pad(images, (3, 3, 3, 3), mode="replicate")
    return F.conv2d(F.conv2d(padded, bell, groups=3), bell.transpose(2, 3), groups=3)


def as_jpeg(images: Tensor, generator: Generator) -> Tensor:
    """Compressed at a quality of 20 to 95."""
    pixels = (255 * images.clamp(0, 1)).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    seen = []
    for picture in pixels:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=int(torch.randint(20, 96, (), generator=generator)))
        seen.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2).float() / 255


def recoloured(images: Tensor, generator: Generator) -> Tensor:
    """Channels mixed with each other a little, towards grey for some, darker or lighter; white stays white."""
    count = len(images)
    mix = torch.eye(3) + 0.15 * torch.randn(count, 3, 3, generator=generator)
    grey = (some(count, 0.3, generator).float() * torch.rand(count, generator=generator)).view(-1, 1, 1)
    mix = mix.lerp(torch.full((3, 3), 1 / 3), grey)
    mix = mix / mix.sum(2, keepdim=True)
    lighter = uniform(count, 0.75, 1.25, generator).view(-1, 1, 1, 1)
    return (1 - lighter * (1 - torch.einsum("bij,bjhw->bihw", mix, images))).clamp(0, 1)


def covered(images: Tensor, generator: Generator) -> Tensor:
    """One rectangle of 8 to 24 pixels a side painted over with one grey, white more often than not."""
    count, size = len(images), images.shape[-1]
    side = torch.randint(8, 25, (count, 2, 1), generator=generator)
    corner = (torch.rand(count, 2, 1, generator=generator) * (size - side)).long()
    pixel = torch.arange(size)
    within = (pixel >= corner) & (pixel < corner + side)
    patch = (within[:, 0, :, None] & within[:, 1, None, :])[:, None]
    grey = uniform(count, 0, 2.5, generator).clamp(max=1).view(-1, 1, 1, 1)
    return torch.where(patch, grey, images)


def spoilt(images: Tensor, others: Tensor, codec: EmojiCodec, strong: bool, generator: Generator) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] as a generator might draw them; `others` show the same concepts in other styles."""

    def part(change: Callable[[Tensor], Tensor], share: float, images: Tensor) -> Tensor:
        chosen = some(len(images), share, generator)
        return images.index_put((chosen,), change(images[chosen])) if chosen.any() else images

    decoding = some(len(images), 0.5, generator)
    mixed = 0.45 if strong else 0.0
    if decoding.any():
        painted = through_codec(images[decoding], others[decoding], codec, mixed, generator)
        images = images.index_put((decoding,), painted)
    images = moved(images, 1.0 if strong else 0.5, generator)
    if strong:
        images = part(lambda some_: recoloured(some_, generator), 0.7, images)
        images = part(lambda some_: covered(some_, generator), 0.4, images)
    images = part(lambda some_: blurred(some_, generator), 0.25, images)
    images = part(lambda some_: as_jpeg(some_, generator), 0.15, images)
    images = part(lambda some_: some_ + 0.04 * torch.randn(some_.shape, generator=generator), 0.2, images)
    return images.clamp(0, 1)


def train(
    judge: Judge,
    logits_and_targets: Callable[[Generator], tuple[Tensor, Tensor]],
    steps: int,
    lr: float,
    seed: int,
    smoothing: float = 0.0,
) -> dict[str, Any]:
    """AdamW with one cycle of the learning rate."""
    optimizer = torch.optim.AdamW(judge.parameters(), lr=lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.2)
    generator = torch.Generator().manual_seed(seed)
    begun, running = time.monotonic(), 0.0
    judge.train()
    for step in range(steps):
        logits, targets = logits_and_targets(generator)
        loss = F.cross_entropy(logits, targets, label_smoothing=smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        running = 0.98 * running + 0.02 * loss.item() if step else loss.item()
        if (step + 1) % 200 == 0:
            print(f"step {step + 1} loss {running:.4f} {time.monotonic() - begun:.0f} s", flush=True)
    judge.eval().requires_grad_(False)
    return {"steps": steps, "loss": round(running, 4), "seconds": round(time.monotonic() - begun)}


def figures(judge: Judge, images: Tensor, targets: Tensor, codec: EmojiCodec) -> dict[str, Any]:
    """The share right on images (B, 3, H, W), as they are and decoded from latents with noise."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        latents = torch.cat([codec.encode(part) for part in images.split(64)])
    noise = torch.randn(latents.shape, generator=generator)
    seen = {"real": judge.probabilities(images)}
    for amount in (0.0, 0.1, 0.2, 0.3):
        with torch.no_grad():
            painted = torch.cat([codec.preview(part) for part in (latents + amount * noise).split(64)])
        seen[f"codec, latent noise {amount}"] = judge.probabilities(painted)
    right = {name: round(float((p.argmax(1) == targets).double().mean()), 4) for name, p in seen.items()}
    return {"right": right, "real": seen["real"]}


def confusion(probabilities: Tensor, targets: Tensor) -> list[list[int]]:
    """Rows: what it is; columns: what the judge says."""
    count = probabilities.shape[1]
    return torch.bincount(targets * count + probabilities.argmax(1), minlength=count**2).view(count, count).tolist()


class Pictures:
    """The pictures (K, S, 3, H, W) uint8 of some concepts."""

    def __init__(self, drawn: Tensor) -> None:
        self.drawn = drawn

    def sample(self, count: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images in [0, 1], the same concepts in a random style, concept and style of each image."""
        concept = torch.randint(len(self.drawn), (count,), generator=generator)
        style, other = torch.randint(self.drawn.shape[1], (2, count), generator=generator)
        return self.drawn[concept, style] / 255, self.drawn[concept, other] / 255, concept, style

    def all(self) -> tuple[Tensor, Tensor, Tensor]:
        """Images in [0, 1], concept and style of each image."""
        concept, style = torch.meshgrid(*[torch.arange(n) for n in self.drawn.shape[:2]], indexing="ij")
        return self.drawn.flatten(0, 1) / 255, concept.flatten(), style.flatten()


def train_pixels(source: Pictures, codec: EmojiCodec, steps: int, seed: int) -> tuple[Judge, dict[str, Any]]:
    judge = ConvolutionalJudge(STYLES, widths=(24, 48, 64, 64), blocks=(0, 0, 1, 0), dropout=0.1)

    def batch(generator: Generator) -> tuple[Tensor, Tensor]:
        images, others, _, style = source.sample(64, generator)
        with torch.no_grad():
            images = spoilt(images, others, codec, False, generator)
        return judge(images), style

    return judge, train(judge, batch, steps, 3e-3, seed)


def train_statistics(source: Pictures, codec: EmojiCodec, steps: int, seed: int) -> tuple[Judge, dict[str, Any]]:
    judge = StatisticsJudge(STYLES, hidden=48, dropout=0.1)
    generator = torch.Generator().manual_seed(seed)
    features, styles = [], []
    with torch.no_grad():
        for _ in range(100):
            images, others, _, style = source.sample(64, generator)
            features.append(style_features(spoilt(images, others, codec, False, generator)))
            styles.append(style)
        clean, _, style = source.all()
        features.append(style_features(clean))
        styles.append(style)
    known, target = torch.cat(features), torch.cat(styles)

    def batch(generator: Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(known), (128,), generator=generator)
        return judge.from_features(known[rows]), target[rows]

    return judge, train(judge, batch, steps, 3e-3, seed)


def train_concepts(
    source: Pictures, labels: Sequence[str], codec: EmojiCodec, steps: int, seed: int
) -> tuple[Judge, dict[str, Any]]:
    judge = ConvolutionalJudge(tuple(labels), widths=(32, 64, 128, 192), blocks=(0, 1, 1, 0), dropout=0.2)
    judge.to(memory_format=torch.channels_last)

    def batch(generator: Generator) -> tuple[Tensor, Tensor]:
        images, others, concept, _ = source.sample(64, generator)
        with torch.no_grad():
            images = spoilt(images, others, codec, True, generator)
        return judge(images.contiguous(memory_format=torch.channels_last)), concept

    return judge, train(judge, batch, steps, 4e-3, seed, smoothing=0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judges", nargs="+", default=["pixels", "statistics", "concepts"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--concepts", type=int, default=200)
    parser.add_argument("--style-steps", type=int, default=800)
    parser.add_argument("--concept-steps", type=int, default=1400)
    parser.add_argument("--work", type=Path, default=Path("outputs/base"))
    args = parser.parse_args()
    names, drawn = pictures(args.work)
    row = {name: k for k, name in enumerate(names)}
    world = shipped_concepts(args.concepts)
    listed = set(LIST.read_text(encoding="utf-8").splitlines())
    foreign = [row[name] for name in names if name not in listed]
    order = torch.randperm(len(foreign), generator=torch.Generator().manual_seed(args.seed)).tolist()
    halves = [drawn[[foreign[k] for k in order[part::2]]] for part in (0, 1)]
    real = Pictures(drawn[[row[name] for name in world]])
    images, concept, style = real.all()
    codec = EmojiCodec.from_pretrained(SHIPPED / "codec", torch_dtype=torch.float32).eval()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    folder = SHIPPED / "judges"
    folder.mkdir(parents=True, exist_ok=True)
    for name in args.judges:
        torch.manual_seed(args.seed)
        if name == "pixels":
            judge, done = train_pixels(Pictures(halves[0]), codec, args.style_steps, args.seed)
        elif name == "statistics":
            judge, done = train_statistics(Pictures(halves[1]), codec, 2 * args.style_steps, args.seed)
        else:
            judge, done = train_concepts(real, world, codec, args.concept_steps, args.seed)
        target = concept if name == "concepts" else style
        found = figures(judge, images, target, codec)
        weights = sum(parameter.numel() for parameter in judge.parameters())
        results[name] = done | {"weights": weights, "seed": args.seed, "right": found["right"]}
        if name != "concepts":
            results[name]["training_concepts"] = len(halves[0 if name == "pixels" else 1])
            results[name]["confusion"] = confusion(found["real"], target)
        save_judge(judge, folder / f"{name}.safetensors", right=found["right"])
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(name, json.dumps(results[name]), flush=True)


if __name__ == "__main__":
    main()
