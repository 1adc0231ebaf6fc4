"""What visitors of the studio can do, for any page: answer pairs, have captions drawn, blend, test, keep, take along.

One thread at a time uses the model. What visitors say is checked here, whatever the page lets them say.

E = width of a user embedding.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ppd_lightning.data.table_cells import caption_of
from ppd_lightning.errors import UserError
from ppd_lightning.settings.plain_text import plain_text
from ppd_lightning.studio.blind_test import ROUNDS, BlindTest
from ppd_lightning.studio.collection import Answer, Collection, zipped
from ppd_lightning.studio.model import Choice, StudioModel
from ppd_lightning.studio.pairs import Shown
from ppd_lightning.studio.settings import Studio as Settings
from ppd_lightning.studio.visits import Drawn, Visit, Visits

AT_ONCE = 4
"""Captions of a sheet."""
NEAREST = 3
REMEMBERED = 2_000
"""Pictures of the base that are not drawn again."""
STRONGEST = 2.0
"""Of the guidance scale, as a multiple of the training's."""
DIVISIONS = 4
"""Of the triangle's sides."""
ME = "You"


@dataclass(frozen=True)
class Row:
    """A caption with the base's picture and the visitor's, of one noise, and the latter's number."""

    caption: str
    base: Image.Image
    own: Image.Image
    number: int


class Studio:
    """A model, pairs to choose between, captions to draw, and who is visiting.

    Args:
        model: that draws.
        pairs: that `model.next_pair` counts.
        captions: drawn for everybody.
        settings: limits.
        corners: the people of the triangle, and the model that draws them.
        collection: where choices of those who agree are added.
    """

    def __init__(
        self,
        model: StudioModel,
        pairs: Sequence[Shown],
        captions: Sequence[str],
        settings: Settings,
        corners: tuple[StudioModel, Sequence[str]] | None = None,
        collection: Collection | None = None,
    ) -> None:
        self.model, self.pairs, self.captions, self.settings = model, list(pairs), list(captions), settings
        self.corners, self.collection = corners, collection
        self.visits = Visits(settings.visitors)
        self._drawing = threading.Lock()
        self._base: OrderedDict[tuple[str, int], Image.Image] = OrderedDict()

    def begin(self) -> Visit:
        """A new visit, with its first pair."""
        visit = self.visits.begin()
        visit.guidance = self.model.guidance
        visit.showing = self._next(visit)
        return visit

    def warm_up(self) -> None:
        """Draw once what is the same for everybody, so that nobody waits for it."""
        with self._drawing:
            vector = next(iter(self.model.known.values()), None)
            self._bases(self.captions[:AT_ONCE], 0)
            self.model.draw(self.captions[:AT_ONCE], vector, 0, self.model.guidance)
            self.model.vector([(pair.caption, *pair.pictures) for pair in self.pairs[: self.settings.picks]])

    def end(self, patience: float) -> None:
        """Let a drawing come to its end, and begin none after it; a process that ends within one is aborted."""
        self._drawing.acquire(timeout=patience)

    def shown(self, visit: Visit) -> tuple[Shown, bool] | None:
        """The pair that a visitor sees, and whether its pictures are swapped; None after the last one."""
        if visit.showing is None:
            return None
        digest = hashlib.blake2b(f"{visit.mark}/{visit.showing}".encode(), digest_size=1).digest()
        return self.pairs[visit.showing], bool(digest[0] & 1)

    def answer(self, visit: Visit, pair: int, place: int | None) -> None:
        """Note which picture of the shown pair was liked: the left one (0), the right one (1), or neither (None).

        A pair that is not shown any more, of a second click or a second tab, changes nothing.
        """
        with visit.lock:
            shown = self.shown(visit)
            if shown is None or pair != visit.showing or place not in (0, 1, None):
                return
            side = None if place is None else (1 - place if shown[1] else place)
            visit.answers.append((pair, side))
            self._collect(visit)
            visit.showing = self._next(visit)

    def again(self, visit: Visit) -> None:
        """Forget the answers; those that were collected stay so."""
        with visit.lock:
            visit.answers, visit.collected, visit.vector, visit.blind = [], 0, None, None
            visit.showing = self._next(visit)

    def left(self, visit: Visit) -> int:
        """How many picks are missing until pictures are drawn."""
        return max(0, self.settings.picks - len(visit.chosen))

    def agree(self, visit: Visit, agreed: bool, name: str) -> None:
        """Keep a visitor's choices from now on, and those that they made; or no more.

        Raises:
            UserError: the name is too long.
        """
        with visit.lock:
            said = self._text(name, "name")
            visit.name, visit.agreed = said, bool(agreed) and self.collection is not None
            self._collect(visit)

    def describe(self, visit: Visit) -> np.ndarray:
        """The visitor's vector (E,), of all of their answers.

        Raises:
            UserError: they have not made enough.
        """
        if self.left(visit):
            raise UserError(f"Pick {self.left(visit)} more first.")
        with visit.lock:
            choices = self._choices(visit)
        with self._drawing:
            visit.vector = self.model.vector(choices)
        return visit.vector

    def sheet(self, visit: Visit) -> list[Row]:
        """The visitor's last captions, or those of everybody, drawn by the base and for them.

        Raises:
            UserError: they have not picked enough, or drew too often.
        """
        captions = [*visit.own_captions, *self.captions][:AT_ONCE]
        return self._rows(visit, captions, self.describe(visit), "for you")

    def ask(self, visit: Visit, caption: str) -> None:
        """Draw this caption first from now on.

        Raises:
            UserError: it is empty, too long, or nothing that an encoder can read.
        """
        said = self._text(caption, "caption")
        if not said:
            raise UserError("Write a caption first.")
        with visit.lock:
            visit.own_captions = list(dict.fromkeys([said, *visit.own_captions]))[:AT_ONCE]

    def strength(self, visit: Visit, multiple: float) -> None:
        """Set the user guidance scale, as a multiple of the training's."""
        visit.guidance = _between(multiple, 0.0, STRONGEST) * self.model.guidance

    def other_noise(self, visit: Visit) -> None:
        """Draw with the next seed from now on."""
        visit.seed = (visit.seed + 1) % 10_000

    def blend(self, visit: Visit, one: str, other: str, share: float) -> list[Row]:
        """The captions for (1 - share) of one person and share of another; either may be `ME`.

        Raises:
            UserError: somebody is unknown, or as `sheet`.
        """
        share = _between(share, 0.0, 1.0)
        vector = (1 - share) * self._somebody(visit, one) + share * self._somebody(visit, other)
        return self._rows(visit, self.captions[:AT_ONCE], vector, f"{1 - share:.0%} {one}, {share:.0%} {other}")

    @property
    def triangle(self) -> list[str]:
        """The names at its corners; none where nobody is known."""
        return list(self.corners[1]) if self.corners else []

    def corner_blend(self, visit: Visit, parts: Sequence[int]) -> list[Row]:
        """The captions for a blend of the triangle's corners, in parts that add up to `DIVISIONS`.

        Raises:
            UserError: the parts are others, or they drew too often.
        """
        if self.corners is None or len(parts) != 3 or sum(parts) != DIVISIONS or min(parts) < 0:
            raise UserError("There is no such blend.")
        model, names = self.corners
        vector = sum(part / DIVISIONS * model.known[name] for part, name in zip(parts, names, strict=True))
        title = ", ".join(f"{part / DIVISIONS:.0%} {name}" for part, name in zip(parts, names, strict=True) if part)
        return self._rows(visit, self.captions[:AT_ONCE], np.asarray(vector), title, model)

    def nearest(self, visit: Visit) -> list[tuple[str, float, list[Row]]]:
        """The known people whose vectors point most as the visitor's: name, cosine, and what is drawn for them.

        Raises:
            UserError: as `sheet`.
        """
        own = self.describe(visit)
        cosines = {name: _cosine(own, vector) for name, vector in self.model.known.items()}
        names = sorted(cosines, key=lambda name: (-cosines[name], name))[:NEAREST]
        return [
            (name, cosines[name], self._rows(visit, self.captions[:AT_ONCE], self.model.known[name], f"for {name}"))
            for name in names
        ]

    def begin_blind(self, visit: Visit) -> BlindTest:
        """A blind test of pictures that the visitor has not seen yet.

        Raises:
            UserError: as `sheet`.
        """
        captions = [self.captions[-1 - number % len(self.captions)] for number in range(ROUNDS)]
        seeds = [visit.blind_seed + 1 + number // len(self.captions) for number in range(ROUNDS)]
        own = self.describe(visit)
        rounds = []
        visit.count_drawing(self.settings.draws, self.visits.clock())
        with self._drawing:
            for seed in dict.fromkeys(seeds):
                asked = [caption for caption, one in zip(captions, seeds, strict=True) if one == seed]
                drawn = self.model.draw(asked, own, seed, visit.guidance or self.model.guidance)
                rounds += list(zip(asked, drawn, self._bases(asked, seed), strict=True))
        visit.blind_seed = seeds[-1]
        visit.blind = BlindTest.begin(rounds)
        return visit.blind

    def people_file(self, visit: Visit) -> bytes:
        """The visitor's vector as a file that `generation.people` takes.

        Raises:
            UserError: they have not picked enough.
        """
        self.describe(visit)
        with self._drawing:
            return self.model.people_file(self._choices(visit), visit.user)

    def choices_file(self, visit: Visit) -> bytes:
        """The visitor's choices and their pictures as a ZIP archive, ready for `ppd prepare`.

        Raises:
            UserError: there are none.
        """
        if not visit.answers:
            raise UserError("Pick a picture first.")
        return zipped(visit.user, self._answers(visit, 0))

    def _next(self, visit: Visit) -> int | None:
        skipped = {pair for pair, _ in visit.answers}
        return self.model.next_pair(self._choices(visit), skipped)

    def _choices(self, visit: Visit) -> list[Choice]:
        found = []
        for number, side in visit.chosen:
            pair = self.pairs[number]
            found.append((pair.caption, pair.pictures[side], pair.pictures[1 - side]))
        return found

    def _answers(self, visit: Visit, begin: int) -> list[Answer]:
        return [(self.pairs[number], side) for number, side in visit.answers[begin:]]

    def _collect(self, visit: Visit) -> None:
        if visit.agreed and self.collection is not None:
            self.collection.add(visit.user, self._answers(visit, visit.collected))
            visit.collected = len(visit.answers)

    def _somebody(self, visit: Visit, name: str) -> np.ndarray:
        if name == ME:
            return self.describe(visit)
        if name not in self.model.known:
            raise UserError("There is nobody of that name.")
        return self.model.known[name]

    def _rows(
        self, visit: Visit, captions: Sequence[str], vector: np.ndarray, title: str, model: StudioModel | None = None
    ) -> list[Row]:
        visit.count_drawing(self.settings.draws, self.visits.clock())
        model, seed = model or self.model, visit.seed
        scale = visit.guidance / self.model.guidance if self.model.guidance else 1.0
        with self._drawing:
            bases = self._bases(captions, seed)
            drawn = model.draw(captions, vector, seed, scale * model.guidance)
        with visit.lock:
            return [
                Row(caption, base, own, visit.remember(Drawn(caption, title, own)))
                for caption, base, own in zip(captions, bases, drawn, strict=True)
            ]

    def _bases(self, captions: Sequence[str], seed: int) -> list[Image.Image]:
        """The base's pictures; the caller has the model for itself."""
        missing = [caption for caption in dict.fromkeys(captions) if (caption, seed) not in self._base]
        if missing:
            drawn = self.model.draw(missing, None, seed, 0.0)
            self._base.update({(caption, seed): image for caption, image in zip(missing, drawn, strict=True)})
        found = [self._base[caption, seed] for caption in captions]
        while len(self._base) > REMEMBERED:
            self._base.popitem(last=False)
        return found

    def _text(self, said: str, what: str) -> str:
        """What a visitor wrote, in its normal form.

        Raises:
            UserError: it is too long, or no text.
        """
        if not isinstance(said, str) or len(said) > 4 * self.settings.longest:
            raise UserError(f"A {what} has at most {self.settings.longest} letters.")
        try:
            text = caption_of(said) if what == "caption" else plain_text(said)
            text.encode()
        except ValueError:
            raise UserError(f"This {what} cannot be read. Please write it anew.") from None
        if len(text) > self.settings.longest:
            raise UserError(f"A {what} has at most {self.settings.longest} letters.")
        return text


def _between(value: float, low: float, high: float) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError("That is no number.")
    return float(min(high, max(low, value)))


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0
