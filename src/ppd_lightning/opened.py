"""A finished training in Python: describe people by their choices, draw for them. `ppd_lightning.open` gives one.

E = width of an embedding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ppd_lightning.backbones.adapter import adapter_metadata, adapter_width
from ppd_lightning.config.finished import EXPORTED, config_of, is_export
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError
from ppd_lightning.generation.grid import as_picture
from ppd_lightning.generation.sampling import draw_images
from ppd_lightning.generation.settings import Generation
from ppd_lightning.generation.trained_run import TrainedRun, drawing_parts
from ppd_lightning.users.describer import Describer, open_of_run
from ppd_lightning.users.new_choices import Picture, choices_of_pictures, read_pictures
from ppd_lightning.users.next_pair import Pool, open_pool
from ppd_lightning.users.people_file import DescribedPeople, read_people
from ppd_lightning.users.vectors_file import NAME as VECTORS
from ppd_lightning.users.vectors_file import read_vectors


@dataclasses.dataclass(frozen=True, eq=False)
class Person:
    """A person, or a weighted sum of people: `0.3 * ann + 0.7 * bob`.

    vector: (E,) float64. weight: the sum of the weights; 1 of somebody who can be drawn for. model: whose vectors these
    are.
    """

    vector: np.ndarray
    model: str
    weight: float = 1.0

    def __mul__(self, weight: float) -> Person:
        return Person(self.vector * weight, self.model, self.weight * weight)

    __rmul__ = __mul__

    def __add__(self, other: Person) -> Person:
        if self.model != other.model:
            raise UserError("people of two models cannot be blended; describe both by one")
        return Person(self.vector + other.vector, self.model, self.weight + other.weight)


class Model:
    """A finished training.

    Args:
        folder: of a run or an export.
        base: folder or hub name of the base model, where it is not where the training had it.
        codec: as base, of the codec.
        files: as base, of rewards and the VLM that describe people, by key.

    Raises:
        UserError: it is neither, the training is not finished, or files of the base are missing.
    """

    def __init__(
        self,
        folder: str | Path,
        base: str | None = None,
        codec: str | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = Path(folder).expanduser()
        self._workspace = Workspace(config_of(self.folder, base, codec, files))
        self._trained = self._open()
        self._identity = str(adapter_metadata(self._trained.adapter).get("users"))

    def describe(
        self, choices: Sequence[tuple[str, Picture, Picture]] | str, name: str = "this person", *, quiet: bool = False
    ) -> Person:
        """A person by their choices, each (caption, preferred picture, other picture): PIL images, or files.

        Or by a text about their taste, where the model's users are described so (user=stated).

        Args:
            name: for messages.
            quiet: log nothing of a vector that is less certain than those of the training.

        Raises:
            UserError: no choice tells anything, a picture cannot be seen, or this kind of users serves nobody new.
        """
        return self.person(self._describe(choices, name, quiet).vectors[name])

    def write_people(
        self,
        file: str | Path,
        people: Mapping[str, Sequence[tuple[str, Picture, Picture]] | str],
        *,
        quiet: bool = False,
    ) -> None:
        """Describe people, each as by `describe`, into a file as that of `ppd describe`, which `people` reads.

        Raises:
            UserError: as `describe`, or a name is given twice or cannot be held by such a file.
        """
        described = [self._describe(choices, name, quiet) for name, choices in people.items()]
        vectors = {name: vector for one in described for name, vector in one.vectors.items()}
        facts = {name: fact for one in described for name, fact in one.facts.items()}
        DescribedPeople(vectors, self._describer.fingerprint(), self.folder.name, facts).save(Path(file).expanduser())

    def pool(self, pairs: Sequence[tuple[str, Picture, Picture]]) -> Pool:
        """Pairs to show to people, each (caption, picture, picture): encoded once for many calls of `next_pair`.

        Raises:
            UserError: a picture cannot be seen, there is none, or this kind of users cannot say which pair to show.
        """
        read = read_pictures("this person", pairs, "pair")
        return open_pool(self._describer, self._workspace.config.user, self._workspace.instruments, read)

    def next_pair(
        self, choices: Sequence[tuple[str, Picture, Picture]], pool: Pool | Sequence[tuple[str, Picture, Picture]]
    ) -> int:
        """Which pair of the pool to show a person next; after the answer, `describe` their choices and this one.

        It is the pair after which the person's vector is expected to point most as it would by many choices
        (`users/next_pair.py`), and never one that they have answered.

        Args:
            choices: of the person so far, as for `describe`; also none.
            pool: what the method of that name gave, or such pairs.

        Raises:
            UserError: no pair is left, or as `pool` and `describe`.
        """
        known = pool if isinstance(pool, Pool) else self.pool(pool)
        return known.next_pair(read_pictures("this person", choices))

    def people(self, file: str | Path) -> dict[str, Person]:
        """The people that `ppd describe` wrote to a file.

        Raises:
            UserError: it is missing, damaged, or of another training.
        """
        found = read_people([Path(file).expanduser()], self._describer.fingerprint())
        return {name: self.person(vector) for name, vector in found.items()}

    def user(self, name: str) -> Person:
        """Somebody of the training's own data, or whom an export holds.

        Raises:
            UserError: nobody has that name, or the data of the run are gone.
        """
        if not is_export(self.folder):
            return self.person(self._trained.embeddings([name], [""])[0].numpy())
        known = read_vectors(self.folder / VECTORS, adapter_width(self._trained.adapter))
        if name not in known:
            raise UserError(f"{self.folder}: nobody is called {name}; there are {', '.join(sorted(known))}")
        return self.person(known[name])

    def users(self) -> dict[str, Person]:
        """Everybody of the training's own data who has one vector for all captions, or whom an export holds, by name.

        Raises:
            UserError: the data of the run are gone.
        """
        if is_export(self.folder):
            width = adapter_width(self._trained.adapter)
            return {name: self.person(vector) for name, vector in read_vectors(self.folder / VECTORS, width).items()}
        if self._trained.users.per_caption:
            return {}
        groups, _ = self._trained.users.served()
        names = [name for group in ("seen", "unseen") for name in groups[group]]
        vectors = self._trained.embeddings(names, [""] * len(names)) if names else ()
        return {name: self.person(vector.numpy()) for name, vector in zip(names, vectors, strict=True)}

    @property
    def by_words(self) -> bool:
        """Whether people are described by a text each, and not by choices.

        Raises:
            UserError: this kind of users serves nobody new.
        """
        return self._describer is not None and self._workspace.config.user.by_words

    @property
    def shots(self) -> int:
        """The choices by which each of the training's people was described.

        Raises:
            UserError: this kind of users serves nobody new.
        """
        return int(self._describer.facts["shots"])

    @property
    def generation(self) -> Generation:
        """How it draws, where `draw` is not told otherwise."""
        return self._trained.settings

    def draw(
        self,
        captions: Sequence[str],
        users: Sequence[Person | None] = (None,),
        seeds: Sequence[int] = (0,),
        **generation: Any,
    ) -> list[Image.Image]:
        """An image for each caption, user (None is the base) and seed; the seed varies fastest, the caption slowest.

        Args:
            generation: settings of that group instead of the run's, such as steps or user_guidance.

        Raises:
            UserError: somebody is of another model, or the weights of a blend do not add up to 1.
        """
        for person in users:
            if person is not None and person.model != self._identity:
                raise UserError("a person of another model cannot be drawn for; describe them by this one")
            if person is not None and abs(person.weight - 1) > 1e-6:
                raise UserError(f"the weights of a blend of users must add up to 1, not {person.weight:g}")
        cells = [(caption, person, seed) for caption in captions for person in users for seed in seeds]
        images: dict[int, Image.Image] = {}
        settings = dataclasses.replace(self._trained.settings, **generation)
        for own in (False, True):
            rows = [row for row, (_, person, _) in enumerate(cells) if (person is not None) == own]
            if not rows:
                continue
            vectors = [person.vector for row in rows if (person := cells[row][1]) is not None]
            embeddings = torch.from_numpy(np.stack(vectors)).float() if own else None
            drawn = draw_images(
                self._trained.pipeline,
                settings,
                [cells[row][0] for row in rows],
                embeddings,
                [cells[row][2] for row in rows],
            )
            images |= {row: as_picture(image) for row, image in zip(rows, drawn, strict=True)}
        return [images[row] for row in range(len(cells))]

    def person(self, vector: np.ndarray) -> Person:
        """Somebody by a vector (E,) of this training."""
        return Person(vector.astype(np.float64), self._identity)

    @cached_property
    def _describer(self) -> Describer:
        return open_of_run(self.folder, self._workspace.config.user)

    def _describe(
        self, choices: Sequence[tuple[str, Picture, Picture]] | str, name: str, quiet: bool
    ) -> DescribedPeople:
        kind, using = self._workspace.config.user, self._workspace.instruments
        if isinstance(choices, str):
            return self._describer.describe(kind, using, {name: choices}, self.folder.name, quiet=quiet)
        own = {name: choices_of_pictures(name, choices)}
        return self._describer.describe(kind, using, own, self.folder.name, quiet=quiet)

    def _open(self) -> TrainedRun:
        workspace = self._workspace
        if not is_export(self.folder):
            return workspace.trained_run(self.folder)
        settings, backbone = workspace.config.generation, workspace.backbone
        faults = [
            *backbone.faults(*drawing_parts(backbone, settings)),
            *backbone.size_faults(workspace.source.image_size, settings.decoder),
        ]
        if faults:
            raise UserError(faults)
        return TrainedRun(
            self.folder,
            self.folder / EXPORTED,
            backbone,
            workspace.data,
            workspace.users,
            settings,
            workspace.output,
            workspace.device,
            threads=workspace.config.trainer.threads,
        )
