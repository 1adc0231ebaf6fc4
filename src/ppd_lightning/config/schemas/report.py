"""What a report is about."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ppd_lightning.config.schemas.values import CHECKS


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Report:
    """What a sweep is told of."""

    sweep: str | None
    """A sweep's folder; null is the one that was last worked on in output."""
    metric: Annotated[str, Field(min_length=1)] | None
    """The number that names the best run, as a column of runs.csv; null is the first main number that was measured."""
    goal: Literal["maximize", "minimize"]
    """Which way that number is better."""
