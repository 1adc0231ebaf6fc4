"""The root of a configuration: what every key is, its type, its range and what it means.

The values come from `conf/` (one folder a group, one file an option), so hardly anything has a default here. A group is
a dataclass of its own room, or a part: an object of the class that the group's `target` names (`settings.part`).
`compose.compose` makes a `Config` from Hydra overrides. Rooms below never see it: verbs hand them the groups.
"""

from __future__ import annotations

from typing import Annotated, Literal

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.data.source import Source
from ppd_lightning.evaluation.settings import Classification, Evaluation, Interpolation
from ppd_lightning.evaluation.vlm_judge.settings import VisionJudge
from ppd_lightning.generation.settings import Generation
from ppd_lightning.model_card.settings import Export
from ppd_lightning.reports.settings import Report
from ppd_lightning.rewards.settings import RewardSettings
from ppd_lightning.settings.part import Part, by_target, settings
from ppd_lightning.settings.values import FolderText, Name, Seed
from ppd_lightning.studio.settings import Studio
from ppd_lightning.training.objectives.objective import Objective
from ppd_lightning.training.settings import Logger, Optimizer, Trainer
from ppd_lightning.users.kind import UserKind
from ppd_lightning.users.settings import Describe
from ppd_lightning.users.shots import Shots

PARTS: dict[str, type[Part]] = {
    "data": Source,
    "model": Backbone,
    "user": UserKind,
    "shots": Shots,
    "objective": Objective,
    "judge": VisionJudge,
}
"""The groups that hold a part, and what its class is derived from."""


@settings
class Config:
    """One run of any verb."""

    data: Annotated[Source, by_target(Source)]
    model: Annotated[Backbone, by_target(Backbone)]
    user: Annotated[UserKind, by_target(UserKind)]
    shots: Annotated[Shots, by_target(Shots)]
    objective: Annotated[Objective, by_target(Objective)]
    optimizer: Optimizer
    trainer: Trainer
    logger: Logger
    generation: Generation
    describe: Describe
    evaluation: Evaluation
    judge: Annotated[VisionJudge, by_target(VisionJudge)]
    rewards: dict[Name, RewardSettings]
    """What scores images, by name (chosen as a list: reward=[clip,aesthetic])."""
    classification: Classification
    interpolation: Interpolation
    report: Report
    studio: Studio
    export: Export
    mode: Literal["real", "synthetic"]
    """What belongs together: people's own choices and their shots, or rewards and one-hot users."""
    seed: Seed
    """Draws the branch's first weights and, with epoch and pair, every timestep, noise and dropped user."""
    output: FolderText
    """Folder for everything that is made."""
