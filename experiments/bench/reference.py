"""What reading the reference's errors back saves, and what noise it adds: pairs/s and logits at step 0, both ways.

    python experiments/bench/reference.py         (make bench)

The embedded world's training with trainer.reference=computed and =stored in turn, in one process, after the errors have
been made once. A new branch's logits are 0, so what they are with stored errors is noise; it is measured in fp32 and in
bf16, for batches of the composition in which the errors were made, and for others (users are dropped, so that a batch
has fewer pairs). Prints and writes outputs/bench/reference.json.
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
from ppd_lightning.commands.reference import open_batches, open_stored
from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.devices import DTYPES
from ppd_lightning.training.build import build_module
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.lightning_trainer import build_trainer
from ppd_lightning.training.loggers import make_loggers
from ppd_lightning.training.module import PPDModule


def opened(config: Config) -> tuple[PreferenceDataModule, PPDModule, dict[str, float]]:
    """Data, with stored errors where the configuration asks for them, a module, and what making them took."""
    workspace = Workspace(config)
    data, backbone, made = open_batches(workspace), workspace.backbone, {}
    data.setup("fit")
    network = backbone.load_network(DTYPES[config.trainer.precision])
    if config.trainer.reference == "stored":
        stored, begun = open_stored(workspace, data), time.perf_counter()
        pairs = stored.make(lambda: network)
        if pairs:
            made = {"pairs": pairs, "pairs_per_second": round(pairs / (time.perf_counter() - begun), 1)}
        data.use_reference(stored.read())
    groups = (config.objective, config.optimizer, config.trainer)
    return data, build_module(backbone, network, data, *groups, seed=config.seed), made


def pairs_per_second(config: Config) -> tuple[float, float]:
    """Of the steps of `ppd train`, logging, checkpoints and data loading included, start-up not.

    By the clock, and by the time that the processor worked for them, which other work on the machine hardly changes.
    """
    folder = Path(mkdtemp())
    data, module, _ = opened(config)
    loggers = make_loggers(config.logger, folder, folder)
    trainer = build_trainer(config.trainer, folder, loggers=loggers, grad_clip=config.optimizer.grad_clip)
    clock: dict[str, Any] = {}
    module.on_train_start = lambda: clock.update(begun=now())  # type: ignore[method-assign]
    module.on_train_end = lambda: clock.update(ended=now())  # type: ignore[method-assign]
    trainer.fit(module, data)
    shutil.rmtree(folder)
    pairs = config.trainer.max_steps * config.trainer.batch_size
    by_clock, by_processor = (pairs / (end - begin) for begin, end in zip(clock["begun"], clock["ended"], strict=True))
    return by_clock, by_processor


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def noise(config: Config, batches: int) -> dict[str, Any]:
    """What stored errors add to the logits of a new branch.

    In whole batches, in those without the dropped users, and with a few pairs at once, as in other micro-batches.
    """
    data, module, _ = opened(config)
    found = {}
    whole, dropped = config.trainer.batch_size, config.objective.drop_user
    for name, rate, at_once in (
        ("same composition", 0.0, whole),
        ("users dropped", dropped, whole),
        ("five at once", 0.0, 5),
        ("one at once", 0.0, 1),
    ):
        logits = []
        draws = replace(module.draws, objective=replace(config.objective, drop_user=rate))
        for step in range(batches):
            batch = data.batch(step)
            stays = draws.stays(batch["epoch"], batch["pair"])
            kept = {key: value[stays] for key, value in batch.items()}
            for begin in range(0, len(kept["pair"]), at_once):
                part = {key: value[begin : begin + at_once] for key, value in kept.items()}
                logits.append(module.stored_logits(part))
        logit = torch.cat(logits).double()
        loss = torch.nn.functional.softplus(-logit).mean() - torch.tensor(2.0).double().log()
        found[name] = {
            "rms": float(f"{logit.square().mean().sqrt():.2g}"),
            "largest": float(f"{logit.abs().max():.2g}"),
            "loss_minus_ln2": float(f"{loss:.2g}"),
        }
    return {"coefficient": module.coefficient, "pairs": len(logit), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    args = parser.parse_args()
    stored = compose(
        [
            "experiment=emoji/demo",
            f"trainer.max_steps={args.steps}",
            "optimizer.warmup_steps=1",  # also for a few steps
            f"trainer.threads={args.threads}",
            "trainer.reference=stored",
            f"output={args.output}",
        ]
    )
    computed = replace(stored, trainer=replace(stored.trainer, reference="computed"))
    torch.set_num_threads(args.threads)
    prepare.run(stored)
    embed.run(stored)
    _, _, made = opened(stored)
    for config in (computed, stored):
        pairs_per_second(replace(config, trainer=replace(config.trainer, max_steps=4)))
    figures = [{"computed": pairs_per_second(computed), "stored": pairs_per_second(stored)} for _ in range(args.rounds)]
    few = replace(stored, trainer=replace(stored.trainer, max_steps=args.batches))
    report = {
        "making": made,
        **{
            f"pairs_per_second_{by}": {
                **{key: round(statistics.median(one[key][clock] for one in figures), 1) for key in figures[0]},
                "stored_over_computed": [round(one["stored"][clock] / one["computed"][clock], 3) for one in figures],
            }
            for clock, by in enumerate(("by_clock", "by_processor"))
        },
        "noise": {
            precision: noise(replace(few, trainer=replace(few.trainer, precision=precision)), args.batches)
            for precision in ("fp32", "bf16")
        },
        "batch_size": stored.trainer.batch_size,
        "steps": args.steps,
        "threads": args.threads,
    }
    (args.output / "bench").mkdir(parents=True, exist_ok=True)
    (args.output / "bench/reference.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
