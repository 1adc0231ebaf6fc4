"""`ppd generate`: a sheet of captions x people, the base beside them, with the same noise in each row."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.schemas import Config
from ppd_lightning.generation.grid import BASE, cell_for, draw_grid
from ppd_lightning.generation.image_files import Wanted, draw_missing, read_pictures, wanted_images
from ppd_lightning.generation.selection import chosen_captions, chosen_users
from ppd_lightning.generation.trained_run import TrainedRun, drawing_parts, open_run
from ppd_lightning.storage.atomic import atomic_path, write_json_atomic
from ppd_lightning.storage.fingerprints import DIGITS, file_sha256, fingerprint
from ppd_lightning.users.blends import Asked, name_of, weights_of

log = logging.getLogger(__name__)

MANIFEST_SCHEMA = pa.schema(
    {
        "file": pa.string(),
        "caption": pa.string(),
        "user": pa.string(),
        "blend": pa.string(),
        "seed": pa.int64(),
        "steps": pa.int64(),
        "text_guidance": pa.float64(),
        "user_guidance": pa.float64(),
        "interval": pa.list_(pa.float64()),
        "decoder": pa.string(),
        "weights": pa.string(),
        "width": pa.int64(),
        "height": pa.int64(),
        "run": pa.string(),
        "adapter": pa.string(),
    }
)
"""A row an image. user is null for the base; blend is JSON, each person's weight; adapter is a hash of its file."""


def run(config: Config) -> dict[str, Any]:
    """Draw `generation.captions` for `generation.users` with each seed; null chooses held-out captions, unseen people.

    Writes into the run's folder generation-{key}/: images/*.png, then grid-{seed}.png of them and manifest.parquet,
    which says what each image is. Only images that are not there are drawn, whenever an earlier run was cut off.
    """
    captions, users = chosen_captions(config), chosen_users(config)
    trained = open_run(config)
    embeddings = trained.sheet(users, captions)
    adapter = file_sha256(trained.adapter)[:DIGITS]
    settings = asdict(config.generation)
    for chosen in ("captions", "users", "columns"):
        del settings[chosen]
    key = {
        "settings": settings,
        "captions": captions,
        "users": users,
        "embeddings": embeddings.tolist(),
        "adapter": adapter,
        "model": [trained.model.fingerprint(part) for part in drawing_parts(config)],
    }
    folder = run_folder(config) / f"generation-{fingerprint(key)}"
    wanted = wanted_images(captions, len(users), config.generation.seeds)
    missing = sum(not (folder / one.file).exists() for one in wanted)
    summary = {"folder": str(folder), "images": len(wanted)}
    if not missing and (folder / "summary.json").exists():
        log.info("%s is finished; delete it to draw again", folder)
        return summary
    drawn = draw_missing(wanted, trained.draw, embeddings, folder, config.generation.batch_size)
    _tell(drawn, len(wanted) - missing, len(wanted), bar=config.trainer.progress and sys.stderr.isatty())
    names = [BASE, *map(name_of, users)]
    with Image.open(folder / wanted[0].file) as first:
        size = first.size
    cell = cell_for(max(size), len(captions), len(names))
    for seed in dict.fromkeys(config.generation.seeds):
        with atomic_path(folder / f"grid-{seed}.png") as path:
            draw_grid(read_pictures(folder, wanted, seed), captions, names, cell=cell).save(path)
    manifest = [_row(trained, one, users, size) | {"adapter": adapter} for one in wanted]
    with atomic_path(folder / "manifest.parquet") as path:
        pq.write_table(pa.Table.from_pylist(manifest, schema=MANIFEST_SCHEMA), path)
    write_json_atomic(folder / "summary.json", summary)
    log.info("%d images and their sheets are in %s", len(wanted), folder)
    return summary


def _row(trained: TrainedRun, one: Wanted, users: Sequence[Asked], size: tuple[int, int]) -> dict[str, Any]:
    """A row of the manifest; `size` is width and height."""
    settings, user = trained.config.generation, users[one.column - 1] if one.column else None
    return {
        "file": one.file,
        "caption": one.caption,
        "user": None if user is None else name_of(user),
        "blend": None if user is None else json.dumps(weights_of(user), ensure_ascii=False),
        "seed": one.seed,
        "steps": settings.steps,
        "text_guidance": settings.text_guidance,
        "user_guidance": settings.user_guidance,
        "interval": settings.user_guidance_interval,
        "decoder": settings.decoder,
        "weights": settings.weights,
        "width": size[0],
        "height": size[1],
        "run": run_folder(trained.config).name,
    }


def _tell(drawn: Iterable[int], before: int, total: int, *, bar: bool) -> None:
    """Say how the drawing goes on: a bar, or a line for each batch."""
    if before:
        log.info("%d of %d images are there already", before, total)
    columns = (TextColumn("drawing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not bar) as progress:
        task, done = progress.add_task("drawing", total=total, completed=before), before
        for count in drawn:
            done += count
            progress.update(task, completed=done)
            if not bar:
                log.info("drawn %d of %d images", done, total)
