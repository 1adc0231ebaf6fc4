"""What `model.arithmetic=fast` gives on a CPU: training and drawing in the embedded world, stock and fast in turn.

    python experiments/bench/arithmetic.py

One thread, processor time, in one process; each round is a step (or a batch of images) of both, and the ratio is the
median over rounds of stock to fast. Prints and writes outputs/bench/arithmetic.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ppd_lightning.commands import embed, prepare
from ppd_lightning.commands.reference import open_batches
from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.generation.pipeline import Guidance, UserPipeline
from ppd_lightning.training.build import build_module

WAYS = ("stock", "fast")
KINDS = ("matrix products", "norm", "attention", "elementwise", "convolutions", "copies", "rest")


def kind_of(name: str) -> str:
    """To which of KINDS an operation of torch's profiler belongs."""
    parts = {
        "matrix products": ("addmm", "aten::mm", "bmm"),
        "norm": ("vector_norm", "masked_fill", "pow", "aten::sum"),
        "attention": ("scaled_dot_product",),
        "convolutions": ("conv", "upsample"),
        "elementwise": ("gelu", "silu", "layer_norm", "aten::add", "aten::mul", "aten::div", "addcmul", "aten::sub"),
        "copies": ("copy", "cat", "fill_"),
    }
    return next((kind for kind, words in parts.items() if any(word in name.lower() for word in words)), "rest")


def stepper(config: Config, batch_count: int) -> Callable[[int], Any]:
    """One step of zero_grad, forward, backward, clip and optimizer, over batches that lie in memory."""
    workspace = Workspace(config)
    batches = open_batches(workspace)
    batches.setup("fit")
    groups = (config.objective, config.optimizer, config.trainer)
    module = build_module(workspace.backbone, workspace.backbone.load_network(), batches, *groups, seed=config.seed)
    module.log_dict = lambda *args, **kwargs: None  # type: ignore[method-assign]
    stream = iter(batches.train_dataloader())
    held = [next(stream) for _ in range(batch_count)]
    optimizer = module.configure_optimizers()["optimizer"]

    def step(index: int) -> float:
        optimizer.zero_grad()
        loss = module.training_step(held[index % batch_count], index)
        loss.backward()
        module.on_after_backward()
        torch.nn.utils.clip_grad_norm_(module.branch.parameters(), config.optimizer.grad_clip or float("inf"))
        optimizer.step()
        return loss.item()

    return step


def drawer(config: Config, images: int) -> Callable[[int], Any]:
    """One batch of images for as many users, as `ppd generate` draws them."""
    backbone, settings = Workspace(config).backbone, config.generation
    network = backbone.load_network()
    torch.manual_seed(0)
    branch = backbone.attach(network, 8).eval().requires_grad_(False)
    pipeline = UserPipeline.of(backbone, network, branch, image_size=config.data.image_size)
    users = torch.randn(images, 8, generator=torch.Generator().manual_seed(0))
    guidance = Guidance(settings.text_guidance, settings.user_guidance)
    captions = [f"grinning face {index}" for index in range(images)]

    def draw(seed: int) -> torch.Tensor:
        return pipeline(captions, users, [seed] * images, steps=settings.steps, guidance=guidance)

    return draw


def compared(ways: dict[str, Callable[[int], Any]], rounds: int, size: int) -> dict[str, Any]:
    """Units a second of processor time each way, and the ratio of fast to stock."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for index in range(rounds + 2):
        for way, run in ways.items():
            begun = time.thread_time()
            run(index)
            seconds[way].append(time.thread_time() - begun)
    ratios = sorted(stock / fast for stock, fast in zip(seconds["stock"][2:], seconds["fast"][2:], strict=True))
    rates: dict[str, Any] = {way: round(size / statistics.median(times[2:]), 1) for way, times in seconds.items()}
    quarter = len(ratios) // 4
    return rates | {"ratio": round(statistics.median(ratios), 3), "quartiles": [ratios[quarter], ratios[-1 - quarter]]}


def shares(step: Callable[[int], Any]) -> dict[str, float]:
    """Milliseconds of a step by kind of operation, the mean of four; a profiler adds its own to the rest."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for index in range(4):
            step(index)
    found = dict.fromkeys(KINDS, 0.0)
    for one in profiler.key_averages():
        found[kind_of(one.key)] += one.self_cpu_time_total / 4e3
    return {kind: round(value, 1) for kind, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    configs = {
        way: compose(["experiment=emoji/demo", f"model.arithmetic={way}", f"output={args.output}"]) for way in WAYS
    }
    prepare.run(configs["fast"])
    embed.run(configs["fast"])
    steppers = {way: stepper(config, 6) for way, config in configs.items()}
    drawers = {way: drawer(config, args.images) for way, config in configs.items()}
    report = {
        "pairs_per_second": compared(steppers, args.rounds, configs["fast"].trainer.batch_size),
        "images_per_second": compared(drawers, max(args.rounds // 4, 4), args.images),
        "ms_a_step": {way: shares(step) for way, step in steppers.items()},
    }
    (args.output / "bench").mkdir(parents=True, exist_ok=True)
    (args.output / "bench/arithmetic.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
