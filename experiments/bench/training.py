"""What Lightning and the data loading cost: pairs/s of `ppd train` beside a bare loop over the very same step.

    python experiments/bench/training.py          (make bench)

Both train the embedded world's branch from the same start, in turn, in one process; the bare loop's batches lie ready
in memory. Prints and writes outputs/bench/training.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

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


def opened(config: Config) -> tuple[PreferenceDataModule, PPDModule]:
    """Batches and a new module of a configuration."""
    workspace = Workspace(config)
    batches, backbone = open_batches(workspace), workspace.backbone
    batches.setup("fit")
    groups = (config.objective, config.optimizer, config.trainer)
    return batches, build_module(backbone, backbone.load_network(), batches, *groups, seed=config.seed)


def bare(config: Config) -> float:
    """Pairs a second of zero_grad, step, backward, clip, optimizer, schedule, over batches that are in memory."""
    data, module = opened(config)
    module.log_dict = lambda *args, **kwargs: None  # type: ignore[method-assign]
    stream = iter(data.train_dataloader())
    batches = [next(stream) for _ in range(config.trainer.max_steps)]
    made: Any = module.configure_optimizers()
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    begun = time.perf_counter()
    for index, batch in enumerate(batches):
        optimizer.zero_grad()
        module.training_step(batch, index).backward()
        module.on_after_backward()
        torch.nn.utils.clip_grad_norm_(module.branch.parameters(), config.optimizer.grad_clip or float("inf"))
        optimizer.step()
        scheduler.step()
    return config.trainer.max_steps * config.trainer.batch_size / (time.perf_counter() - begun)


def lightning(config: Config) -> float:
    """Pairs a second of the steps of `ppd train`, logging, checkpoints and data loading included, start-up not."""
    folder = Path(mkdtemp())
    data, module = opened(config)
    loggers = make_loggers(config.logger, folder, folder)
    trainer = build_trainer(config.trainer, folder, loggers=loggers, grad_clip=config.optimizer.grad_clip)
    clock: dict[str, float] = {}
    module.on_train_start = lambda: clock.update(begun=time.perf_counter())  # type: ignore[method-assign]
    module.on_train_end = lambda: clock.update(ended=time.perf_counter())  # type: ignore[method-assign]
    trainer.fit(module, data)
    shutil.rmtree(folder)
    return config.trainer.max_steps * config.trainer.batch_size / (clock["ended"] - clock["begun"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    args = parser.parse_args()
    config = compose(
        [
            "experiment=emoji/demo",
            f"trainer.max_steps={args.steps}",
            "optimizer.warmup_steps=1",  # also for a few steps
            f"trainer.threads={args.threads}",
            f"output={args.output}",
        ]
    )
    torch.set_num_threads(args.threads)
    prepare.run(config)
    embed.run(config)
    warm = replace(config, trainer=replace(config.trainer, max_steps=4))
    bare(warm), lightning(warm)
    figures = [{"bare": bare(config), "lightning": lightning(config)} for _ in range(args.rounds)]
    ratios = [round_["lightning"] / round_["bare"] for round_ in figures]
    report = {
        "pairs_per_second": {key: round(statistics.median(one[key] for one in figures), 1) for key in figures[0]},
        "lightning_over_bare": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "batch_size": config.trainer.batch_size,
        "steps": args.steps,
        "threads": args.threads,
    }
    (args.output / "bench").mkdir(parents=True, exist_ok=True)
    (args.output / "bench/training.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
