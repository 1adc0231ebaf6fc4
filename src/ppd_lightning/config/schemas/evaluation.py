"""How images and embeddings are judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from ppd_lightning.config.schemas.values import CHECKS, Count, Name, NonNegative, Positive


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Evaluation:
    """How the images are judged."""

    comparisons: Count | None
    """Comparisons with the base in each group of people; null is every user with every caption."""
    captions: Annotated[str, Field(min_length=1)]
    """Which captions are drawn: held_out or train of the data, or a file: .tsv with a column Prompt (PartiPrompts),
    .csv or .parquet with a column caption (Pick-a-Pic's validation_unique), or .txt with a caption a line."""
    seeds: Count
    """Noises that each user and caption are drawn with; comparisons counts all of them."""
    rewards: list[Name]
    """Which of the rewards score the images in addition; with mode=synthetic these only score, the others are users."""
    profiles: str | None
    """A text about each user, as for user.texts, or user=vlm's profiles.parquet: it is also compared with the base what
    the base draws for the caption with the user's text appended."""
    judges: Annotated[list[Literal["pixels", "statistics"]], Field(min_length=1)]
    """Independent judges of an image's style; the first decides, the others are reported beside it."""
    bootstrap: Count
    """Resamplings of the people for the interval of a rate."""
    tie: NonNegative
    """Differences of utility up to this count as a tie."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Classification:
    """How it is measured whether embeddings tell users apart."""

    users: Annotated[int, Strict(), Field(ge=2)]
    """How many users are told apart: those with the most pairs."""
    tests: Count
    """Rows of each user that are tested, each with a classifier trained on rows of other pairs."""
    top: Annotated[list[Count], Field(min_length=1)]
    """Sizes of the shortlist in which the right user must be."""
    regularisation: Positive
    """Weight of half the squared length of the classifier's coefficients, beside the summed cross entropy."""
    bootstrap: Count
    """Resamplings of the users for the interval of a rate."""
