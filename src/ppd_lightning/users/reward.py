"""`user=reward`: how much each reward's score counts in a person's choices, by a logistic regression of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.markdown import code
from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Positive
from ppd_lightning.users.kind import UserKind

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ppd_lightning.rewards.settings import RewardSettings
    from ppd_lightning.users.choice_model import ChoiceModel
    from ppd_lightning.users.describing import Describing, Instruments
    from ppd_lightning.users.new_choices import NewChoice
    from ppd_lightning.users.scale import Scale
    from ppd_lightning.users.shot_sets import ShotSet
    from ppd_lightning.users.shots import Shots


@settings
class RewardUser(UserKind):
    """How much the score of each of the rewards counts in the choices, by a logistic regression."""

    kind: Literal["reward"]
    """Scores of the images of a user's choices, by all rewards that are chosen."""
    regularisation: Positive
    """Weight of half the squared length of the coefficients; scores have unit deviation over the training pairs."""

    not_for_new: ClassVar[str] = ""
    not_for_pools: ClassVar[str] = ""

    def rewards_used(self, rewards: Mapping[str, RewardSettings]) -> dict[str, RewardSettings]:
        """See `UserKind`: all of them."""
        return dict(rewards)

    def contradictions_with(self, labels: str, rewards: Collection[str]) -> Iterator[str]:
        """See `UserKind`."""
        if not rewards:
            yield (
                "user.kind: reward needs at least one reward, and none is chosen; name some, such as "
                "reward=[colourfulness,brightness,clutter], or use user=features"
            )

    def describe(self, using: Describing, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
        """See `UserKind`; E is the number of rewards, in the order of their names.

        Raises:
            UserError: files of a reward are missing, or one of them cannot see an image.
        """
        import numpy as np

        from ppd_lightning.users.choice_regression import choice_weights

        margins, _ = self._margins(using, pairs)
        return choice_weights(margins[np.array([one.pairs for one in sets])], self.regularisation)

    def fitted(self, using: Describing, pairs: pa.Table) -> dict[str, np.ndarray]:
        """See `UserKind`: the sizes of the rewards' margins."""
        return {"size": self._margins(using, pairs)[1]}

    def describe_new(
        self, using: Instruments, fitted: Mapping[str, np.ndarray], people: Mapping[str, Sequence[NewChoice]]
    ) -> np.ndarray:
        """See `UserKind`; equal to what rounding and the end of the regression's steps leave, about 1e-5."""
        import numpy as np

        from ppd_lightning.users.choice_regression import choice_weights
        from ppd_lightning.users.reward_margins import margins_of_new

        margins = [margins_of_new(using.open_rewards(), own, fitted["size"]) for own in people.values()]
        return np.concatenate([choice_weights(one[None], self.regularisation) for one in margins])

    def choice_model(
        self, using: Instruments, fitted: Mapping[str, np.ndarray], scale: Scale, shots: int
    ) -> ChoiceModel:
        """See `UserKind`."""
        from ppd_lightning.users.choice_model import RegressionOfChoices
        from ppd_lightning.users.reward_margins import margins_of_new

        rewards = using.open_rewards()
        return RegressionOfChoices(
            lambda choices: margins_of_new(rewards, choices, fitted["size"]), self.regularisation, scale
        )

    def _margins(self, using: Describing, pairs: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        from ppd_lightning.users.reward_margins import score_margins

        return using.once("margins", lambda: score_margins(using.scorer(), pairs))

    def seen_with(self, using: Instruments) -> str:
        """See `UserKind`: the rewards."""
        return using.rewards_fingerprint()

    def sentence(self, shots: Shots, rewards: Collection[str] = ()) -> str:
        """See `UserKind`."""
        named = f" ({', '.join(map(code, sorted(rewards)))})" if rewards else ""
        return f"A logistic regression of {shots.words()} on rewards{named} makes it."
