"""Make the embedded world's mini Stable Cascade: codec, then text encoder and prior together, then the decoder again.

    python experiments/emoji/base/make.py codec
    python experiments/emoji/base/make.py prior
    python experiments/emoji/base/make.py decoder

Each stage writes a checkpoint every few minutes and goes on from it when the same command is given again; the draws of
a step depend on the seed and the step alone. A finished stage writes its part of the shipped folder and a line of
`recipe.json` (settings, seed, steps, seconds, loss).

B = batch, K = concepts, S = styles.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shutil
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMWuerstchenScheduler, StableCascadeUNet
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.unets.unet_stable_cascade import (
    GlobalResponseNorm,
    SDCascadeAttnBlock,
    SDCascadeResBlock,
    SDCascadeTimestepBlock,
)
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from ppd_lightning.worlds.emoji.codec import EmojiCodec
from ppd_lightning.worlds.emoji.concepts import shipped_concepts
from ppd_lightning.worlds.emoji.pictures import concepts_in_every_style, draw_world
from ppd_lightning.worlds.emoji.vendors import fetch_packages

SHIPPED = Path(__file__).parents[3] / "src/ppd_lightning/worlds/emoji/assets"
RECIPE = Path(__file__).with_name("recipe.json")
SIZE = 64


def pictures(work: Path) -> tuple[list[str], Tensor]:
    """Every drawable concept and its pictures (K, S, 3, 64, 64) uint8; rendered once, then read back."""
    cache = work / "pictures.npz"
    if not cache.exists():
        files = fetch_packages(work / "packages")
        world = draw_world(files, concepts_in_every_style(files), SIZE)
        np.savez(cache, concepts=np.array(world.concepts), pictures=world.pictures)
    stored = np.load(cache)
    return stored["concepts"].tolist(), torch.from_numpy(stored["pictures"]).permute(0, 1, 4, 2, 3)


def train(
    name: str,
    args: argparse.Namespace,
    network: nn.Module,
    loss_of_step: Callable[[torch.Generator], Tensor],
    ema_decay: float,
) -> tuple[nn.Module, dict[str, Any]]:
    """AdamW at a constant rate after a warm-up, then a linear descent over the last `args.decay` steps, with an EMA.

    Returns:
        the averaged network and what was done.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    average = copy.deepcopy(network).requires_grad_(False)
    checkpoint = args.work / f"{name}.pt"
    done: dict[str, Any] = {"steps": 0, "seconds": 0.0, "loss": 0.0}
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["done"]

    def save() -> None:
        state = {"network": network.state_dict(), "average": average.state_dict(), "done": done}
        state["optimizer"] = optimizer.state_dict()
        torch.save(state, checkpoint.with_suffix(".tmp"))
        os.replace(checkpoint.with_suffix(".tmp"), checkpoint)

    torch.set_flush_denormal(True)
    network.train()
    begun = saved = time.monotonic()
    for step in range(done["steps"], args.steps):
        for group in optimizer.param_groups:
            left = 1.0 if args.decay == 0 else min(1.0, (args.steps - step) / args.decay)
            group["lr"] = args.lr * min(1.0, (step + 1) / 200) * left
        generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        loss = loss_of_step(generator)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        decay = min(ema_decay, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
            for ours, theirs in zip(average.buffers(), network.buffers(), strict=True):
                ours.copy_(theirs)
        done["steps"] = step + 1
        done["loss"] = 0.99 * done["loss"] + 0.01 * loss.item() if step else loss.item()
        now = time.monotonic()
        if (step + 1) % 50 == 0:
            by_time = getattr(network, "error_by_time", torch.zeros(1))
            errors = " ".join(f"{part.mean():.4f}" for part in by_time.chunk(5))
            print(f"{name} step {step + 1} loss {done['loss']:.4f} errors {errors} {(now - begun):.0f} s", flush=True)
        if now - saved > 120 or step + 1 == args.steps:
            done["seconds"] += now - begun
            begun = saved = now
            save()
    return average.eval(), done


def record(name: str, args: argparse.Namespace, done: dict[str, Any]) -> None:
    """Write what made a stage beside the others."""
    recipe = json.loads(RECIPE.read_text()) if RECIPE.exists() else {}
    settings = {key: value for key, value in vars(args).items() if isinstance(value, int | float)}
    recipe[name] = settings | {key: round(value, 4) for key, value in done.items()}
    recipe[name]["threads"] = torch.get_num_threads()
    RECIPE.write_text(json.dumps(recipe, indent=2) + "\n")


def codec_pictures(args: argparse.Namespace) -> tuple[Tensor, dict[str, Tensor]]:
    """Pictures (n, 3, 64, 64) uint8 to train on, and those that are measured: never trained on, and the world's."""
    names, drawn = pictures(args.work)
    world = set(shipped_concepts(args.concepts))
    other = [k for k, name in enumerate(names) if name not in world]
    held_out = other[::10]
    training = drawn[[k for k in range(len(names)) if k not in set(held_out)]].flatten(0, 1).contiguous()
    inside = [k for k, name in enumerate(names) if name in world]
    return training, {key: drawn[rows].flatten(0, 1) for key, rows in (("held_out", held_out), ("world", inside))}


def make_codec(args: argparse.Namespace) -> None:
    """Encoder and decoder together."""
    torch.manual_seed(args.seed)
    train_codec("codec", args, EmojiCodec())


def refine_decoder(args: argparse.Namespace) -> None:
    """The decoder alone, against more latent noise, when the latents must stay as the prior knows them."""
    codec = EmojiCodec.from_pretrained(SHIPPED / "codec", torch_dtype=torch.float32, latent_noise=0.2)
    codec.encoder.requires_grad_(False)
    train_codec("decoder", args, codec)


def train_codec(stage: str, args: argparse.Namespace, codec: EmojiCodec) -> None:
    training, measured = codec_pictures(args)
    codec = codec.to(memory_format=torch.channels_last)
    frozen = not next(codec.encoder.parameters()).requires_grad

    def slopes(images: Tensor) -> Iterator[Tensor]:
        yield images.diff(dim=-1)
        yield images.diff(dim=-2)

    def loss_of_step(generator: torch.Generator) -> Tensor:
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))  # for the noise inside the codec
        codec.encoder.train(not frozen)
        rows = torch.randint(len(training), (args.batch,), generator=generator)
        images = training[rows].float().div(255).contiguous(memory_format=torch.channels_last)
        if torch.rand((), generator=generator) < 0.5:
            images = images.flip(-1)
        painted = codec(images)
        edges = sum(F.l1_loss(a, b) for a, b in zip(slopes(painted), slopes(images), strict=True))
        return F.l1_loss(painted, images) + F.mse_loss(painted, images) + 0.5 * edges

    average, done = train(stage, args, codec, loss_of_step, ema_decay=0.99)
    for label, images in measured.items():
        images = images.float() / 255
        with torch.no_grad():
            painted = torch.cat([average.preview(average.encode(part)) for part in images.split(64)])
        done[f"psnr_{label}"] = float(-10 * (painted - images).square().mean((1, 2, 3)).log10().mean())
    average.to(torch.bfloat16).save_pretrained(SHIPPED / "codec")
    record(stage, args, done)


def make_tokenizer(names: list[str]) -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer with a vocabulary in which each word of the concepts is one token."""
    like = CLIPTokenizer().backend_tokenizer
    pairs = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    pairs.normalizer, pairs.pre_tokenizer = like.normalizer, like.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        show_progress=False,
    )
    pairs.train_from_iterator(names, trainer)
    learned = json.loads(pairs.to_str())["model"]
    vocabulary = learned["vocab"]
    for letter in alphabet:
        vocabulary.setdefault(letter + "</w>", len(vocabulary))
    return CLIPTokenizer(vocab=vocabulary, merges=[tuple(pair) for pair in learned["merges"]], model_max_length=8)


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=128,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_unet() -> StableCascadeUNet:
    """Stage C's network in small: the inner level works on 4x4."""
    unet = StableCascadeUNet(
        timestep_ratio_embedding_dim=64,
        conditioning_dim=192,
        block_out_channels=(96, 256),
        num_attention_heads=(2, 4),
        down_num_layers_per_block=(1, 2),
        up_num_layers_per_block=(2, 1),
        clip_text_in_channels=128,
        clip_text_pooled_in_channels=128,
        clip_image_in_channels=16,
        clip_seq=1,
        dropout=0.0,
        switch_level=(True,),
    )
    blocks = [block for level in [*unet.down_blocks, *unet.up_blocks] for block in level]
    depth = sum(isinstance(block, SDCascadeResBlock) for block in blocks)
    for block in blocks:
        if isinstance(block, SDCascadeResBlock):
            block.channelwise[-1].weight.data *= depth**-0.5
        if isinstance(block, SDCascadeTimestepBlock):
            for mapper in (block.mapper, block.mapper_sca, block.mapper_crp):
                nn.init.zeros_(mapper.weight)
                nn.init.zeros_(mapper.bias)
    nn.init.zeros_(unet.clf[1].weight)
    nn.init.zeros_(unet.clf[1].bias)
    return unet


def respond(self: GlobalResponseNorm, features: Tensor) -> Tensor:
    """GlobalResponseNorm's formula with a sum of squares in place of `torch.norm`, which is slow on a CPU."""
    size = features.square().sum((1, 2), keepdim=True).clamp(min=1e-12).sqrt()  # no slope at exactly zero
    return features * (1 + self.gamma * (size / (size.mean(-1, keepdim=True) + 1e-6))) + self.beta


def quicken(unet: StableCascadeUNet) -> None:
    """The same function, half as fast again on a CPU: plain attention and `respond`; only for this training."""
    for module in unet.modules():
        if isinstance(module, GlobalResponseNorm):
            module.forward = types.MethodType(respond, module)
        if isinstance(module, SDCascadeAttnBlock):
            module.attention.set_processor(AttnProcessor())


class TextToLatents(nn.Module):
    """The text encoder and the prior, trained as one."""

    def __init__(self, tokenizer: CLIPTokenizer, captions: list[str]) -> None:
        super().__init__()
        self.text_encoder = make_text_encoder(tokenizer)
        self.prior = make_unet()
        quicken(self.prior)
        tokens = tokenizer([*captions, ""], padding="max_length", truncation=True, return_tensors="pt")
        self.tokens, self.mask = tokens["input_ids"], tokens["attention_mask"]
        # Running error by time, the adaptive weight of Stage C's own training; kept with the weights for exact resume.
        self.register_buffer("error_by_time", torch.zeros(100))

    def forward(self, noised: Tensor, time_ratio: Tensor, caption: Tensor) -> Tensor:
        """Noised latents (B, 16, 8, 8), times (B,) and caption rows (B,) to the predicted noise."""
        text = self.text_encoder(self.tokens[caption], attention_mask=self.mask[caption], output_hidden_states=True)
        predicted: Tensor = self.prior(
            noised,
            time_ratio,
            clip_text_pooled=text.text_embeds[:, None],
            clip_text=text.hidden_states[-1],
            clip_img=noised.new_zeros(len(noised), 1, self.prior.config.clip_image_in_channels),
        ).sample
        return predicted


def begin_from(network: TextToLatents, folder: Path) -> None:
    """Take the weights of a prior and text encoder of the same shapes, whichever concepts they know."""
    prior = StableCascadeUNet.from_pretrained(folder / "prior", torch_dtype=torch.float32)
    network.prior.load_state_dict(prior.state_dict())
    text = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder", torch_dtype=torch.float32)
    network.text_encoder.load_state_dict(text.state_dict())


def make_prior(args: argparse.Namespace) -> None:
    names, drawn = pictures(args.work)
    concepts = shipped_concepts(args.concepts)
    row = {name: k for k, name in enumerate(names)}
    images = drawn[[row[name] for name in concepts]]
    codec = EmojiCodec.from_pretrained(SHIPPED / "codec", torch_dtype=torch.float32).eval()
    with torch.no_grad():
        latents = torch.stack([codec.encode(styles.float() / 255) for styles in images])  # (K, S, 16, 8, 8)
    tokenizer = make_tokenizer(names)
    torch.manual_seed(args.seed)
    network = TextToLatents(tokenizer, concepts)
    if args.begin is not None:
        begin_from(network, args.begin)
    schedule = DDPMWuerstchenScheduler()

    def loss_of_step(generator: torch.Generator) -> Tensor:
        concept = torch.randint(len(concepts), (args.batch,), generator=generator)
        style = torch.randint(latents.shape[1], (args.batch,), generator=generator)
        strata = (torch.arange(args.batch) + torch.rand(args.batch, generator=generator)) / args.batch
        times = (0.001 + 0.999 * strata**0.75).clamp(max=1.0)
        caption = torch.where(torch.rand(args.batch, generator=generator) < 0.1, len(concepts), concept)
        clean = latents[concept, style]
        noise = torch.randn(clean.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bfloat16):
            predicted = network(schedule.add_noise(clean, noise, times), times, caption)
        error = predicted.float() - noise
        errors = error.square().mean((1, 2, 3))
        buckets, bucket, found = network.error_by_time, (times * 99.999).long(), errors.detach()
        buckets[bucket] = torch.where(buckets[bucket] == 0, found, buckets[bucket].lerp(found, 0.02))
        return (errors / buckets[bucket].clamp(min=1e-5)).mean()

    average, done = train("prior", args, network, loss_of_step, ema_decay=0.9995)
    average.prior.to(torch.bfloat16).save_pretrained(args.into / "prior")
    average.text_encoder.to(torch.bfloat16).save_pretrained(args.into / "text_encoder")
    tokenizer.save_pretrained(args.into / "tokenizer")
    schedule.save_pretrained(args.into / "scheduler")
    if args.into != SHIPPED:
        shutil.copytree(SHIPPED / "codec", args.into / "codec", dirs_exist_ok=True)
    done["error"] = float(network.error_by_time.mean())
    record("prior" if args.into == SHIPPED else f"prior in {args.into.name}", args, done)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(dest="stage", required=True)
    shipped = (  # what made the shipped base
        ("codec", 1100, 600, 32, 1e-3, 200),
        ("prior", 5000, 1400, 64, 1e-3, 100),
        ("decoder", 500, 400, 32, 8e-4, 100),
    )
    for name, steps, decay, batch, lr, concepts in shipped:
        stage = stages.add_parser(name)
        stage.add_argument("--steps", type=int, default=steps)
        stage.add_argument("--decay", type=int, default=decay)
        stage.add_argument("--batch", type=int, default=batch)
        stage.add_argument("--lr", type=float, default=lr)
        stage.add_argument("--seed", type=int, default=0)
        stage.add_argument("--concepts", type=int, default=concepts)
        stage.add_argument("--work", type=Path, default=Path("outputs/base"))
    prior = stages.choices["prior"]
    prior.add_argument("--begin", type=Path, help="a folder like the shipped one, whose weights are the first")
    prior.add_argument("--bfloat16", action="store_true", help="products in bfloat16: faster where the CPU has them")
    prior.add_argument("--into", type=Path, default=SHIPPED, help="another folder, for model.path")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    {"codec": make_codec, "prior": make_prior, "decoder": refine_decoder}[args.stage](args)


if __name__ == "__main__":
    main()
