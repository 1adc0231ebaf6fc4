"""`ppd describe`: people who are not in the data, by a few choices each, as a file of vectors."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppd_lightning.config.finished import config_of
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError
from ppd_lightning.users.describer import open_of_run
from ppd_lightning.users.kind import UserKind
from ppd_lightning.users.new_choices import NewChoice, choices_of_table

log = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Describe the people of `describe.choices` as the training's own were described; nothing of its data is opened.

    Returns:
        the summary: file, people (choices and distance of each), seconds.

    Raises:
        UserError: the training is not finished or serves nobody new, or rows of the table are faulty.
    """
    begun, settings = time.monotonic(), config.describe
    if settings.choices is None:
        raise UserError(
            "describe.choices: name the table of choices, a CSV, JSONL or parquet file with the columns caption, "
            "image_0, image_1, choice and user"
        )
    path = Path(settings.to or Path(config.output) / "people" / f"{Path(settings.choices).stem}.safetensors")
    if path.suffix != ".safetensors":
        raise UserError(f"describe.to: {path} must end in .safetensors")
    if settings.of is None:
        workspace = Workspace(config)
        folder = workspace.run
    else:
        folder = Path(settings.of)
        workspace = Workspace(config_of(folder, *_base(config), _files(config)))
    kind = workspace.config.user
    describer = open_of_run(folder, kind)
    people = people_of_table(settings.choices, kind, settings.roots)
    described = describer.describe(kind, workspace.instruments, people, folder.resolve().name)
    described.save(path)
    drawing = f'`ppd generate "generation.people=[{path}]"` and the settings of the training draws for them'
    log.info("%d people are in %s; %s", len(people), path, drawing)
    return {"file": str(path), "people": dict(described.facts), "seconds": round(time.monotonic() - begun, 1)}


def people_of_table(
    table: str, kind: UserKind, roots: Sequence[str] = ()
) -> Mapping[str, Sequence[NewChoice]] | Mapping[str, str]:
    """What the people of a table tell: choices, or words where these describe the users of a kind.

    Raises:
        UserError: it cannot be read, or rows are faulty.
    """
    if kind.by_words:
        from ppd_lightning.users.texts import read_texts

        return read_texts(Path(table), "describe.choices")
    return choices_of_table(table, "describe.choices", roots)


def _base(config: Config) -> tuple[str | None, str | None]:
    """Where the command line says that the base model lies."""
    return getattr(config.model, "path", None), getattr(config.model, "codec_path", None)


def _files(config: Config) -> dict[str, str]:
    """Where the command line says that rewards and the VLM lie, by key."""
    path = getattr(config.user, "path", None)
    weights = {
        f"rewards.{name}.weights.{role}": location
        for name, reward in config.rewards.items()
        for role, location in reward.weights.items()
    }
    return weights | ({} if path is None else {"user.path": path})
