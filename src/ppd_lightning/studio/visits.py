"""Visits: what the server remembers of who has the page open. Nothing of it lies on a disk, and it has bounds."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ppd_lightning.errors import UserError
from ppd_lightning.studio.blind_test import BlindTest
from ppd_lightning.studio.collection import Place

MOST_KEPT = 48
"""Pictures in somebody's gallery."""
ROOM = 1 << 30
"""Bytes of the pictures of all visits together."""
MINUTE = 60.0


@dataclass(frozen=True)
class Drawn:
    """A picture that was drawn for a visitor. title: what it is besides its caption, such as a blend."""

    caption: str
    title: str
    picture: Image.Image


@dataclass
class Visit:
    """Somebody who has the page open.

    token: a secret by which their page is known. mark: what tells them from others of their name. answers: number of a
    pair, and the picture that was preferred (0, 1; None for neither), in the order in which they were made. vector:
    (E,) after enough of them. name: what they gave, or "". agreed: whether their choices are kept; collected: where
    those are that were, as the first ones of the answers; earlier: how many were before the visitor began again.
    trouble: what they are to be told beside the answer. drawn: what can be put into the gallery, by number; gallery:
    these numbers. blind: their test, whose noises begin after blind_seed.
    """

    token: str
    mark: str
    answers: list[tuple[int, int | None]] = field(default_factory=list)
    showing: int | None = None
    vector: np.ndarray | None = None
    guidance: float = 1.0
    seed: int = 0
    own_captions: list[str] = field(default_factory=list)
    name: str = ""
    agreed: bool = False
    collected: list[Place] = field(default_factory=list)
    earlier: int = 0
    trouble: str = ""
    drawn: OrderedDict[int, Drawn] = field(default_factory=OrderedDict)
    gallery: list[int] = field(default_factory=list)
    blind: BlindTest | None = None
    blind_seed: int = 100_000
    lock: threading.RLock = field(default_factory=threading.RLock)
    drawings: list[float] = field(default_factory=list)
    count: int = 0

    @property
    def size(self) -> int:
        """Bytes of the pictures that are remembered, all as large as the last one."""
        if not self.drawn:
            return 0
        count = len(self.drawn) + (0 if self.blind is None else len(self.blind.rounds))
        return count * size_of(self.drawn[next(reversed(self.drawn))].picture)

    def forget_pictures(self) -> None:
        """Let all pictures go; what was chosen stays."""
        self.drawn.clear()
        self.gallery.clear()
        self.blind = None

    @property
    def chosen(self) -> list[tuple[int, int]]:
        """The answers that tell something."""
        return [(pair, side) for pair, side in self.answers if side is not None]

    @property
    def user(self) -> str:
        """The name under which choices are kept: nobody else's, also where two give the same."""
        return f"{self.name or 'visitor'}-{self.mark}"

    def remember(self, drawn: Drawn, most: int = 256) -> int:
        """Keep a picture for a while; its number. The oldest that are not in the gallery are let go."""
        self.count += 1
        self.drawn[self.count] = drawn
        for number in [number for number in self.drawn if number not in self.gallery][: max(0, len(self.drawn) - most)]:
            del self.drawn[number]
        return self.count

    def keep(self, number: int) -> None:
        """Put a picture into the gallery, or take it out again.

        Raises:
            UserError: the gallery is full, or the picture is gone.
        """
        if number in self.gallery:
            self.gallery.remove(number)
        elif number not in self.drawn:
            raise UserError("This picture is gone. Draw it again.")
        elif len(self.gallery) >= MOST_KEPT:
            raise UserError(f"The gallery holds {MOST_KEPT} pictures. Take one out first.")
        else:
            self.gallery.append(number)

    def count_drawing(self, most: int, now: float) -> None:
        """Note that they draw at `now`.

        Raises:
            UserError: it would be more than `most` times within a minute.
        """
        self.drawings = [then for then in self.drawings if now - then < MINUTE]
        if len(self.drawings) >= most:
            wait = MINUTE - (now - self.drawings[0])
            raise UserError(f"That is a lot of drawing. Please wait {max(1, round(wait))} seconds.")
        self.drawings.append(now)


class Visits:
    """The visits of a server, at most `most`; whoever was away longest is forgotten first.

    Those who did nothing go before all others, so that a flood of new visits forgets itself.

    Args:
        clock: gives seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.clock = most, clock
        self._visits: OrderedDict[str, Visit] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self) -> Visit:
        """A new visit."""
        with self._lock:
            visit = Visit(secrets.token_urlsafe(18), secrets.token_hex(3))
            while len(self._visits) >= self.most:
                idle = (token for token, one in self._visits.items() if not one.answers)
                del self._visits[next(idle, next(iter(self._visits)))]
            self._visits[visit.token] = visit
            return visit

    def make_room(self, visit: Visit, room: int = ROOM) -> None:
        """Forget pictures of those who were away longest, but this visit's, where all have more than `room` bytes."""
        with self._lock:
            sizes = {token: one.size for token, one in self._visits.items()}
            for token, one in self._visits.items():
                if sum(sizes.values()) <= room:
                    break
                if one is not visit and sizes[token]:
                    with one.lock:
                        one.forget_pictures()
                    sizes[token] = 0

    def of(self, token: str | None) -> Visit:
        """The visit with that token.

        Raises:
            UserError: it is none, or was forgotten.
        """
        with self._lock:
            visit = self._visits.get(token or "")
            if visit is None:
                raise UserError("This visit has ended. Reload the page to begin again.")
            self._visits.move_to_end(visit.token)
            return visit


def size_of(picture: Image.Image) -> int:
    """Bytes of its pixels."""
    return picture.width * picture.height * len(picture.getbands())
