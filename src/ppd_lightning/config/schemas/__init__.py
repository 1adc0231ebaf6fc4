"""What every key of a configuration is: its type, its range and what it means.

The values come from `conf/` (one folder a group, one file an option), so nothing has a default here. These are frozen
dataclasses whose types pydantic checks; `compose.compose` makes a `Config` from Hydra overrides.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ppd_lightning.config.schemas.data import Data, EmojiData, FolderData, PeopleData, PickapicData
from ppd_lightning.config.schemas.evaluation import Classification, Evaluation
from ppd_lightning.config.schemas.generation import Generation
from ppd_lightning.config.schemas.interpolation import Interpolation
from ppd_lightning.config.schemas.judge import OpenaiJudge, VisionJudge, VlmJudge
from ppd_lightning.config.schemas.model import Model
from ppd_lightning.config.schemas.report import Report
from ppd_lightning.config.schemas.reward import Reward
from ppd_lightning.config.schemas.training import Logger, Objective, Optimizer, Trainer
from ppd_lightning.config.schemas.user import (
    ClipUser,
    ConstantUser,
    DescribedUser,
    FeaturesUser,
    IdUser,
    OneHotUser,
    Position,
    RewardUser,
    Shots,
    StatedUser,
    User,
    VlmUser,
)
from ppd_lightning.config.schemas.values import CHECKS, Blend, Name, Natural

__all__ = [
    "Blend",
    "Classification",
    "ClipUser",
    "Config",
    "ConstantUser",
    "Data",
    "DescribedUser",
    "EmojiData",
    "Evaluation",
    "FeaturesUser",
    "FolderData",
    "Generation",
    "IdUser",
    "Interpolation",
    "Logger",
    "Model",
    "Objective",
    "OneHotUser",
    "OpenaiJudge",
    "Optimizer",
    "PeopleData",
    "PickapicData",
    "Position",
    "Report",
    "Reward",
    "RewardUser",
    "Shots",
    "StatedUser",
    "Trainer",
    "User",
    "VisionJudge",
    "VlmJudge",
    "VlmUser",
]


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Config:
    """One run of any verb."""

    data: Annotated[EmojiData | PickapicData | FolderData, Field(discriminator="name")]
    model: Model
    user: Annotated[
        FeaturesUser | ClipUser | RewardUser | VlmUser | StatedUser | IdUser | OneHotUser | ConstantUser,
        Field(discriminator="kind"),
    ]
    shots: Shots
    objective: Objective
    optimizer: Optimizer
    trainer: Trainer
    logger: Logger
    generation: Generation
    evaluation: Evaluation
    judge: Annotated[OpenaiJudge | VlmJudge, Field(discriminator="kind")]
    rewards: dict[Name, Reward]
    """What scores images, by name (chosen as a list: reward=[clip,aesthetic])."""
    classification: Classification
    interpolation: Interpolation
    report: Report
    mode: Literal["real", "synthetic"]
    """What belongs together: people's own choices and their shots, or rewards and one-hot users."""
    seed: Natural
    """Draws the branch's first weights and, with epoch and pair, every timestep, noise and dropped user."""
    output: str
    """Folder for everything that is made."""
