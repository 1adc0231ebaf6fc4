"""`user=features`: what the preferred images have, and have more of than the others, to a small frozen network."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Count
from ppd_lightning.users.kind import UserKind

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ppd_lightning.users.describing import Describing
    from ppd_lightning.users.shot_sets import ShotSet
    from ppd_lightning.users.shots import Shots

IMAGE_COMPONENTS = 64
"""Principal components of the encoder's features that describe an image."""


@settings
class FeaturesUser(UserKind):
    """Features of the images of the choices, on the directions in which users differ most."""

    kind: Literal["features"]
    """Features of the images of a user's choices."""
    encoder: Literal["efficientnet_lite0", "codec"]
    """What sees the shots: a frozen ImageNet network, or the model's own codec."""
    components: Count
    """Width of an embedding: directions in which users differ most, beside how each one's choices vary."""

    def describe(self, using: Describing, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
        """See `UserKind`.

        Raises:
            UserError: the encoder's weights or an image of a shot are missing.
        """
        from ppd_lightning.users.discriminants import principal_components
        from ppd_lightning.users.encoders import open_encoder
        from ppd_lightning.users.shot_features import ImageFeatures, describe_by_features, encode_images

        seen = encode_images(using.data, open_encoder(self.encoder, using.backbone))
        images = ImageFeatures(seen.ids, principal_components(seen.features, IMAGE_COMPONENTS))
        return describe_by_features(using, pairs, sets, images, self.components)

    def seen_with(self, using: Describing) -> str:
        """See `UserKind`: the encoder's weights."""
        from ppd_lightning.users.encoders import encoder_fingerprint

        return encoder_fingerprint(self.encoder, using.backbone)

    def sentence(self, shots: Shots, rewards: Collection[str] = ()) -> str:
        """See `UserKind`."""
        return f"{shots.words()}, seen by `{self.encoder}`, make their vector."

    def extras(self) -> tuple[str, ...]:
        """See `Part`: the package with the encoder's weights."""
        return ("features",) if self.encoder == "efficientnet_lite0" else ()
