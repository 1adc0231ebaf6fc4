"""What measures the pictures of comparisons: rewards, and in the emoji world the judges of style and of the concept.

N = comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ppd_lightning.config.folders import rewards_that_label
from ppd_lightning.config.schemas import Config, EmojiData
from ppd_lightning.data.prepared import captions_of
from ppd_lightning.devices import compute_device
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.comparisons import Comparison
from ppd_lightning.evaluation.reward_scores import score_images
from ppd_lightning.generation.gallery import read_images
from ppd_lightning.rewards.reward import fingerprints_of, open_rewards
from ppd_lightning.worlds.emoji.judges import load_judge
from ppd_lightning.worlds.emoji.truth import EmojiWorld

CONCEPT = "concept"

AT_ONCE = 1024
"""Images that judges see at once, a multiple of what they see in a batch."""


class Measures:
    """What a configuration's images are measured by; rewards are opened at once, everything else when it is needed.

    Of people of the emoji world the judges know the taste, and the first of them decides; synthetic users are decided
    by their own reward; other people by the first of `evaluation.rewards`.

    Raises:
        UserError: there is nothing to measure by, or files of rewards are missing.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.of_rewards = config.data.labels == "rewards"
        self.users = list(rewards_that_label(config))
        named = [*self.users, *config.evaluation.rewards]
        by_judges = isinstance(config.data, EmojiData) and not self.of_rewards
        self.judges: list[str] = [*config.evaluation.judges] if by_judges else []
        if not (named or self.judges):
            raise UserError(
                f"evaluation.rewards: nothing says what the people of data.name={config.data.name} like: choose "
                "rewards that score the images, such as reward=[clip] evaluation.rewards=[clip], or ask a "
                "vision-language model by `ppd judge`"
            )
        self.rewards = open_rewards(
            {name: config.rewards[name] for name in dict.fromkeys(named)}, compute_device(config.trainer)
        )
        self.fingerprints = fingerprints_of(self.rewards)

    @property
    def names(self) -> list[str]:
        """Of the judges, and of the rewards."""
        return [*self.judges, *self.rewards]

    @cached_property
    def world(self) -> EmojiWorld:
        """The emoji world and its people's hidden tastes."""
        assert isinstance(self.config.data, EmojiData)
        return EmojiWorld(self.config, self.config.data)

    def of(self, comparisons: Sequence[Comparison], files: Sequence[Path]) -> dict[str, np.ndarray]:
        """What each measure says of the image that is shown in each comparison, (N,) float64 by name.

        A judge's is the utility for the person of the comparison; a reward's, its score for the caption. CONCEPT (N,)
        bool says whether the concept is recognised, where all captions are concepts of the emoji world.
        """
        measured: dict[str, np.ndarray] = {}
        for name in self.judges:
            style = load_judge(name)
            parts = [self.world.utilities(comparisons[part], read_images(files[part]), style) for part in _parts(files)]
            measured[name] = np.concatenate(parts)
        captions = [one.caption for one in comparisons]
        for name, reward in self.rewards.items():
            measured[name] = score_images(reward, files, captions, bar=self.config.trainer.progress)
        if set(captions) <= set(self._concepts):
            measured[CONCEPT] = self._recognised(comparisons, files)
        return measured

    def _recognised(self, comparisons: Sequence[Comparison], files: Sequence[Path]) -> np.ndarray:
        """Whether each image is taken for its own concept rather than another of the world, (N,) bool."""
        judge = load_judge("concepts")
        columns = [judge.labels.index(concept) for concept in self._concepts]
        guessed = [
            judge.probabilities(read_images(files[part]))[:, columns].argmax(1).numpy() for part in _parts(files)
        ]
        shown = np.array([self._concepts.index(one.caption) for one in comparisons])
        right: np.ndarray = np.concatenate(guessed) == shown
        return right

    @cached_property
    def _concepts(self) -> list[str]:
        """Of the emoji world; none of other data."""
        if not isinstance(self.config.data, EmojiData):
            return []
        return captions_of(self.config, held_out=True) + captions_of(self.config, held_out=False)


def _parts(files: Sequence[Path]) -> list[slice]:
    return [slice(begin, begin + AT_ONCE) for begin in range(0, len(files), AT_ONCE)]
