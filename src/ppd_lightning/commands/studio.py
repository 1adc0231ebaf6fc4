"""`ppd studio`: a local page on which people pick pictures and the model draws for them."""

from __future__ import annotations

import importlib.resources
import importlib.util
import logging
import tempfile
from collections.abc import Collection as Several
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ppd_lightning.config.finished import config_of, is_export
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.splits import choose_count
from ppd_lightning.data.table_cells import caption_of
from ppd_lightning.errors import UserError
from ppd_lightning.generation.prompts import read_prompts
from ppd_lightning.generation.selection import chosen_captions
from ppd_lightning.opened import Model
from ppd_lightning.rewards.sources import SHIPPED
from ppd_lightning.signals import note_saved
from ppd_lightning.storage.fingerprints import file_sha256
from ppd_lightning.studio.collection import Collection
from ppd_lightning.studio.model import Choice, StudioModel
from ppd_lightning.studio.pairs import NAME as PAIRS
from ppd_lightning.studio.pairs import Shown, draw_pairs, poles, read_pairs, take_pairs
from ppd_lightning.studio.studio import Studio
from ppd_lightning.users.new_choices import read_pictures
from ppd_lightning.users.next_pair import Pool

log = logging.getLogger(__name__)

CAPTIONS = "captions.txt"
REWARDS = "rewards"
"""Files beside an export: what is drawn, and the export whose users are rewards."""
MOST_KNOWN = 400
"""People of a training who are compared with a visitor."""


def run(config: Config) -> dict[str, Any]:
    """Serve the studio until the process is stopped.

    Raises:
        UserError: Gradio is missing, the training is not finished or describes nobody by choices, a table is faulty, or
            the port is in use.
        Stopped: when it is.
    """
    if importlib.util.find_spec("gradio") is None:
        raise UserError('studio: the page is made by a package that is missing; pip install "ppd-lightning[studio]"')
    from ppd_lightning.studio.server import Server

    settings = config.studio
    with Server(settings.host, settings.port) as server:
        studio = open_studio(config)
        note_saved("every choice that was collected is kept" if studio.collection else "nothing was to be kept")
        server.serve(studio)
    return {}


def open_studio(config: Config) -> Studio:
    """The studio of a configuration, with its model in memory.

    Raises:
        UserError: as `run`.
    """
    settings = config.studio
    folder = Workspace(config).run if settings.of is None else place(settings.of)
    collection = None if settings.collect is None else Collection(Path(settings.collect))
    opened = open_model(folder, config)
    if opened.by_words:
        raise UserError("studio.of: describes people by a text each; the studio needs a training on choices")
    model = Trained(opened)
    captions = captions_of(config, folder)
    table = settings.pairs or folder / PAIRS
    if settings.pairs is None and not (folder / PAIRS).is_file():
        known = file_sha256(folder / "adapter.safetensors")[:12]
        table = Path(config.output) / "studio" / f"{folder.name}-{known}-{settings.pool}" / PAIRS
        if not table.is_file():
            make_pairs(model, folder, captions, settings.pool, table)
    pairs = read_pairs(str(table), "studio.pairs")
    model.offer(pairs)
    rewards = place(settings.rewards) if settings.rewards else folder / REWARDS
    blended: StudioModel = model
    names = poles(model.known, 3)
    if settings.rewards or rewards.is_dir():
        blended = Trained(open_model(rewards, config))
        names = poles(blended.known, 3)
    corners = (blended, names) if len(names) == 3 else None
    return Studio(model, pairs, captions, settings, corners, collection)


class Trained:
    """A finished training as the studio takes it; see `studio.model.StudioModel`."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._pairs: list[Choice] = []
        self._pool: Pool | None = None

    @cached_property
    def known(self) -> Mapping[str, np.ndarray]:
        """At most `MOST_KNOWN`, by hash; nobody where the data of a run are gone."""
        try:
            users = self._model.users()
        except UserError as error:
            log.warning("nobody of the training's own people can be shown: %s", error)
            return {}
        kept = choose_count("studio", users, min(MOST_KNOWN, len(users)))
        return {name: users[name].vector for name in users if name in kept}

    @property
    def shots(self) -> int:
        """See `StudioModel`."""
        return self._model.shots

    @property
    def guidance(self) -> float:
        """See `StudioModel`."""
        return self._model.generation.user_guidance

    def offer(self, pairs: Sequence[Shown]) -> None:
        """The pairs that `next_pair` chooses among."""
        self._pairs = [(pair.caption, *pair.pictures) for pair in pairs]
        try:
            self._pool = self._model.pool(self._pairs)
        except UserError as error:
            log.warning("pairs come in their order: %s", error)

    def next_pair(self, choices: Sequence[Choice], skipped: Several[int]) -> int | None:
        """See `StudioModel`."""
        left = [number for number in range(len(self._pairs)) if number not in skipped]
        if not left:
            return None
        if self._pool is None:
            return left[0]
        try:
            return self._pool.next_pair(read_pictures("this person", choices), skipped)
        except UserError:  # those that are left tell nothing
            return left[0]

    def vector(self, choices: Sequence[Choice]) -> np.ndarray:
        """See `StudioModel`."""
        return self._model.describe(choices, "this visitor", quiet=True).vector

    def people_file(self, choices: Sequence[Choice], name: str) -> bytes:
        """See `StudioModel`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "person.safetensors"
            self._model.write_people(path, {name: choices}, quiet=True)
            return path.read_bytes()

    def draw(self, captions: Sequence[str], vector: np.ndarray | None, seed: int, guidance: float) -> list[Image.Image]:
        """See `StudioModel`."""
        user = None if vector is None else self._model.person(vector)
        return self._model.draw(captions, [user], [seed], user_guidance=guidance)


def place(location: str) -> Path:
    """A folder; one that begins with shipped: is of the package."""
    if location.startswith(SHIPPED):
        return Path(str(importlib.resources.files("ppd_lightning"))) / location.removeprefix(SHIPPED)
    return Path(location)


def open_model(folder: Path, config: Config) -> Model:
    """What lies in the folder, with the base where the command line says it is, and its network in memory.

    Raises:
        UserError: as `Model`.
    """
    path, codec = getattr(config.model, "path", None), getattr(config.model, "codec_path", None)
    return Model(folder, path, codec)


def captions_of(config: Config, folder: Path) -> list[str]:
    """What is drawn for visitors.

    Raises:
        UserError: nothing is named, and the folder knows nothing.
    """
    asked = config.studio.captions
    if isinstance(asked, list):
        return list(dict.fromkeys(map(caption_of, asked)))
    if isinstance(asked, str) or (folder / CAPTIONS).is_file():
        return read_prompts(asked or folder / CAPTIONS, "studio.captions")
    if is_export(folder):
        raise UserError(f"studio.captions: {folder} holds no {CAPTIONS}; name some, such as '[a cat, a boat]'")
    trained = config_of(folder)
    return chosen_captions(trained.generation, Workspace(trained).data)


def make_pairs(model: Trained, folder: Path, captions: Sequence[str], count: int, table: Path) -> None:
    """Write pairs to choose between: those of a run's own data, else pictures that the model draws."""
    log.info("%d pairs to choose between are made once, in %s", count, table)
    if not is_export(folder):
        try:
            take_pairs(Workspace(config_of(folder)).data, count, table)
            return
        except UserError as error:
            log.warning("pairs are drawn, for those of the data cannot be read: %s", error)
    draw_pairs(model, captions, count, table)
