"""`user=clip`: means of CLIP's image features of the preferred images, and of their differences to the others.

The features are those of a reward's vision tower, which are stored once, whatever they are used for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.markdown import code
from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Components
from ppd_lightning.users.kind import UserKind

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ppd_lightning.rewards.encoder_code import EncoderCode
    from ppd_lightning.rewards.settings import RewardSettings
    from ppd_lightning.users.choice_features import PictureEncoder
    from ppd_lightning.users.choice_model import ChoiceModel
    from ppd_lightning.users.describing import Describing, Instruments
    from ppd_lightning.users.new_choices import NewChoice
    from ppd_lightning.users.scale import Scale
    from ppd_lightning.users.shot_features import ImageFeatures
    from ppd_lightning.users.shot_sets import ShotSet
    from ppd_lightning.users.shots import Shots


@settings
class ClipUser(UserKind):
    """Means of a reward's features of the preferred images, such as CLIP's, and of their differences to the others."""

    kind: Literal["clip"]
    """Features of the images of a user's choices, by a reward's vision tower."""
    reward: str
    """Which of the rewards sees the images, by its vision tower; what it saw is stored once for users and labels."""
    components: Components | None
    """Width of an embedding, as for user=features; null keeps every feature."""

    def rewards_used(self, rewards: Mapping[str, RewardSettings]) -> dict[str, RewardSettings]:
        """See `UserKind`."""
        return {self.reward: rewards[self.reward]}

    def contradictions_with(self, labels: str, rewards: Collection[str]) -> Iterator[str]:
        """See `UserKind`."""
        if self.reward not in rewards:
            yield (
                f"user.reward: {self.reward} is none of the rewards that are chosen; choose it, "
                f"reward=[{self.reward}], or name another as user.reward"
            )

    not_for_new: ClassVar[str] = ""
    not_for_pools: ClassVar[str] = ""
    mean_of_choices: ClassVar[bool] = True

    @property
    def learns_of_people(self) -> bool:
        """See `UserKind`: the directions, where there are any."""
        return self.components is not None

    def describe(self, using: Describing, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
        """See `UserKind`; E is twice the features' width, or `components`.

        Raises:
            UserError: the reward's files are missing, its tower sees the caption too, it cannot see an image, or too
                few people are trained on.
        """
        from ppd_lightning.users.shot_features import features_of_sets

        images, fitted = self._fit(using, pairs)
        return features_of_sets(using, pairs, sets, images, fitted.get("discriminants"))

    def fitted(self, using: Describing, pairs: pa.Table) -> dict[str, np.ndarray]:
        """See `UserKind`: the discriminants of people, where there are any."""
        return self._fit(using, pairs)[1]

    def describe_new(
        self, using: Instruments, fitted: Mapping[str, np.ndarray], people: Mapping[str, Sequence[NewChoice]]
    ) -> np.ndarray:
        """See `UserKind`; features differ from those of the data by what rounding makes of other batches."""
        from ppd_lightning.users.choice_features import vectors_of_new

        return vectors_of_new(self._encoder(using), fitted, list(people.values()))

    def choice_model(
        self, using: Instruments, fitted: Mapping[str, np.ndarray], scale: Scale, shots: int
    ) -> ChoiceModel:
        """See `UserKind`."""
        from ppd_lightning.users.choice_model import MeanOfChoices

        return MeanOfChoices(self._encoder(using), fitted, scale, shots)

    def _encoder(self, using: Instruments) -> PictureEncoder:
        """What sees pictures in memory."""
        from functools import partial

        from ppd_lightning.rewards.picture_features import features_of_pictures

        return partial(features_of_pictures, using.open_rewards()[self.reward])

    def encoder_code(self, using: Instruments) -> EncoderCode | str:
        """See `UserKind`: the reward's."""
        return using.open_rewards()[self.reward].encoder_code(self.seen_by(using)) or super().encoder_code(using)

    def _fit(self, using: Describing, pairs: pa.Table) -> tuple[ImageFeatures, dict[str, np.ndarray]]:
        """The images as the reward saw them, and `fitted`; made once."""
        from ppd_lightning.users.shot_features import axes_of_people, reward_features

        def fit() -> tuple[ImageFeatures, dict[str, np.ndarray]]:
            images = reward_features(using.scorer(), self.reward, pairs)
            if self.components is None:
                return images, {}
            return images, {"discriminants": axes_of_people(using, pairs, images, self.components)}

        return using.once("fit", fit)

    def seen_with(self, using: Instruments) -> str:
        """See `UserKind`: the reward."""
        return using.rewards_fingerprint()

    def sentence(self, shots: Shots, rewards: Collection[str] = ()) -> str:
        """See `UserKind`."""
        return f"{shots.words()}, seen by the vision tower of the reward {code(self.reward)}, make their vector."
