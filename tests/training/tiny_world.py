"""A prepared and embedded data folder of handmade choices, and the settings of a training on it."""

from __future__ import annotations

from pathlib import Path

from tests import tiny
from tests.data.handmade import SIZE, rows, write

from ppd_lightning.commands import embed, prepare
from ppd_lightning.config.compose import compose

STEPS, CHECKPOINT_EVERY, LOG_EVERY = 20, 6, 3


def make(folder: Path) -> Path:
    """The world with its data in `folder`/out."""
    tiny.model_folder(folder / "model")
    write(folder / "source", rows())
    config = compose(overrides(folder, folder / "out"))
    prepare.run(config)
    embed.run(config)
    return folder


def overrides(world: Path, output: Path, *further: str) -> list[str]:
    """PPD for a few steps, with everything on that could disturb a resumed run."""
    settings = {
        "data.root": world / "source",
        "data.image_size": SIZE,
        "data.held_out_captions": 0.2,
        "data.unseen_users": 0.2,
        "data.validation": 0.2,
        "model.path": world / "model",
        "user.encoder": "codec",
        "shots.n": 2,
        "shots.groupings": 4,
        "user.components": 5,
        "objective.weighting": "adaptive",
        "objective.drop_user": 0.3,
        "optimizer.lr": 0.003,
        "optimizer.schedule": "cosine",
        "optimizer.warmup_steps": 3,
        "optimizer.ema_decay": 0.8,
        "trainer.max_steps": STEPS,
        "trainer.batch_size": 6,
        "trainer.micro_batch_size": 3,
        "trainer.checkpoint_every": CHECKPOINT_EVERY,
        "trainer.log_every": LOG_EVERY,
        "output": output,
    }
    return ["data=pickapic", "trainer=cpu", *[f"{key}={value}" for key, value in settings.items()], *further]
