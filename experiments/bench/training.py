"""What a training costs: `ppd train`, a bare loop over the very same step, and a plain loop as scripts write it.

    python experiments/bench/training.py          (make bench)

All train a new branch of the embedded world, in turn, in one process. The loops' batches lie ready in memory. The bare
one makes the product's step, so the difference is what Lightning, logging, checkpoints and the data loading cost. The
plain one is written as published Diffusion-DPO scripts are: a second copy of the network as the reference, diffusers'
own arithmetic, AdamW as it comes, and dropped users computed like all others. Pairs are counted before users are
dropped. Prints and writes outputs/bench/training.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from steps import first_batches, plain_step

from ppd_lightning.commands import embed, prepare
from ppd_lightning.commands.reference import open_batches
from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.training.build import build_module
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.lightning_trainer import build_trainer
from ppd_lightning.training.loggers import make_loggers
from ppd_lightning.training.module import PPDModule


def opened_data(config: Config) -> PreferenceDataModule:
    """Batches of a configuration."""
    batches = open_batches(Workspace(config))
    batches.setup("fit")
    return batches


def opened(config: Config) -> tuple[PreferenceDataModule, PPDModule]:
    """Batches and a new module of a configuration."""
    backbone, batches = config.model, opened_data(config)
    groups = (config.objective, config.optimizer, config.trainer)
    return batches, build_module(backbone, backbone.load_network(), batches, *groups, seed=config.seed)


class Speed:
    """Pairs a second between its beginning and its end, by the clock and by the time that the processor worked.

    Other work on the machine hardly changes the latter.
    """

    def __init__(self, config: Config) -> None:
        self.pairs = config.trainer.max_steps * config.trainer.batch_size
        self.begun, self.ended = (0.0, 0.0), (0.0, 0.0)

    def begin(self) -> None:
        """The first step begins."""
        self.begun = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """The last step is over."""
        self.ended = time.perf_counter(), time.process_time()

    def rates(self) -> dict[str, float]:
        """Both."""
        clock, processor = (self.pairs / (end - begin) for begin, end in zip(self.begun, self.ended, strict=True))
        return {"clock": clock, "processor": processor}


def plain(config: Config) -> Speed:
    """The plain step, see `plain_step`."""
    speed, backbone, data = Speed(config), config.model, opened_data(config)
    networks = backbone.load_network(), backbone.load_network()
    step = plain_step(config, backbone, networks, data.latent_shape, data.embedding_dim)
    batches = [data.batch(number) for number in range(config.trainer.max_steps)]
    speed.begin()
    for batch in batches:
        step(batch)
    speed.end()
    return speed


def bare(config: Config) -> Speed:
    """zero_grad, the product's step, backward, clip, optimizer, schedule."""
    (data, module), speed = opened(config), Speed(config)
    module.log_dict = lambda *args, **kwargs: None  # type: ignore[method-assign]
    batches = first_batches(data, config.trainer.max_steps)
    made: Any = module.configure_optimizers()
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    speed.begin()
    for index, batch in enumerate(batches):
        optimizer.zero_grad()
        module.training_step(batch, index).backward()
        module.on_after_backward()
        torch.nn.utils.clip_grad_norm_(module.branch.parameters(), config.optimizer.grad_clip or float("inf"))
        optimizer.step()
        scheduler.step()
    speed.end()
    return speed


def lightning(config: Config) -> Speed:
    """The steps of `ppd train`, logging, checkpoints and data loading included, start-up not."""
    folder, speed = Path(mkdtemp()), Speed(config)
    data, module = opened(config)
    loggers = make_loggers(config.logger, folder, folder)
    trainer = build_trainer(config.trainer, folder, loggers=loggers, grad_clip=config.optimizer.grad_clip)
    module.on_train_start = speed.begin  # type: ignore[method-assign]
    module.on_train_end = speed.end  # type: ignore[method-assign]
    trainer.fit(module, data)
    shutil.rmtree(folder)
    return speed


WAYS: dict[str, Callable[[Config], Speed]] = {"plain": plain, "bare": bare, "lightning": lightning}


def ratios(rounds: list[dict[str, dict[str, float]]], other: str, by: str) -> list[float]:
    """`ppd train`'s rate over another's: the median, then every round's."""
    found = [one["lightning"][by] / one[other][by] for one in rounds]
    return [round(ratio, 3) for ratio in (statistics.median(found), *found)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    args = parser.parse_args()
    settings = [
        "experiment=emoji/demo",
        f"trainer.max_steps={args.steps}",
        "optimizer.warmup_steps=1",  # also for a few steps
        f"trainer.threads={args.threads}",
        f"output={args.output}",
    ]
    config, stock = compose(settings), compose([*settings, "model.arithmetic=stock"])
    configs = {"plain": stock, "bare": config, "lightning": config}
    torch.set_num_threads(args.threads)
    prepare.run(config)
    embed.run(config)
    for name, way in WAYS.items():
        way(replace(configs[name], trainer=replace(config.trainer, max_steps=4)))
    rounds = [{name: way(configs[name]).rates() for name, way in WAYS.items()} for _ in range(args.rounds)]
    report: dict[str, Any] = {
        by: {
            "pairs_per_second": {name: round(statistics.median(one[name][by] for one in rounds), 1) for name in WAYS},
            "lightning_over_bare": ratios(rounds, "bare", by),
            "lightning_over_plain": ratios(rounds, "plain", by),
        }
        for by in ("clock", "processor")
    }
    report |= {"batch_size": config.trainer.batch_size, "steps": args.steps, "threads": args.threads}
    (args.output / "bench").mkdir(parents=True, exist_ok=True)
    (args.output / "bench/training.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
