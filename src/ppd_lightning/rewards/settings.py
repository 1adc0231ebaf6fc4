"""The settings of a reward."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import PathText

Option = str | int | float | bool


@settings
class RewardSettings:
    """What scores an image for its caption: a synthetic user of that name prefers the image with the higher score."""

    target: Annotated[str, Field(min_length=1)]
    """Import path of its class, a `rewards.reward.Reward`: one of this package's, or one's own on Python's path."""
    weights: dict[str, PathText]
    """What it is loaded from, by role: a file, a folder, or OWNER/NAME[:FILE] on the model hub."""
    options: dict[str, Option]
    """Further arguments of its class."""
