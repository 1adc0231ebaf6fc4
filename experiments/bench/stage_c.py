"""How fast the training step of the full-size Stage C is, and what it takes: pairs/s, memory, share of peak arithmetic.

    python experiments/bench/stage_c.py                                              (a GPU; within `make bench`)
    python experiments/bench/stage_c.py --device cpu --batches 1 --rounds 1          (by hand: minutes, 16 GB)

Random weights, 24 x 24 latents, the reference computed in the step; batches double until one does not fit. Each line is
our step (PPDModule, fused AdamW) in one of four ways, or `plain`: the loop that published Diffusion-DPO scripts write,
with a second copy of the network and unfused AdamW, on the same batch. All in one process, so that the ratios hold.
Prints a table and writes outputs/bench/stage_c.json; with --profile also where the time of the best line goes.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import StableCascadeUNet
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ppd_lightning.backbones.cascade.checkpoint import stage_c_config
from ppd_lightning.backbones.cascade.prior import predict_noise
from ppd_lightning.backbones.user_branch import attach_user_branch
from ppd_lightning.config.compose import compose
from ppd_lightning.config.schemas import Config
from ppd_lightning.diffusion.draws import draw_batch
from ppd_lightning.diffusion.schedule import CosineSchedule
from ppd_lightning.diffusion.weighting import TimeWeight
from ppd_lightning.training.module import PPDModule

LATENT, TEXT, WIDTH, EMBEDDING = (16, 24, 24), 77, 1280, 3584
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
"""Dense bf16 multiplications and additions a second, by data sheet."""
Step = Callable[[dict[str, Tensor]], Tensor]


def random_prior(name: str, device: str, dtype: torch.dtype) -> StableCascadeUNet:
    """A frozen Stage C of full size; its last layer, which would start at zero, is random too."""
    with torch.device(device):
        torch.manual_seed(0)
        prior = StableCascadeUNet(**stage_c_config(name))
        torch.nn.init.normal_(prior.clf[1].weight, std=0.02)
    return torch.nn.Module.to(prior, dtype).eval().requires_grad_(False)


def random_batch(size: int, device: str) -> dict[str, Tensor]:
    """What the data module gives, on the device."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(size, *shape, generator=generator).to(device)

    return {
        "pair": torch.arange(size),
        "epoch": torch.zeros(size, dtype=torch.int64),
        "latents_preferred": normal(*LATENT),
        "latents_dispreferred": normal(*LATENT),
        "text": normal(TEXT, WIDTH),
        "text_pooled": normal(1, WIDTH),
        "user": normal(EMBEDDING),
    }


def our_step(config: Config, prior: StableCascadeUNet) -> Step:
    """One optimizer step of `ppd train`, without Lightning's loop (what that costs is in training.py)."""
    objective = config.objective
    module = PPDModule(
        config.model,
        prior,
        attach_user_branch(prior, EMBEDDING),
        objective,
        config.optimizer,
        TimeWeight(objective.weighting, config.model.diffusion_path, objective.t_min, objective.t_max),
        latent_shape=LATENT,
        max_steps=1000,
        seed=0,
    ).to(prior.device)
    module.log_dict = lambda *args, **kwargs: None
    optimizer = module.configure_optimizers()["optimizer"]

    def step(batch: dict[str, Tensor]) -> Tensor:
        optimizer.zero_grad()
        loss = module.training_step(batch, 0)
        loss.backward()
        module.on_after_backward()
        torch.nn.utils.clip_grad_norm_(module.branch.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    return step


def plain_step(config: Config, prior: StableCascadeUNet, reference: StableCascadeUNet) -> Step:
    """The same step as published scripts write it: a second network as the reference, and AdamW as it comes."""
    branch = attach_user_branch(prior, EMBEDDING)
    optimizer = torch.optim.AdamW(branch.parameters(), lr=config.optimizer.lr, foreach=False)
    schedule, coefficient = CosineSchedule(), config.objective.beta * 16 * 24 * 24 / 2

    def step(batch: dict[str, Tensor]) -> Tensor:
        draws = draw_batch(0, batch["epoch"], batch["pair"], LATENT)
        t, noise = draws.t.to(prior.device).repeat(2), draws.noise_preferred.to(prior.device).repeat(2, 1, 1, 1)
        latents = torch.cat([batch["latents_preferred"], batch["latents_dispreferred"]])
        inputs = (
            schedule.add_noise(latents, noise, t),
            t,
            batch["text"].repeat(2, 1, 1),
            batch["text_pooled"].repeat(2, 1, 1),
        )
        with branch.user(batch["user"].repeat(2, 1)):
            policy = (predict_noise(prior, *inputs) - noise).square().mean((1, 2, 3))
            with torch.no_grad():
                base = (predict_noise(reference, *inputs) - noise).square().mean((1, 2, 3))
            won, lost = (policy - base).chunk(2)
            loss = -F.logsigmoid(-coefficient * (won - lost)).mean()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(branch.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_a_step(step: Step, batch: dict[str, Tensor], device: str, rounds: int) -> float:
    """The median over `rounds`, after two steps that are not counted (one of which compiles)."""
    taken = []
    for index in range(rounds + (2 if device == "cuda" else 0)):
        synchronize(device)
        begun = time.perf_counter()
        loss = step(batch)
        synchronize(device)
        if index >= 2 or device == "cpu":
            taken.append(time.perf_counter() - begun)
    if not loss.isfinite():
        raise RuntimeError(f"the loss is {loss.item()}")
    return statistics.median(taken)


def flops_a_pair(config: Config, prior: StableCascadeUNet, device: str) -> int:
    """Multiplications and additions that the step of one pair needs: policy forward and backward, reference forward."""
    step = our_step(config, prior)
    with FlopCounterMode(display=False) as counter:
        step(random_batch(1, device))
    return int(counter.get_total_flops())


def matmul_flops(device: str, dtype: torch.dtype) -> float:
    """What a large square matrix product reaches here, a second."""
    size = 8192 if device == "cuda" else 2048
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(5):
        synchronize(device)
        begun = time.perf_counter()
        for _ in range(10 if device == "cuda" else 1):
            one @ other
        synchronize(device)
        times.append((time.perf_counter() - begun) / (10 if device == "cuda" else 1))
    return 2 * size**3 / min(times)


def freed(device: str) -> None:
    torch._dynamo.reset()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory(device: str) -> float | None:
    return round(torch.cuda.max_memory_allocated() / 1e9, 1) if device == "cuda" else None


def measured(way: str, size: int, config: Config, args: argparse.Namespace, dtype: torch.dtype) -> dict[str, Any]:
    """One line: a way of making the step, at one batch size."""
    freed(args.device)
    line: dict[str, Any] = {"way": way, "batch": size}
    try:
        prior = random_prior(args.model, args.device, dtype)
        if "checkpointed" in way:
            prior.enable_gradient_checkpointing()
        if "compiled" in way:
            prior.compile()
        if way == "plain":
            step = plain_step(config, prior, random_prior(args.model, args.device, dtype))
        else:
            step = our_step(config, prior)
        seconds = seconds_a_step(step, random_batch(size, args.device), args.device, args.rounds)
        line |= {"pairs_per_second": float(f"{size / seconds:.4g}"), "memory_gb": peak_memory(args.device)}
    except torch.cuda.OutOfMemoryError:
        line |= {"pairs_per_second": None, "memory_gb": None}
    return line


def profile(way: str, size: int, config: Config, args: argparse.Namespace, dtype: torch.dtype) -> str:
    """Where the time of one step goes, by operation."""
    freed(args.device)
    prior = random_prior(args.model, args.device, dtype)
    if "compiled" in way:
        prior.compile()
    step, batch = our_step(config, prior), random_batch(size, args.device)
    for _ in range(2):
        step(batch)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if args.device == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        step(batch)
        synchronize(args.device)
    order = "self_cuda_time_total" if args.device == "cuda" else "self_cpu_time_total"
    return str(profiler.key_averages().table(sort_by=order, row_limit=25, max_name_column_width=60))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stage_c_lite", choices=("stage_c_lite", "stage_c"))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32, 64, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=420, help="no line is begun after this many seconds")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("stage_c.py: no GPU here, nothing measured; --device cpu measures one pair on the CPU, in minutes")
        return
    begun = time.monotonic()
    dtype = torch.bfloat16 if args.device == "cuda" else torch.float32
    config = compose(["model=stage_c_lite", "model.path=none", "objective.drop_user=0", "optimizer.grad_clip=1"])
    flops = flops_a_pair(config, random_prior(args.model, args.device, dtype), args.device)
    matmul = matmul_flops(args.device, dtype)
    device = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    peak = next((peak for name, peak in PEAKS.items() if name in device), None)
    ways = ("ours", "ours checkpointed", "ours compiled", "ours compiled checkpointed", "plain")
    if args.device == "cpu":
        ways = ("ours", "ours checkpointed", "plain")
    lines: list[dict[str, Any]] = []
    full: set[str] = set()
    for way in ways:  # a compiled network is made anew for each size: the largest that fitted is enough
        sizes = args.batches
        if "compiled" in way:
            base = way.replace(" compiled", "")
            fitted = [line["batch"] for line in lines if line["way"] == base and line["pairs_per_second"]]
            sizes = fitted[-1:]
        for size in sizes:
            if way in full or time.monotonic() - begun > args.seconds:
                continue
            line = measured(way, size, config, args, dtype)
            if line["pairs_per_second"] is None:
                full.add(way)
            else:
                rate = line["pairs_per_second"] * flops
                line |= {"of_matmul": round(rate / matmul, 3), "of_peak": round(rate / peak, 3) if peak else None}
            lines.append(line)
            print(json.dumps(line), flush=True)
    report = {
        "device": device,
        "torch": torch.__version__,
        "model": args.model,
        "dtype": str(dtype),
        "tflop_a_pair": round(flops / 1e12, 2),
        "matmul_tflops": round(matmul / 1e12, 2),
        "peak_tflops": peak / 1e12 if peak else None,
        "lines": lines,
    }
    best: dict[str, float] = {}
    for line in lines:
        if line["pairs_per_second"]:
            kind = "plain" if line["way"] == "plain" else "ours"
            best[kind] = max(best.get(kind, 0), line["pairs_per_second"])
    if len(best) == 2:
        report["ours_over_plain"] = round(best["ours"] / best["plain"], 3)
    folder = args.output / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stage_c.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({name: value for name, value in report.items() if name != "lines"}, indent=2))
    if args.profile:
        rated = [line for line in lines if line["pairs_per_second"] and line["way"].startswith("ours")]
        top = max(rated, key=lambda line: float(line["pairs_per_second"]))
        table = profile(top["way"], top["batch"], config, args, dtype)
        (folder / "stage_c_profile.txt").write_text(f"{top}\n{table}\n")
        print(table)


if __name__ == "__main__":
    main()
