"""`user=one_hot`: for the few synthetic users that are rewards."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.users.kind import UserKind

if TYPE_CHECKING:
    import numpy as np

    from ppd_lightning.users.shots import Shots


@settings
class OneHotUser(UserKind):
    """A dimension for each synthetic user, whose choices are computed scores."""

    kind: Literal["one_hot"]
    """Which of the rewards the user is."""

    described: ClassVar[bool] = False
    by_shots: ClassVar[bool] = False
    not_for_new: ClassVar[str] = (
        "user=one_hot has a dimension for each reward that was trained on and none for anybody else"
    )

    def contradictions_with(self, labels: str, rewards: Collection[str]) -> Iterator[str]:
        """See `UserKind`."""
        if labels == "people":
            yield (
                "user.kind: one_hot has one dimension a reward, and data.labels is people; use mode=synthetic, or "
                "user=features"
            )

    def vectors(self, users: Sequence[str]) -> np.ndarray:
        """See `UserKind`; E = N."""
        import numpy as np

        return np.eye(len(users), dtype=np.float32)

    def sentence(self, shots: Shots, rewards: Collection[str] = ()) -> str:
        """See `UserKind`."""
        return "A user's vector is a dimension of their own."
