"""How much more of each reward's score the preferred image of a pair has: what `user=reward` knows of a choice.

N = pairs, J = rewards.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.config.folders import rewards_of_users
from ppd_lightning.config.schemas import Config
from ppd_lightning.devices import compute_device
from ppd_lightning.errors import UserError
from ppd_lightning.rewards.reward import open_rewards
from ppd_lightning.rewards.scoring import open_scorer
from ppd_lightning.users.shots import DESCRIBING


def score_margins(config: Config, pairs: pa.Table) -> np.ndarray:
    """Scores of the preferred image less those of the other, (N, J) float64, in deviations over the training pairs.

    The rewards are in the order of their names. What they saw of the images is stored, and made here where it is not
    there. Pairs that describe nobody have NaN.

    Raises:
        UserError: files of a reward are missing, or one of them cannot see an image of a pair.
    """
    rewards = open_rewards(dict(sorted(rewards_of_users(config).items())), compute_device(config.trainer))
    scorer = open_scorer(config, rewards)
    scorer.prepare()
    describing = np.flatnonzero(np.asarray(pc.is_in(pairs["split"], pa.array(DESCRIBING))))
    described = pairs.take(pa.array(describing))
    captions, known = described["caption"].cast(pa.string()), np.full((len(described), len(rewards)), np.nan)
    for column, name in enumerate(rewards):
        liked, other = (
            scorer.scores(name, described[side].cast(pa.string()), captions).astype(np.float64)
            for side in ("preferred", "dispreferred")
        )
        known[:, column] = liked - other
        unseen = np.flatnonzero(~np.isfinite(known[:, column]))
        if len(unseen):
            raise UserError(
                f"reward {name}: cannot see an image of the pair {described['pair_id'][unseen[0]].as_py()} nor of "
                f"{len(unseen) - 1} others that describe people; leave them out of the source and run `ppd prepare` "
                "again, or choose other rewards"
            )
    trained = known[np.asarray(pc.equal(described["split"], "train"))]
    # Of margins whose sign is the choice, the size is what counts: about 0, not about their mean.
    size = np.sqrt((trained**2).mean(0)) if len(trained) else np.ones(len(rewards))
    margins = np.full((len(pairs), len(rewards)), np.nan)
    margins[describing] = known / np.where(size > 1e-12, size, 1)
    return margins
