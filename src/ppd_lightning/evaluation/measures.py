"""What measures the pictures of comparisons: rewards, and in the emoji world the judges of style and of the concept.

N = comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ppd_lightning.config.schemas import Config, EmojiData
from ppd_lightning.data.layout import captions_of
from ppd_lightning.evaluation.comparisons import Comparison
from ppd_lightning.evaluation.emoji_world import EmojiWorld
from ppd_lightning.evaluation.judges import load_judge
from ppd_lightning.evaluation.scores import score_images
from ppd_lightning.generation.gallery import read_images
from ppd_lightning.models.devices import compute_device
from ppd_lightning.rewards.reward import fingerprints_of, open_rewards
from ppd_lightning.run.errors import UserError

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
        named = list(config.rewards) if self.of_rewards else config.evaluation.rewards
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

        A judge's is the utility for the person of the comparison; a reward's, its score for the caption.
        """
        measured: dict[str, np.ndarray] = {}
        for name in self.judges:
            style = load_judge(name)
            parts = [self.world.utilities(comparisons[part], read_images(files[part]), style) for part in _parts(files)]
            measured[name] = np.concatenate(parts)
        captions = [one.caption for one in comparisons]
        for name, reward in self.rewards.items():
            measured[name] = score_images(reward, files, captions, bar=self.config.trainer.progress)
        return measured

    def knows_concepts(self, captions: Sequence[str]) -> bool:
        """Whether all captions are concepts of the emoji world, so that a judge can say whether one is shown."""
        return isinstance(self.config.data, EmojiData) and set(captions) <= set(_concepts(self.config))

    def recognised(self, comparisons: Sequence[Comparison], files: Sequence[Path]) -> np.ndarray:
        """Whether each image is taken for its own concept rather than another of the world, (N,) bool."""
        judge, concepts = load_judge("concepts"), _concepts(self.config)
        columns = [judge.labels.index(concept) for concept in concepts]
        guessed = [
            judge.probabilities(read_images(files[part]))[:, columns].argmax(1).numpy() for part in _parts(files)
        ]
        shown = np.array([concepts.index(one.caption) for one in comparisons])
        right: np.ndarray = np.concatenate(guessed) == shown
        return right


def _concepts(config: Config) -> list[str]:
    return captions_of(config, held_out=True) + captions_of(config, held_out=False)


def _parts(files: Sequence[Path]) -> list[slice]:
    return [slice(begin, begin + AT_ONCE) for begin in range(0, len(files), AT_ONCE)]
