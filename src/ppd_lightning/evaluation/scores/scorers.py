"""What scores the images of comparisons: rewards, and the judges of simulated people.

N = comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ppd_lightning.data.simulation import RECOGNISED, Simulation
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.evaluation.scores.reward_scores import score_images
from ppd_lightning.generation.gallery import read_images
from ppd_lightning.rewards.reward import Reward, fingerprints_of

CONCEPT = RECOGNISED
"""The name of what says whether an image shows its caption."""

AT_ONCE = 1024
"""Images that judges see at once, a multiple of what they see in a batch."""


class Scorers:
    """Everything that scores an image for a person and a caption; the first of them decides a comparison.

    Synthetic users are decided by their own reward, simulated people by the first judge, other people by the first
    reward.

    Args:
        rewards: by name, opened.
        synthetic_users: which of the rewards are the users; none where people are.
        simulation: of the people, where they are simulated.
        judges: which of its judges say what people think; synthetic users are not asked about.
        progress: whether a terminal gets bars.

    Raises:
        UserError: there is no such judge, nothing to score by, or files of rewards are missing.
    """

    def __init__(
        self,
        rewards: Mapping[str, Reward],
        *,
        synthetic_users: Sequence[str] = (),
        simulation: Simulation | None = None,
        judges: Sequence[str] = (),
        progress: bool = True,
    ) -> None:
        self.rewards, self.synthetic_users = dict(rewards), list(synthetic_users)
        self.simulation, self.judges, self.progress = simulation, list[str](), progress
        if simulation is not None and not synthetic_users:
            self.judges += judges
            unknown = [name for name in judges if name not in simulation.judges]
            if unknown:
                raise UserError(
                    f"evaluation.judges: these people have no judge {', '.join(unknown)}; expected some of "
                    f"{', '.join(simulation.judges)}"
                )
        if not self.names:
            raise UserError(
                "evaluation.rewards: nothing says what the people of these data like: choose rewards that score the "
                "images, such as reward=[clip] evaluation.rewards=[clip], or ask a vision-language model by `ppd judge`"
            )
        self.fingerprints = fingerprints_of(self.rewards)

    @property
    def names(self) -> list[str]:
        """Of the judges, and of the rewards."""
        return [*self.judges, *self.rewards]

    @property
    def personal(self) -> bool:
        """Whether people are told apart by what decides for them."""
        return bool(self.judges or self.synthetic_users)

    @property
    def deciding(self) -> Scorers:
        """Those alone that decide: the first judge, the rewards that are users, or the first reward."""
        named = self.synthetic_users or ([] if self.judges else self.names[:1])
        return Scorers(
            {name: self.rewards[name] for name in named},
            synthetic_users=self.synthetic_users,
            simulation=self.simulation,
            judges=self.judges[:1],
            progress=self.progress,
        )

    def score(
        self, comparisons: Sequence[Comparison], files: Sequence[Path], *, content: bool = True
    ) -> dict[str, np.ndarray]:
        """What each scorer says of the image of each comparison, (N,) float64 by name.

        A judge's is the utility for the person of the comparison; a reward's, its score for the caption. CONCEPT (N,)
        bool says whether the content is recognised, where it can be for all captions, beside the simulation's further
        measures of it.

        Args:
            content: whether that is asked too.
        """
        users, captions = [one.user for one in comparisons], [one.caption for one in comparisons]
        parts = [slice(begin, begin + AT_ONCE) for begin in range(0, len(files), AT_ONCE)]
        scores: dict[str, np.ndarray] = {}
        if self.simulation is not None:
            for name in self.judges:
                scores[name] = np.concatenate(
                    [
                        self.simulation.utilities(name, users[part], captions[part], read_images(files[part]))
                        for part in parts
                    ]
                )
        for name, reward in self.rewards.items():
            scores[name] = score_images(reward, files, captions, progress=self.progress)
        if content and self.simulation is not None and self.simulation.contents.issuperset(captions):
            shown = [self.simulation.content(captions[part], read_images(files[part])) for part in parts]
            scores |= {name: np.concatenate([part[name] for part in shown]) for name in shown[0]}
        return scores
