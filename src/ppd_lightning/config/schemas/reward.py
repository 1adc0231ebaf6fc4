"""What scores images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from ppd_lightning.config.schemas.values import CHECKS


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Reward:
    """What scores an image for its caption: a synthetic user of that name prefers the image with the higher score."""

    target: Annotated[str, Field(min_length=1)]
    """Import path of its class, a `rewards.reward.Reward`: one of this package's, or one's own on Python's path."""
    weights: dict[str, str]
    """What it is loaded from, by role: a file, a folder, or OWNER/NAME[:FILE] on the model hub."""
    options: dict[str, str | int | float | bool]
    """Further arguments of its class."""
