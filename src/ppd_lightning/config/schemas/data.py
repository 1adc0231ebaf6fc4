"""Where pairs come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ppd_lightning.config.schemas.values import CHECKS, Count, Fraction, Natural, Positive, ProperFraction


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Data:
    """Where the pairs come from and which labels are learnt."""

    name: str
    """The source."""
    labels: Literal["people", "rewards"]
    """Whose choices: people's own, or each pair relabelled by one of the rewards (set by mode)."""
    image_size: Count
    """Side in pixels to which images are brought before they are encoded."""
    validation: ProperFraction
    """Share of the training pairs that is held back to watch the training."""
    min_pairs: Count
    """Training pairs that a person needs, others are left out; an unseen person needs one less, to be described by."""
    max_unusable: Fraction
    """Share of the source's rows that may be damaged; with more of them the command stops."""
    workers: Natural
    """Processes that read and decode images beside the one that encodes them; with 0 it does all itself."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class EmojiData(Data):
    """The embedded world: emoji by several vendors, judged by simulated people."""

    name: Literal["emoji"]
    concepts: Count
    """How many concepts of the shipped list make up the world."""
    held_out_concepts: Count
    """How many of them appear in no preference pair: the captions that are evaluated."""
    people: Count
    """How many people's pairs are trained on."""
    unseen_people: Count
    """How many further people are never trained on, only described by their shots."""
    pairs_per_person: Count
    """Choices of each person."""
    choice_temperature: Positive
    """Scale of the noise in a choice; a person's utility has unit deviation over the world's pictures."""
    seed: Natural
    """Draws the people and their choices."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class PeopleData(Data):
    """Choices of real people, with what is kept for the tests chosen by hash."""

    held_out_captions: ProperFraction
    """Share of the captions, chosen by hash, that only the tests see."""
    unseen_users: ProperFraction
    """Share of the users, chosen by hash, that only the tests see."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class PickapicData(PeopleData):
    """Parquet files in Pick-a-Pic v2's schema, images included."""

    name: Literal["pickapic"]
    root: str
    """The folder that holds the parquet files, an fsspec URL of one (s3://, gs://), or OWNER/NAME on the model hub."""
    files: Annotated[str, Field(min_length=1)]
    """Which of its files are read, as a glob such as data/train-*.parquet."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class FolderData(PeopleData):
    """One's own pairs: a table beside images."""

    name: Literal["folder"]
    table: str
    """A CSV, JSONL or parquet file (or its fsspec URL) with the columns caption, image_0, image_1, choice and user."""
