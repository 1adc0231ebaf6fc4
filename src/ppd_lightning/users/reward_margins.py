"""Margins of scores: how much more of each reward's score the preferred image of a pair has than the other.

N = pairs, J = rewards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.errors import UserError
from ppd_lightning.rewards.reward import Reward
from ppd_lightning.rewards.scoring import Scorer
from ppd_lightning.users.new_choices import NewChoice
from ppd_lightning.users.shot_sets import DESCRIBING


def score_margins(scorer: Scorer, pairs: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the preferred image less those of the other, (N, J) float64, in sizes over the training pairs; (J,).

    Pairs that describe nobody have NaN. The sizes are the second; they are 1 where a reward never differs.

    Args:
        scorer: prepared; its rewards' order is that of the columns.

    Raises:
        UserError: one of the rewards cannot see an image of a pair.
    """
    describing = np.flatnonzero(np.asarray(pc.is_in(pairs["split"], pa.array(DESCRIBING))))
    described = pairs.take(pa.array(describing))
    captions, known = described["caption"].cast(pa.string()), np.full((len(described), len(scorer.rewards)), np.nan)
    for column, name in enumerate(scorer.rewards):
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
    size = np.sqrt((trained**2).mean(0)) if len(trained) else np.ones(len(scorer.rewards))
    size = np.where(size > 1e-12, size, 1)
    margins = np.full((len(pairs), len(scorer.rewards)), np.nan)
    margins[describing] = known / size
    return margins, size


def margins_of_new(rewards: Mapping[str, Reward], choices: Sequence[NewChoice], size: np.ndarray) -> np.ndarray:
    """As `score_margins`, of choices that are not in the data, (N, J).

    Raises:
        UserError: a reward cannot see a picture or read a caption.
    """
    captions, columns = [one.caption for one in choices], []
    for reward in rewards.values():
        liked = reward.score([one.preferred for one in choices], captions)
        columns.append((liked.double() - reward.score([one.other for one in choices], captions).double()).numpy())
    margins: np.ndarray = np.stack(columns, 1) / size
    return margins
