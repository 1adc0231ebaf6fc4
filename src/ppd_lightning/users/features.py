"""`user=features`: what the chosen pictures have, and have more of than the others, to a small frozen network.

R = sets of shots, E = width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ppd_lightning.backbones.released import ReleasedModel
from ppd_lightning.config.schemas import Config, FeaturesUser
from ppd_lightning.users.discriminants import principal_components
from ppd_lightning.users.encoders import encoder_fingerprint, open_encoder
from ppd_lightning.users.shot_features import SeenImages, describe_by_images, see_images
from ppd_lightning.users.shots import ShotSet

IMAGE_COMPONENTS = 64
"""Principal components of the encoder's features that describe an image."""


def describe(config: Config, model: ReleasedModel, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
    """Raw vectors (R, E) of sets of shots.

    Raises:
        UserError: the encoder's weights or an image of a shot are missing.
    """
    assert isinstance(config.user, FeaturesUser)
    seen = see_images(config, open_encoder(config.user.encoder, model))
    images = SeenImages(seen.ids, principal_components(seen.features, IMAGE_COMPONENTS))
    return describe_by_images(config, pairs, sets, images, config.user.components)


def seen_with(config: Config, model: ReleasedModel) -> str:
    """What stands for the weights that it sees with."""
    assert isinstance(config.user, FeaturesUser)
    return encoder_fingerprint(config.user.encoder, model)
