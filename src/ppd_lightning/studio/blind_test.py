"""Is it really mine? Own picture and the base's side by side, in random order, and how often the own one was liked."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from PIL import Image

ROUNDS = 5
WIDE = 1.959964
"""Standard deviations of a 95 % interval."""


@dataclass
class BlindTest:
    """A test under way.

    rounds: caption, own picture, the base's. own_first: in which rounds the own one stands first. liked_own: the
    answers so far.
    """

    rounds: list[tuple[str, Image.Image, Image.Image]]
    own_first: list[bool] = field(default_factory=list)
    liked_own: list[bool] = field(default_factory=list)

    @classmethod
    def begin(cls, rounds: list[tuple[str, Image.Image, Image.Image]], seed: int | None = None) -> BlindTest:
        """With each order equally likely; a seed makes it the same again."""
        draw = random.Random(seed) if seed is not None else random.SystemRandom()
        return cls(rounds, [draw.random() < 0.5 for _ in rounds])

    @property
    def done(self) -> bool:
        """Whether every round was answered."""
        return len(self.liked_own) == len(self.rounds)

    @property
    def shown(self) -> tuple[str, Image.Image, Image.Image]:
        """The caption of this round and its pictures, as they stand."""
        caption, own, base = self.rounds[len(self.liked_own)]
        return (caption, own, base) if self.own_first[len(self.liked_own)] else (caption, base, own)

    def answer(self, side: int) -> None:
        """Note which picture of this round was liked, 0 or 1; after the last round nothing happens."""
        if not self.done:
            self.liked_own.append((side == 0) == self.own_first[len(self.liked_own)])

    @property
    def win_rate(self) -> tuple[float, float, float]:
        """The share of rounds in which the own picture was liked, and Wilson's 95 % interval.

        Five answers are few, and a bootstrap of five equal ones would have no width.
        """
        return win_rate(sum(self.liked_own), len(self.liked_own))


def win_rate(wins: int, count: int) -> tuple[float, float, float]:
    """A share and its interval (Wilson 1927, score interval); (NaN, 0, 1) where nothing was counted."""
    if not count:
        return math.nan, 0.0, 1.0
    share, square = wins / count, WIDE**2
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = WIDE / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return share, max(0.0, centre - half), min(1.0, centre + half)
