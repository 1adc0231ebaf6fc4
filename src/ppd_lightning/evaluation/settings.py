"""The settings of `ppd evaluate`, `ppd classify` and `ppd interpolate`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Count, Draws, Name, NonNegative, PathText, Positive, Resamples, User


@settings
class Evaluation:
    """How the images are judged."""

    comparisons: Count | None
    """Comparisons with the base in each group of people; null is every user with every caption."""
    captions: PathText
    """Which captions are drawn: held_out or train of the data, or a file: .txt with a caption a line, or a .csv, .tsv,
    .json, .jsonl or .parquet table with a column caption (Pick-a-Pic's validation_unique) or Prompt (PartiPrompts)."""
    seeds: Draws
    """Noises that each user and caption are drawn with; comparisons counts all of them."""
    rewards: list[Name]
    """Which of the rewards score the images in addition; with mode=synthetic these only score, the others are users."""
    profiles: PathText | None
    """A text about each user, as for user.texts, or user=vlm's profiles.parquet: it is also compared with the base what
    the base draws for the caption with the user's text appended."""
    judges: Annotated[list[Name], Field(min_length=1)]
    """Where people are simulated: which judges say what a person thinks of an image; the first decides, the others are
    reported beside it."""
    others: Literal["all", "drawn"] | None
    """Whether another person judges a person's images, and theirs are compared with them: all draws what is missing (at
    most one more image a comparison), drawn takes only images that are compared anyway, null is neither."""
    preference_draws: Annotated[int, Strict(), Field(ge=0, le=10_000)]
    """Noises and times that the model's preference in each held-out pair is averaged over; 0 does not measure it."""
    preference_pairs: Count | None
    """Held-out pairs of each group of people whose preference is measured, by hash; null is all."""
    bootstrap: Resamples
    """Bootstrap resamples of the people for the interval of a rate."""
    tie: NonNegative
    """Differences of utility up to this count as a tie."""


@settings
class Classification:
    """How it is measured whether embeddings tell users apart."""

    users: Annotated[int, Strict(), Field(ge=2, le=1_000_000)]
    """How many users are told apart: those with the most pairs; a sixth is left to learn directions or types of."""
    tests: Draws
    """Rows of each user that are tested, each with a classifier trained on rows of other pairs."""
    top: Annotated[list[Count], Field(min_length=1)]
    """Sizes of the shortlist in which the right user must be."""
    regularisation: Positive
    """Weight of half the squared length of the classifier's coefficients, beside the summed cross entropy."""
    bootstrap: Resamples
    """Bootstrap resamples of the users for the interval of a rate."""


@settings
class Interpolation:
    """The grid of blends of users that is drawn and scored."""

    users: Annotated[list[User], Field(min_length=2, max_length=4)] | None
    """The corners, by name: people of the data or of generation.people, or synthetic users; null is all of the files,
    or all synthetic users."""
    divisions: Annotated[int, Strict(), Field(ge=1, le=1_000)]
    """Steps from one user to another: with 4, weights are multiples of a quarter and three users make 15 points."""
    captions: Count | None
    """How many of the captions of evaluation.captions are drawn, chosen by hash; null draws all."""
    seeds: Draws
    """Noises that each caption is drawn with, the same at every point."""
