"""A user kind of one's own: the mean latents of the preferred images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Positive
from ppd_lightning.users.kind import UserKind

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ppd_lightning.users.describing import Describing
    from ppd_lightning.users.shot_sets import ShotSet


@settings
class MeanLatentsUser(UserKind):
    """The mean of the preferred images' latents over space and shots."""

    kind: Literal["mean_latents"]
    """Latents of the preferred images."""
    power: Positive
    """To which the latents' sizes are raised."""

    def describe(self, using: Describing, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
        """See the base class."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        store = using.data.open_latents()
        latents = store.arrays["latents"][:].astype(np.float64)
        means = (np.sign(latents) * np.abs(latents) ** self.power).mean((2, 3))
        row = np.asarray(pc.index_in(pairs["preferred"].cast(pa.string()), value_set=store.ids))
        return np.stack([means[row[list(one.pairs)]].mean(0) for one in sets])

    def seen_with(self, using: Describing) -> str:
        """See the base class."""
        return using.backbone.fingerprint("encoder")
