"""A choice of shots of one's own: everybody's last pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.users.shots import Shots

if TYPE_CHECKING:
    import pyarrow as pa

    from ppd_lightning.users.shot_sets import ShotSet


@settings
class LastShots(Shots):
    """The pairs with the highest ids."""

    select: Literal["last"]
    """The last ones."""

    uses_captions: ClassVar[bool] = False

    def sets(self, pairs: pa.Table, captions: Any, asked: Any = None) -> list[ShotSet]:
        """See the base class."""
        from ppd_lightning.users.shot_sets import DESCRIBING, ShotSet

        own: dict[str, list[int]] = {}
        for row, pair in enumerate(pairs.select(["user_id", "split"]).to_pylist()):
            if pair["split"] in DESCRIBING:
                own.setdefault(pair["user_id"], []).append(row)
        return [ShotSet(f"{user}/0", user, tuple(rows[-self.n :])) for user, rows in own.items()]
