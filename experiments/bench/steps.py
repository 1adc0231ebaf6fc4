"""Training steps to be timed: the product's own, and the loop that published Diffusion-DPO scripts write."""

from __future__ import annotations

import gc
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from random_models import MadeUpData, Model, marked_backbone, random_network
from torch import Tensor
from torch.nn import functional as F

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.config.root import Config
from ppd_lightning.training import stored_reference
from ppd_lightning.training.accumulation import ends_step
from ppd_lightning.training.build import build_module, step0_test
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.lightning_trainer import build_trainer, fit
from ppd_lightning.training.module import PPDModule
from ppd_lightning.training.stored_reference import StoredReference

Batch = dict[str, Tensor]
Step = Callable[[Batch], Tensor]
Moment = float | torch.cuda.Event
"""Seconds of the CPU's clock, or what a GPU notes as it comes there."""


class Clock:
    """When the device came to each mark of a step: by events on a GPU, which cost no wait."""

    def __init__(self, device: str) -> None:
        self.cuda, self.on = device == "cuda", False
        self.marks: list[tuple[str, Moment]] = []

    def __call__(self, name: str) -> None:
        """Note that the device has come here, once it has."""
        if not self.on:
            return
        if not self.cuda:
            self.marks.append((name, time.perf_counter()))
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self.marks.append((name, event))

    def wait(self) -> None:
        """Until the device has done all that it was asked for."""
        if self.cuda:
            torch.cuda.synchronize()

    def milliseconds(self) -> dict[str, float]:
        """Medians of reference, policy and backward, and of what lies between them."""
        self.wait()
        spans: dict[str, list[float]] = {}
        for (before, begin), (after, end) in pairwise(self.marks):
            spans.setdefault(SPANS[f"{before}, {after}"], []).append(milliseconds(begin, end))
        return {name: round(statistics.median(taken), 2) for name, taken in spans.items()}


def milliseconds(begin: Moment, end: Moment) -> float:
    """Between two moments of one clock."""
    if isinstance(begin, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
        return float(begin.elapsed_time(end))
    assert isinstance(begin, float)
    assert isinstance(end, float)
    return 1e3 * (end - begin)


SPANS = {
    "reference begins, reference ends": "reference",
    "policy begins, policy ends": "policy",
    "reference ends, policy begins": "between reference and policy",
    "policy ends, reference begins": "between reference and policy",
    "policy ends, backward ends": "loss and backward",
    "reference ends, backward ends": "loss and backward",
    "backward ends, reference begins": "optimizer, batch and draws",
    "backward ends, policy begins": "optimizer, batch and draws",
}


@dataclass(frozen=True)
class Bench:
    """Where and on what steps are measured.

    model: whose network. config: of the training; `pairs` are drawn at once. device: cuda or cpu. dtype: of the frozen
    network. data: of the model's shapes. clock: of the device.
    """

    model: Model
    config: Config
    device: str
    dtype: torch.dtype
    data: MadeUpData
    clock: Clock

    def network(self, backbone: Backbone | None = None) -> torch.nn.Module:
        """One more copy of the frozen network; see `random_network`."""
        return random_network(self.model, self.device, self.dtype, backbone)


def first_batches(batches: PreferenceDataModule, count: int = 4) -> list[Batch]:
    """As the training's loader gives them, on the CPU."""
    stream: Iterator[Batch] = iter(batches.train_dataloader())
    return [next(stream) for _ in range(count)]


class Ours:
    """`ppd train`'s module and data, built as the command builds them.

    Attributes:
        batches: of the data module, on the CPU, in the order of training.
    """

    def __init__(self, bench: Bench) -> None:
        config = bench.config
        self.bench, self.backbone = bench, marked_backbone(config, bench.clock)
        self.batches: PreferenceDataModule = bench.data.batches(config)
        network = bench.network(self.backbone)
        if config.trainer.reference == "stored":
            self._store_reference(network)
        groups = (config.objective, config.optimizer, config.trainer)
        self.module: PPDModule = build_module(self.backbone, network, self.batches, *groups, seed=config.seed)
        self.module.to(bench.device).train()

    def _store_reference(self, network: torch.nn.Module) -> None:
        """As `ppd reference`; in units of four batches, for few are read."""
        bench, trainer = self.bench, self.bench.config.trainer
        stored_reference.UNIT = 4 * self.batches.pairs_at_once
        made = StoredReference(
            bench.data.folder / f"stored-{self.batches.pairs_at_once}",
            bench.data,
            self.batches,
            self.backbone,
            bench.config.objective,
            precision=trainer.precision,
            seed=bench.config.seed,
            steps=trainer.max_steps,
            device=torch.device(bench.device),
            progress=False,
        )
        made.make(lambda: network)
        self.batches.use_reference(made.read())

    def step0_loss(self) -> float:
        """The product's own test; it raises where the loss is not ln 2."""
        return step0_test(self.module, self.batches)

    def noise(self, batch: Batch) -> float:
        """The largest logit of a new branch with gradients on, as in training: 0 where both forwards round alike."""
        figures = self.module._preference(self.on_device(batch)).figures
        self.module._user.close()
        return float(figures["margin"].abs().max())

    def on_device(self, batch: Batch) -> Batch:
        """As Lightning moves it."""
        return self.batches.transfer_batch_to_device(batch, torch.device(self.bench.device), 0)

    def stored_noise(self) -> dict[str, float]:
        """The largest logit that stored errors give a new branch, by how much of a batch is computed at once."""
        whole = self.batches.first_batch()
        count, noise = len(whole["pair"]), {}
        for name, size in (("whole", count), ("one dropped", count - 1), ("half", count // 2), ("one alone", 1)):
            part = {key: value[: max(1, size)] for key, value in whole.items()}
            noise[name] = float(f"{self.module.stored_logits(self.on_device(part)).abs().max():.3g}")
        return noise

    def step(self) -> Step:
        """One optimizer step of one micro-batch, from the CPU's batch on, without Lightning's loop."""
        module, clock, clip = self.module, self.bench.clock, self.bench.config.optimizer.grad_clip
        module.log_dict = lambda *args, **kwargs: None  # type: ignore[method-assign]
        optimizer: Any = module.configure_optimizers()["optimizer"]

        def step(batch: Batch) -> Tensor:
            loss = module.training_step(self.on_device(batch), 0)
            loss.backward()
            clock("backward ends")
            module.on_after_backward()
            torch.nn.utils.clip_grad_norm_(module.branch.parameters(), clip or float("inf"))
            optimizer.step()
            optimizer.zero_grad()
            return loss.detach()

        return step


def plain_step(
    config: Config,
    backbone: Backbone,
    networks: tuple[torch.nn.Module, torch.nn.Module],
    latent_shape: Sequence[int],
    embedding: int,
    mark: Callable[[str], None] = lambda name: None,
) -> Step:
    """The same step as published scripts write it: a second network as the reference, draws on the device, AdamW.

    Nothing is left out of a batch; a user that is dropped is a zero one.

    Args:
        networks: two copies, on their device; the first gets the branch.
        latent_shape: of one image.
        embedding: E.
        mark: called as the backward is over.
    """
    network, reference = networks
    objective, path, device = config.objective, backbone.diffusion_path, next(network.parameters()).device
    branch = backbone.attach(network, embedding).to(device)
    optimizer = torch.optim.AdamW(branch.parameters(), lr=config.optimizer.lr)
    coefficient = objective.coefficient(math.prod(latent_shape))
    wanted = ("latents_preferred", "latents_dispreferred", *backbone.text_arrays, "user")

    def step(batch: Batch) -> Tensor:
        batch = {name: batch[name].to(device) for name in wanted}
        latents = torch.cat([batch["latents_preferred"], batch["latents_dispreferred"]])
        noise = torch.randn_like(batch["latents_preferred"]).repeat(2, 1, 1, 1)
        t = torch.rand(len(noise) // 2, device=device).clamp_min(objective.t_min).repeat(2)
        stays = torch.rand(len(batch["user"]), 1, device=device) >= objective.drop_user
        text = {name: torch.cat([batch[name]] * 2) for name in backbone.text_arrays}
        noisy, target = path.add_noise(latents, noise, t), path.target(latents, noise, t)
        with branch.user((batch["user"] * stays).repeat(2, 1)):
            policy = (backbone.predict(network, noisy, t, text) - target).square().mean((1, 2, 3))
            with torch.no_grad():
                base = (backbone.predict(reference, noisy, t, text) - target).square().mean((1, 2, 3))
            won, lost = (policy - base).chunk(2)
            loss = -F.logsigmoid(-coefficient * (won - lost)).mean()
            loss.backward()
        mark("backward ends")
        torch.nn.utils.clip_grad_norm_(branch.parameters(), config.optimizer.grad_clip or float("inf"))
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def timed(step: Step, batches: list[Batch], clock: Clock, *, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds of a step and how much the rounds differ: each is `steps` steps between two waits for the device.

    The first two steps are not among them: they compile, and choose kernels.
    """
    begun = time.perf_counter()
    step(batches[0])
    clock.wait()
    first = time.perf_counter() - begun
    step(batches[1 % len(batches)])
    clock.marks, clock.on, taken = [], True, []
    for _ in range(rounds):
        clock.wait()
        begun = time.perf_counter()
        for index in range(steps):
            loss = step(batches[index % len(batches)])
        clock.wait()
        taken.append((time.perf_counter() - begun) / steps)
    clock.on = False
    if not loss.isfinite():
        raise RuntimeError(f"the loss is {loss.item()}")
    return {
        "step_seconds": statistics.median(taken),
        "spread": round((max(taken) - min(taken)) / statistics.median(taken), 3),
        "first_step_seconds": round(first, 1),
        "ms": clock.milliseconds(),
    }


class Ends(Callback):
    """When the training began, and when each optimizer step was over on the device."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ends: list[float] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """What comes before is not of the first step."""
        self.clock.wait()
        self.ends.append(time.perf_counter())

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Wait for the device, once a step."""
        if ends_step(trainer, batch_idx):
            self.clock.wait()
            self.ends.append(time.perf_counter())


def trained(bench: Bench) -> dict[str, Any]:
    """`ppd train`'s own loop: Lightning, the data module's loader, micro-batches, dropped users, checkpoints, logs."""
    ours, ends, trainer_settings = Ours(bench), Ends(bench.clock), bench.config.trainer
    loss = ours.step0_loss()
    with tempfile.TemporaryDirectory() as folder:
        clip = bench.config.optimizer.grad_clip
        trainer = build_trainer(trainer_settings, Path(folder), first=[ends], grad_clip=clip)
        fit(trainer, ours.module, ours.batches, None)
        rows = (Path(folder) / "metrics.csv").read_text().splitlines()
    seconds = [end - begin for begin, end in pairwise(ends.ends)]
    metrics = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    return {
        "step0_loss": loss,
        "pairs_a_step": trainer_settings.batch_size,
        "step_seconds": statistics.median(seconds[1:] or seconds),
        "first_step_seconds": round(seconds[0], 1),
        "loss": metrics.get("train/loss"),
    }


def freed(device: str) -> None:
    """Let go of the networks and graphs of the line before."""
    torch._dynamo.reset()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
