"""The settings of `ppd studio`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Count, PathText

Port = Annotated[int, Strict(), Field(ge=0, le=65_535)]


@settings
class Studio:
    """What the studio shows, where it listens, and what it keeps."""

    of: PathText | None
    """The folder of a run or of an export; null is the run of this configuration."""
    rewards: PathText | None
    """A run or export whose users are rewards, for the triangle; null is the folder rewards in that of studio.of, else
    three people are blended."""
    pairs: PathText | None
    """A table of the pairs that are shown, as for data.table; its choices do not count. null is pairs.parquet in the
    folder of studio.of, else pairs of the run's data, else pictures that the model draws for people it knows."""
    captions: PathText | Annotated[list[str], Field(min_length=1)] | None
    """What is drawn for visitors: a list, or a file of captions as for generation.captions; null is captions.txt in the
    folder of studio.of, else held-out captions of the run."""
    host: Annotated[str, Field(min_length=1)]
    """The address that it listens on: 127.0.0.1 is this machine alone, 0.0.0.0 everybody who reaches it."""
    port: Port
    """0 takes one that is free."""
    collect: PathText | None
    """A CSV table that the choices of visitors who agree are added to, in the columns of one's own pairs; null keeps
    nothing."""
    consent: Annotated[str, Field(min_length=1)]
    """What visitors agree to before anything of theirs is kept."""
    picks: Annotated[int, Strict(), Field(ge=1, le=100)]
    """Choices after which pictures are drawn; visitors may go on."""
    pool: Annotated[int, Strict(), Field(ge=4, le=1_000)]
    """Pairs that are taken of the data or drawn, where no table has any."""
    longest: Annotated[int, Strict(), Field(ge=1, le=10_000)]
    """Letters of a caption or a name."""
    visitors: Count
    """Visits that are remembered at once; the one that was idle longest is forgotten first."""
    waiting: Count
    """Requests that wait at most; more are refused."""
    draws: Count
    """Drawings of a visitor in a minute."""
