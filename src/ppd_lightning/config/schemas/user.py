"""How users are described, and by which choices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from ppd_lightning.config.schemas.values import CHECKS, Count, Fraction, Natural, NonNegative, Positive

Position = Literal["last_profile_token", "mean_of_profile", "last_prompt_token"]


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class User:
    """How a user is described to the model."""

    kind: str
    """What describes a user: choices of their own, their words, or nothing but who they are."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class DescribedUser(User):
    """By a few of their own choices: those that the group shots picks."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class FeaturesUser(DescribedUser):
    """Features of the images of the choices, on the directions in which users differ most."""

    kind: Literal["features"]
    encoder: Literal["efficientnet_lite0", "codec"]
    """What sees the shots: a frozen ImageNet network, or the model's own codec."""
    components: Count
    """Width of an embedding: directions in which users differ most, beside how each one's choices vary."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class ClipUser(DescribedUser):
    """Means of a reward's features of the preferred images, such as CLIP's, and of their differences to the others."""

    kind: Literal["clip"]
    reward: str
    """Which of the rewards sees the images, by its vision tower; what it saw is stored once for users and labels."""
    components: Count | None
    """Width of an embedding, as for user=features; null keeps every feature."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class RewardUser(DescribedUser):
    """How much the score of each of the rewards counts in the choices, by a logistic regression."""

    kind: Literal["reward"]
    regularisation: Positive
    """Weight of half the squared length of the coefficients; scores have unit deviation over the training pairs."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class VlmUser(DescribedUser):
    """A hidden state of a vision-language model that writes a profile of the user from a few choices."""

    kind: Literal["vlm"]
    path: str
    """Folder of LLaVA-OneVision in the layout of transformers, or its name on the model hub."""
    temperature: NonNegative
    """Of the answers; 0 takes the likeliest token each time."""
    top_p: Annotated[float, Strict(), Field(gt=0, le=1)]
    """Share of the probability that an answer's tokens are drawn from."""
    max_new_tokens: Count
    """Longest answer."""
    position: Position
    """Whose hidden state describes the user: the profile's last token, the mean of its tokens, or the prompt's last."""
    layer: Annotated[int, Strict()]
    """Which hidden state: 0 is the embeddings, -1 the last layer after the final norm."""
    batch_size: Count
    """Sets of shots that are answered at once; on a GPU rounding makes the answers depend on it."""
    image_size: Count
    """Longest side in pixels at which an image is handed to the model's own preparation."""
    retries: Natural
    """Further tries, each with another seed, where an answer holds no profile."""
    max_unusable: Fraction
    """Share of the sets that may stay without a profile; with more of them the command stops."""
    seed: Natural
    """Draws the answers, with the pairs of each set."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class StatedUser(User):
    """What people say of their taste, or what was written of it, in words."""

    kind: Literal["stated"]
    texts: str
    """A text for each user: JSON of names and texts, or a CSV, JSONL or parquet table with columns user and text."""
    reader: Literal["text_encoder", "vlm"]
    """What reads it: the model's own text encoder, whose pooled state it is, or a vision-language model."""
    path: str | None
    """Folder or hub name of that vision-language model, as for user=vlm."""
    position: Position
    """Whose hidden state of it is taken, as for user=vlm."""
    layer: Annotated[int, Strict()]
    """Which of its hidden states, as for user=vlm."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class IdUser(User):
    """A dimension for each user who is trained on: the paper's naive baseline, which cannot serve anybody else."""

    kind: Literal["id"]


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class OneHotUser(User):
    """A dimension for each synthetic user, whose choices are computed scores."""

    kind: Literal["one_hot"]


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class ConstantUser(User):
    """The same for everybody: what objective=diffusion_dpo learns."""

    kind: Literal["constant"]


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Shots:
    """Which of a user's choices describe them."""

    n: Count
    """Choices that describe a user."""
    select: Literal["random", "diverse", "caption_aware"]
    """By hash, as unlike as can be in their captions, or with captions nearest to the one that is asked for."""
    groupings: Count
    """Different sets of them made for each user; with caption_aware it is one for each caption instead."""
