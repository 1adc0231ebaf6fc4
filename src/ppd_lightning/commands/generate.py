"""`ppd generate`: a sheet of captions x people, the base beside them, with the same noise in each row."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ppd_lightning.backbones.known_captions import remark_on_captions
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.generation.drawn_files import read_picture
from ppd_lightning.generation.grid import BASE, cell_for, draw_grid
from ppd_lightning.generation.selection import chosen_captions, chosen_users
from ppd_lightning.generation.sheets import Sheet, draw_sheets
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.storage.checksums import known_sha256
from ppd_lightning.storage.fingerprints import DIGITS, fingerprint
from ppd_lightning.storage.result_folder import finish_folder, finished_summary
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
"""A row an image. file is relative to the manifest's folder; user is null for the base; blend is JSON, each person's
weight; adapter is a hash of its file."""


def run(config: Config) -> dict[str, Any]:
    """Draw `generation.captions` for `generation.users` with each seed.

    Where captions are null some held-out ones are chosen; where users are null, all in the files of
    `generation.people`, or some unseen ones.

    The images, PNG files, lie in the galleries of the run and of the base, which all verbs share; only images that are
    not there are drawn. Writes into the run's folder generation-{key}/: grid-{seed}.png, and manifest.parquet, which
    says what each image is.
    """
    workspace, settings = Workspace(config), config.generation
    captions = chosen_captions(settings, workspace.data)
    users = chosen_users(settings, workspace.users, workspace.described)
    trained = workspace.trained_run()
    if settings.captions is not None:
        remark_on_captions(trained.backbone, captions, "generation.captions")
    sheets = draw_sheets(trained, captions, users, settings.seeds)
    files = [file for sheet in sheets for row in sheet.files for file in row]
    key = {
        "files": [f"{file.parent.name}/{file.name}" for file in files],
        "users": users,
        "weights": settings.weights,
    }
    folder = trained.folder / f"generation-{fingerprint(key)}"
    summary = {"folder": str(folder), "images": len(files)}
    if finished_summary(folder) is not None:
        log.info("%s is finished; delete it to make its sheets again", folder)
        return summary
    width, height = read_picture(files[0]).size
    names = [BASE, *map(name_of, users)]
    cell = cell_for(max(width, height), len(captions), len(names))
    for sheet in sheets:
        with atomic_path(folder / f"grid-{sheet.seed}.png") as path:
            draw_grid(sheet.pictures(), captions, names, cell=cell).save(path)
    common = {
        "steps": settings.steps,
        "text_guidance": settings.text_guidance,
        "user_guidance": settings.user_guidance,
        "interval": settings.user_guidance_interval,
        "decoder": settings.decoder,
        "weights": settings.weights,
        "width": width,
        "height": height,
        "run": trained.folder.name,
        "adapter": known_sha256(trained.adapter)[:DIGITS],
    }
    manifest = [row | common for sheet in sheets for row in _rows(sheet, captions, users, folder)]
    with atomic_path(folder / "manifest.parquet") as path:
        pq.write_table(pa.Table.from_pylist(manifest, schema=MANIFEST_SCHEMA), path)
    finish_folder(folder, summary, ["manifest.parquet", *(f"grid-{sheet.seed}.png" for sheet in sheets)])
    log.info("sheets of %d images are in %s", len(files), folder)
    return summary


def _rows(sheet: Sheet, captions: Sequence[str], users: Sequence[Asked], folder: Path) -> list[dict[str, Any]]:
    """What the manifest says of each image alone."""
    return [
        {
            "file": Path(os.path.relpath(file, folder)).as_posix(),
            "caption": caption,
            "user": None if user is None else name_of(user),
            "blend": None if user is None else json.dumps(weights_of(user), ensure_ascii=False),
            "seed": sheet.seed,
        }
        for caption, row in zip(captions, sheet.files, strict=True)
        for user, file in zip([None, *users], row, strict=True)
    ]
