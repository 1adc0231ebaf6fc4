"""Which of a user's choices describe them: the ways to choose shots.

A way is a part (`settings.part`): one class derived from `Shots` and one file in `conf/shots`.

n = shots of a set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import Part, settings
from ppd_lightning.settings.values import Draws

if TYPE_CHECKING:
    import pyarrow as pa

    from ppd_lightning.users.captions import CaptionVectors
    from ppd_lightning.users.shot_sets import ShotSet

    CaptionSource = Callable[[], CaptionVectors]
    UserCaptions = Sequence[tuple[str, str]]


@settings
class Shots(Part, ABC):
    """Which of a user's choices describe them."""

    n: Draws
    """Choices that describe a user."""
    select: str
    """By hash, as unlike as can be in their captions, or with captions nearest to the one that is asked for."""
    groupings: Draws
    """Different sets of them made for each user; with caption_aware it is one for each caption instead."""

    per_caption: ClassVar[bool] = False
    """Whether a user has a set of their own for each caption that is asked for."""
    uses_captions: ClassVar[bool] = True
    """Whether the sets depend on the captions' vectors."""

    @abstractmethod
    def sets(self, pairs: pa.Table, captions: CaptionSource, asked: UserCaptions | None = None) -> list[ShotSet]:
        """The sets of every user of the pairs, `n` shots each, of pairs that may describe (`shot_sets.DESCRIBING`).

        Args:
            pairs: `data.pairs.PAIRS_SCHEMA`, of all splits, in the order of the pair ids.
            captions: gives the vectors of the captions; they are read when it is called.
            asked: where sets are per caption, the users and caption ids that are asked for; None asks for each caption
                of a user's own pairs that are not of the tests.

        Raises:
            UserError: people have fewer pairs than shots; all of them are named, or the first few.
        """

    def words(self) -> str:
        """What describes a user, in words for the model card."""
        return f"{self.n} of a user's choices (`shots.select={self.select}`)"


@settings
class RandomShots(Shots):
    """Choices by hash, in several groupings."""

    select: Literal["random"]
    """By hash."""

    uses_captions: ClassVar[bool] = False

    def sets(self, pairs: pa.Table, captions: CaptionSource, asked: UserCaptions | None = None) -> list[ShotSet]:
        """See `Shots`."""
        from ppd_lightning.users.shot_sets import random_sets

        return random_sets(pairs, self.n, self.groupings)


@settings
class DiverseShots(Shots):
    """Choices whose captions are as unlike as can be, each grouping out of another half of a user's pairs."""

    select: Literal["diverse"]
    """As unlike as can be in their captions."""

    def sets(self, pairs: pa.Table, captions: CaptionSource, asked: UserCaptions | None = None) -> list[ShotSet]:
        """See `Shots`."""
        from ppd_lightning.users.shot_sets import diverse_sets

        return diverse_sets(pairs, self.n, self.groupings, captions())


@settings
class CaptionAwareShots(Shots):
    """Choices whose captions are nearest to the caption that is asked for, never that caption's own."""

    select: Literal["caption_aware"]
    """With captions nearest to the one that is asked for."""

    per_caption: ClassVar[bool] = True

    def sets(self, pairs: pa.Table, captions: CaptionSource, asked: UserCaptions | None = None) -> list[ShotSet]:
        """See `Shots`. Somebody who has fewer than `n` pairs of other captions has no set for a caption."""
        from ppd_lightning.users.shot_sets import captions_of_users, nearest_sets

        return nearest_sets(pairs, self.n, captions_of_users(pairs) if asked is None else asked, captions())
