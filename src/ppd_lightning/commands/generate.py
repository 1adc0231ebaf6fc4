"""`ppd generate`: a sheet of captions x people, the base beside them, with the same noise in each row."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ppd_lightning.config.schemas import Config
from ppd_lightning.data.layout import captions_of, people_of
from ppd_lightning.data.splits import choose_count
from ppd_lightning.generation.grid import as_picture, draw_grid
from ppd_lightning.generation.trained import TrainedRun, open_run
from ppd_lightning.run.atomic import atomic_path, write_json_atomic
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.fingerprints import fingerprint
from ppd_lightning.run.folders import run_folder

log = logging.getLogger(__name__)

BASE = "base"


def run(config: Config) -> dict[str, Any]:
    """Draw `generation.captions` for `generation.users` with each seed; null chooses held-out captions, unseen people.

    Writes into the run's folder generation-{key}/: grid-{seed}.png, images/*.png and manifest.parquet, which says what
    each image is. What is there already is not drawn again.
    """
    trained = open_run(config)
    captions, users = chosen_captions(config), chosen_users(config)
    key = {"generation": config.generation, "captions": captions, "users": users}
    folder = run_folder(config) / f"generation-{fingerprint(key)}"
    if (folder / "summary.json").exists():
        log.info("%s is finished; delete it to draw again", folder)
        return {"folder": str(folder), "images": len(captions) * (len(users) + 1) * len(config.generation.seeds)}
    embeddings = trained.users(users)
    manifest = []
    for seed in config.generation.seeds:
        images = draw_sheet(trained, captions, embeddings, seed)
        for row, caption in enumerate(captions):
            for column, user in enumerate([BASE, *users]):
                name = f"images/{seed:05d}-{row:03d}-{column:03d}.png"
                _save(as_picture(images[row, column]), folder / name)
                manifest.append({"file": name, "caption": caption, "user": user, "seed": seed})
        _save(draw_grid(images, captions, [BASE, *users]), folder / f"grid-{seed}.png")
    with atomic_path(folder / "manifest.parquet") as path:
        pq.write_table(pa.Table.from_pylist(manifest), path)
    summary = {"folder": str(folder), "images": len(manifest)}
    write_json_atomic(folder / "summary.json", summary)
    return summary


def draw_sheet(trained: TrainedRun, captions: list[str], embeddings: Tensor, seed: int) -> Tensor:
    """Captions (R) for users (K, E) with one seed: images (R, 1 + K, 3, H, W), the base first."""
    base = trained.draw(captions, None, [seed] * len(captions))
    each = [(caption, user) for caption in captions for user in embeddings]
    drawn = trained.draw([caption for caption, _ in each], torch.stack([user for _, user in each]), [seed] * len(each))
    return torch.cat([base[:, None], drawn.unflatten(0, (len(captions), -1))], dim=1)


def chosen_captions(config: Config) -> list[str]:
    """`generation.captions`, or some held-out ones by hash."""
    if config.generation.captions is not None:
        return list(config.generation.captions)
    return sorted(choose_count("grid", captions_of(config, held_out=True), config.generation.columns))


def chosen_users(config: Config) -> list[str]:
    """`generation.users`, or some by hash: people who were not trained on, where there are any.

    Raises:
        UserError: somebody is asked for who is not in the pairs.
    """
    groups = people_of(config)
    if config.generation.users is None:
        return sorted(choose_count("grid", groups["unseen"] or groups["seen"], config.generation.columns))
    absent = sorted(set(config.generation.users) - {*groups["seen"], *groups["unseen"]})
    if absent:
        raise UserError(f"generation.users: nobody in the pairs is called {', '.join(absent)}")
    return list(config.generation.users)


def _save(picture: Any, path: Path) -> None:
    with atomic_path(path) as unfinished:
        picture.save(unfinished)
