"""`user=clip`: means of CLIP's image features of the preferred images, and of their differences to the others.

The features are those of a reward's vision tower, which are stored once, whatever they are used for.

R = sets of shots, E = width of an embedding, F = width of the features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.backbones.released import ReleasedModel
from ppd_lightning.config.folders import rewards_of_users
from ppd_lightning.config.schemas import ClipUser, Config
from ppd_lightning.devices import compute_device
from ppd_lightning.rewards.reward import fingerprints_of, open_rewards
from ppd_lightning.rewards.scoring import open_scorer
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.users.shot_features import SeenImages, describe_by_images
from ppd_lightning.users.shots import DESCRIBING, ShotSet


def describe(config: Config, model: ReleasedModel, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
    """Raw vectors (R, E) of sets of shots; E is 2 F, or user.components of the directions in which users differ.

    Raises:
        UserError: the reward's files are missing, its tower sees the caption too, or it cannot see an image of a shot.
    """
    assert isinstance(config.user, ClipUser)
    describing = pairs.filter(pc.is_in(pairs["split"], pa.array(DESCRIBING)))
    sides = [describing[side].cast(pa.string()) for side in ("preferred", "dispreferred")]
    ids = pc.unique(pa.chunked_array([chunk for side in sides for chunk in side.chunks], pa.string()))
    scorer = open_scorer(config, open_rewards(rewards_of_users(config), compute_device(config.trainer)))
    scorer.prepare()
    features = scorer.features(config.user.reward, ids).reshape(len(ids), -1)
    seen = np.isfinite(features).all(1)
    images = SeenImages(ids.filter(pa.array(seen)), features[seen])
    return describe_by_images(config, pairs, sets, images, config.user.components)


def seen_with(config: Config, model: ReleasedModel) -> str:
    """What stands for the reward."""
    return fingerprint(fingerprints_of(open_rewards(rewards_of_users(config))))
