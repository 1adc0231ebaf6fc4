"""`user=constant`: one user for everybody."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.users.kind import UserKind

if TYPE_CHECKING:
    import numpy as np

    from ppd_lightning.users.shots import Shots


@settings
class ConstantUser(UserKind):
    """The same for everybody: what objective=diffusion_dpo learns."""

    kind: Literal["constant"]
    """Nothing: all users are one."""

    described: ClassVar[bool] = False
    not_for_new: ClassVar[str] = "user=constant is one user for everybody, so a new person is that one already"
    by_shots: ClassVar[bool] = False
    same_for_all: ClassVar[bool] = True

    def vectors(self, users: Sequence[str]) -> np.ndarray:
        """See `UserKind`; E = 1."""
        import numpy as np

        return np.ones((len(users), 1), np.float32)

    def sentence(self, shots: Shots, rewards: Collection[str] = ()) -> str:
        """See `UserKind`."""
        return "All users have the same vector."
