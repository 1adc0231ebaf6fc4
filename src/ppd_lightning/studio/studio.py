"""What visitors of the studio can do, for any page: answer pairs, have captions drawn, blend, test, keep, take along.

One thread at a time uses the model. What visitors say is checked here, whatever the page lets them say.

E = width of a user embedding.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

import numpy as np

from ppd_lightning.errors import UserError
from ppd_lightning.studio.blind_test import ROUNDS, BlindTest
from ppd_lightning.studio.collection import Answer, Collection, zipped
from ppd_lightning.studio.drawings import Drawings, Row
from ppd_lightning.studio.model import Choice, StudioModel
from ppd_lightning.studio.pairs import Shown
from ppd_lightning.studio.said import caption_said, name_said, number_said
from ppd_lightning.studio.settings import Studio as Settings
from ppd_lightning.studio.visits import Drawn, Visit, Visits

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Captions of a sheet."""
NEAREST = 3
STRONGEST = 2.0
"""Of the guidance scale, as a multiple of the training's."""
DIVISIONS = 4
"""Of the triangle's sides."""
ME = "You"


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
        self._drawings = Drawings()

    def begin(self) -> Visit:
        """A new visit, with its first pair."""
        visit = self.visits.begin()
        visit.guidance = self.model.guidance
        visit.showing = self._next(visit)
        return visit

    def warm_up(self) -> None:
        """Draw once what is the same for everybody, so that nobody waits for it."""
        with self._drawings.alone:
            vector = self.model.vector([(pair.caption, *pair.pictures) for pair in self.pairs[: self.settings.picks]])
        self._drawings.draw(self.model, self.model, [(caption, 0) for caption in self.captions[:AT_ONCE]], vector, 1.0)

    def end(self, patience: float) -> None:
        """Let a drawing come to its end, and begin none after it; a process that ends within one is aborted."""
        self._drawings.alone.acquire(timeout=patience)

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
            visit.vector = None
            visit.showing = self._next(visit)
            self._collect(visit)

    def take_back(self, visit: Visit) -> None:
        """Forget the last answer, also where it was collected, and show its pair again.

        Raises:
            UserError: the table that it is in has changed since.
        """
        with visit.lock:
            if not visit.answers:
                return
            if self.collection is not None and len(visit.collected) == len(visit.answers):
                self.collection.remove([visit.collected.pop()])
            visit.showing, _ = visit.answers.pop()
            visit.vector = None

    def again(self, visit: Visit) -> None:
        """Forget the answers; those that were collected stay so."""
        with visit.lock:
            visit.earlier += len(visit.collected)
            visit.answers, visit.collected, visit.vector, visit.blind = [], [], None, None
            visit.showing = self._next(visit)

    def left(self, visit: Visit) -> int:
        """How many picks are missing until pictures are drawn."""
        return max(0, self.settings.picks - len(visit.chosen))

    def lacking(self, visit: Visit) -> int:
        """How many picks of them are missing until a training can use what is kept.

        A training describes each pair by others of the person, as many as a set has, so it needs one more than these.
        """
        return max(0, self.model.shots + 1 - len(visit.chosen))

    def agree(self, visit: Visit, agreed: bool, name: str) -> None:
        """Keep a visitor's choices from now on, and those that they made; or no more.

        Those that are kept already get the name that is given later, so that they stay one person's.

        Raises:
            UserError: the name is too long, or the table has changed since.
        """
        with visit.lock:
            said = name_said(name, self.settings.longest)
            renamed, visit.name = said != visit.name, said
            visit.agreed = agreed is True and self.collection is not None
            earlier = visit.collected
            if not (visit.agreed and renamed and earlier and self.collection is not None):
                self._collect(visit)
                return
            visit.collected = []
            self._collect(visit)
            if visit.collected:
                self.collection.remove(earlier)
            else:  # there is no room for them; they stay as they are
                visit.collected = earlier

    def describe(self, visit: Visit) -> np.ndarray:
        """The visitor's vector (E,), of all of their answers.

        Raises:
            UserError: they have not made enough.
        """
        self._require(visit)
        with visit.lock:
            answers, choices, vector = list(visit.answers), self._choices(visit), visit.vector
        if vector is None:
            with self._drawings.alone:
                vector = self.model.vector(choices)
            with visit.lock:
                if answers == visit.answers:
                    visit.vector = vector
        return vector

    def sheet(self, visit: Visit) -> list[Row]:
        """The visitor's last captions, or those of everybody, drawn by the base and for them.

        Raises:
            UserError: they have not picked enough, or drew too often.
        """
        captions = list(dict.fromkeys([*visit.own_captions, *self.captions]))[:AT_ONCE]
        return self._rows(visit, captions, self.describe(visit), "for you")

    def ask(self, visit: Visit, caption: str) -> None:
        """Draw this caption first from now on.

        Raises:
            UserError: it is empty, too long, or nothing that an encoder can read.
        """
        said = caption_said(caption, self.settings.longest)
        with visit.lock:
            visit.own_captions = list(dict.fromkeys([said, *visit.own_captions]))[:AT_ONCE]

    def strength(self, visit: Visit, multiple: float) -> None:
        """Set the user guidance scale, as a multiple of the training's."""
        visit.guidance = number_said(multiple, 0.0, STRONGEST) * self.model.guidance

    def other_noise(self, visit: Visit) -> None:
        """Draw with the next seed from now on."""
        visit.seed = (visit.seed + 1) % 10_000

    def blend(self, visit: Visit, one: str, other: str, share: float) -> list[Row]:
        """The captions for (1 - share) of one person and share of another; either may be `ME`.

        Raises:
            UserError: somebody is unknown, or as `sheet`.
        """
        share = number_said(share, 0.0, 1.0)
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
        own = self.describe(visit)
        asked = []
        for number in range(ROUNDS):
            times, caption = divmod(number, len(self.captions))
            asked.append((self.captions[-1 - caption], visit.blind_seed + 1 + times))
        visit.count_drawing(self.settings.draws, self.visits.clock())
        drawn = self._drawings.draw(self.model, self.model, asked, own, self._scale(visit) or 1.0)
        with visit.lock:
            visit.blind_seed = asked[-1][1]
            rounds = [(caption, mine, base) for (caption, _), (base, mine) in zip(asked, drawn, strict=True)]
            visit.blind = BlindTest.begin(rounds)
            return visit.blind

    def people_file(self, visit: Visit) -> bytes:
        """The visitor's vector as a file that `generation.people` takes.

        Raises:
            UserError: they have not picked enough, or asked too often.
        """
        self._require(visit)
        visit.count_drawing(self.settings.draws, self.visits.clock())
        with self._drawings.alone:
            return self.model.people_file(self._choices(visit), visit.user)

    def choices_file(self, visit: Visit) -> bytes:
        """The visitor's choices and their pictures as a ZIP archive, ready for `ppd prepare`.

        Raises:
            UserError: there are none.
        """
        if not visit.answers:
            raise UserError("Pick a picture first.")
        return zipped(visit.user, self._answers(visit, 0))

    def _require(self, visit: Visit) -> None:
        if self.left(visit):
            raise UserError(f"Pick {self.left(visit)} more first.")

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
        """Keep what is not kept yet; what cannot be kept now is tried again with the next choice."""
        if not visit.agreed or self.collection is None:
            return
        try:
            visit.collected += self.collection.add(visit.user, self._answers(visit, len(visit.collected)))
        except OSError as error:
            log.error("%s: a choice cannot be kept: %s", self.collection.path, error.strerror or error)
            visit.trouble = "Your choices cannot be kept just now. You can go on picking."

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
        asked = [(caption, visit.seed) for caption in captions]
        drawn = self._drawings.draw(self.model, model or self.model, asked, vector, self._scale(visit))
        with visit.lock:
            rows = [
                Row(caption, base, own, visit.remember(Drawn(caption, title, own)))
                for caption, (base, own) in zip(captions, drawn, strict=True)
            ]
        self.visits.make_room(visit)
        return rows

    def _scale(self, visit: Visit) -> float:
        """Of the visitor's user guidance, as a multiple of the training's."""
        return visit.guidance / self.model.guidance if self.model.guidance else 1.0


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0
