"""What users are described with: the data, the model's own networks, and rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ppd_lightning.rewards.settings import RewardSettings
from ppd_lightning.users.shots import Shots

if TYPE_CHECKING:
    import torch

    from ppd_lightning.backbones.backbone import Backbone
    from ppd_lightning.data.prepared import PreparedData
    from ppd_lightning.rewards.reward import Reward
    from ppd_lightning.rewards.scoring import Scorer

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Instruments:
    """The networks that see choices.

    backbone: whose codec and text encoder are at hand. image_size: side in pixels to which images are brought for it.
    rewards: by name, those that describe users (`UserKind.rewards_used`). device: where networks run.
    """

    backbone: Backbone
    image_size: int
    rewards: Mapping[str, RewardSettings] = field(default_factory=dict)
    device: torch.device | str = "cpu"
    _made: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """What `make` gives, kept under this name: a network is loaded once, and an image encoded once."""
        if name not in self._made:
            self._made[name] = make()
        return cast("Made", self._made[name])

    def open_rewards(self) -> dict[str, Reward]:
        """The rewards, in the order of their names.

        Raises:
            UserError: a class, a role or an option is none.
        """
        from ppd_lightning.rewards.reward import open_rewards

        return self.once("rewards", lambda: open_rewards(dict(sorted(self.rewards.items())), self.device))

    def rewards_fingerprint(self) -> str:
        """12 hex digits that stand for the rewards' files, classes and options.

        Raises:
            UserError: files of a reward are missing; those of every reward are named.
        """
        from ppd_lightning.rewards.reward import fingerprints_of, open_rewards
        from ppd_lightning.storage.fingerprints import fingerprint

        return fingerprint(fingerprints_of(open_rewards(self.rewards)))


@dataclass(frozen=True, kw_only=True)
class Describing(Instruments):
    """What users of prepared data are described with.

    data: prepared. shots: what chooses the users' shots. workers: processes that decode images beside this one.
    progress: whether a terminal gets bars. learnt_of: whose choices kinds that learn of people learn from
    (`UserKind.learns_of_people`); None for those who are trained on.
    """

    data: PreparedData
    shots: Shots
    workers: int = 0
    progress: bool = True
    learnt_of: frozenset[str] | None = None

    def people_learnt_of(self) -> frozenset[str]:
        """Whose choices a kind that learns of people learns from."""
        return frozenset(self.data.people()["seen"]) if self.learnt_of is None else self.learnt_of

    def scorer(self) -> Scorer:
        """The images as the rewards see them, in the order of the rewards' names; what is not stored yet is made.

        Raises:
            UserError: the data are not prepared, or files of a reward are missing.
        """

        def prepared() -> Scorer:
            from ppd_lightning.rewards.scoring import open_scorer

            scorer = open_scorer(self.data, self.open_rewards(), workers=self.workers, progress=self.progress)
            scorer.prepare()
            return scorer

        return self.once("scorer", prepared)
