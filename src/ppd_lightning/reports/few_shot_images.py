"""The images of the choices that described a user: read from the prepared data, without a model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.data.pictures import open_picture
from ppd_lightning.data.stores import Store
from ppd_lightning.errors import UserError
from ppd_lightning.reports.run_results import RunResult

log = logging.getLogger(__name__)

MOST_CHOICES = 4
"""Of a user, so many are read."""


class FewShotImages:
    """The preferred images of users' few-shot sets: of the first set of each, which generation and evaluation use.

    Nobody has any where users are not described by choices, where sets depend on the caption, or where the data were
    removed, changed, or lie on another machine.
    """

    def __init__(self, run: RunResult) -> None:
        self._run = run
        self._found: dict[str, list[Image.Image]] = {}

    def of(self, users: Sequence[str]) -> dict[str, list[Image.Image]]:
        """Up to `MOST_CHOICES` images of each of these users who has some."""
        missing = [user for user in dict.fromkeys(users) if user not in self._found and user in self._sets]
        if missing:
            self._found |= self._read(missing)
        return {user: self._found[user] for user in users if self._found.get(user)}

    @cached_property
    def _sets(self) -> dict[str, list[int]]:
        """The stable ids of each user's choices."""
        users = self._run.users
        if users is None or users.shots.per_caption or "://" in users.data.source.root:
            return {}
        if not users.folder.exists():
            return {}
        try:
            store = Store.open(users.folder, None)
            store.verify()
        except UserError as error:
            _left_out(error)
            return {}
        if "shots" not in store.arrays:
            return {}
        first = [row for row, name in enumerate(store.ids.to_pylist()) if name.endswith("/0")]
        names = [store.ids[row].as_py().removesuffix("/0") for row in first]
        return dict(zip(names, store.arrays["shots"][first][:, :MOST_CHOICES].tolist(), strict=True))

    def _read(self, users: Sequence[str]) -> dict[str, list[Image.Image]]:
        assert self._run.users is not None
        data = self._run.users.data
        shots = np.array([shot for user in users for shot in self._sets[user]])
        try:
            pairs = data.read_pairs().select(["pair_id", "preferred"])
            pairs = pairs.filter(pa.array(np.isin(stable_ids(pairs["pair_id"]), shots)))
            preferred = dict(zip(stable_ids(pairs["pair_id"]).tolist(), pairs["preferred"].to_pylist(), strict=True))
            images = data.images_table()
            images = images.filter(pc.is_in(images["image_id"], pa.array(list(preferred.values()), pa.string())))
            opened = {name: open_picture(content) for name, content in data.stored_images(images)}
        except UserError as error:
            if data.pairs_path.exists():
                _left_out(error)
            return {user: [] for user in users}
        found = {user: [opened.get(preferred.get(shot, "")) for shot in self._sets[user]] for user in users}
        return {user: [picture for picture in pictures if picture is not None] for user, pictures in found.items()}


def _left_out(error: UserError) -> None:
    log.warning("the page is without few-shot choices: %s", "; ".join(error.faults))
