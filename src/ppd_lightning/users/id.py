"""`user=id`: the paper's naive baseline."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.users.kind import UserKind

if TYPE_CHECKING:
    import numpy as np

    from ppd_lightning.users.shots import Shots


@settings
class IdUser(UserKind):
    """A dimension for each user who is trained on: the paper's naive baseline, which cannot serve anybody else."""

    kind: Literal["id"]
    """Who the user is, among those who are trained on."""

    described: ClassVar[bool] = False
    not_for_new: ClassVar[str] = "user=id has a dimension for each person who was trained on and none for anybody else"
    by_shots: ClassVar[bool] = False
    seen_only: ClassVar[bool] = True
    not_served: ClassVar[str] = (
        "user=id has a dimension for each person who was trained on and cannot serve anybody else; use a kind that "
        "describes people, such as user=features"
    )

    def vectors(self, users: Sequence[str]) -> np.ndarray:
        """See `UserKind`; E = N."""
        import numpy as np

        return np.eye(len(users), dtype=np.float32)

    def sentence(self, shots: Shots, rewards: Collection[str] = ()) -> str:
        """See `UserKind`."""
        return "A user's vector is a dimension of their own; people who were not trained on have none."
