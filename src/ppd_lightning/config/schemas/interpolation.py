"""Between which users it is drawn."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from ppd_lightning.config.schemas.values import CHECKS, Count, Name


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Interpolation:
    """The grid of blends of synthetic users that is drawn and scored."""

    users: Annotated[list[Name], Field(min_length=2, max_length=4)] | None
    """The corners, by name; null is all synthetic users."""
    divisions: Count
    """Steps from one user to another: with 4, weights are multiples of a quarter and three users make 15 points."""
    captions: Count | None
    """How many of the captions of evaluation.captions are drawn, chosen by hash; null draws all."""
    seeds: Count
    """Noises that each caption is drawn with, the same at every point."""
