"""What users are described with: the data, the model's own networks, and rewards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ppd_lightning.rewards.settings import RewardSettings
from ppd_lightning.users.shots import Shots

if TYPE_CHECKING:
    import torch

    from ppd_lightning.backbones.backbone import Backbone
    from ppd_lightning.data.prepared import PreparedData
    from ppd_lightning.rewards.scoring import Scorer


@dataclass(frozen=True)
class Describing:
    """What users are described with.

    data: prepared. backbone: whose codec and text encoder are at hand. shots: what chooses the users' shots. rewards:
    by name, those that describe users (`UserKind.rewards_used`). device: where networks run. workers: processes that
    decode images beside this one. progress: whether a terminal gets bars.
    """

    data: PreparedData
    backbone: Backbone
    shots: Shots
    rewards: Mapping[str, RewardSettings] = field(default_factory=dict)
    device: torch.device | str = "cpu"
    workers: int = 0
    progress: bool = True

    def scorer(self) -> Scorer:
        """The images as the rewards see them, in the order of the rewards' names; what is not stored yet is made.

        Raises:
            UserError: the data are not prepared, or files of a reward are missing.
        """
        from ppd_lightning.rewards.reward import open_rewards
        from ppd_lightning.rewards.scoring import open_scorer

        rewards = open_rewards(dict(sorted(self.rewards.items())), self.device)
        scorer = open_scorer(self.data, rewards, workers=self.workers, progress=self.progress)
        scorer.prepare()
        return scorer

    def rewards_fingerprint(self) -> str:
        """12 hex digits that stand for the rewards' files, classes and options.

        Raises:
            UserError: files of a reward are missing; those of every reward are named.
        """
        from ppd_lightning.rewards.reward import fingerprints_of, open_rewards
        from ppd_lightning.storage.fingerprints import fingerprint

        return fingerprint(fingerprints_of(open_rewards(self.rewards)))
