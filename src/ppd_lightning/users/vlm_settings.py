"""The settings of `user=vlm`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Batch, Fraction, PathText, Pixels, Seed, Temperature
from ppd_lightning.users.kind import UserKind

Position = Literal["last_profile_token", "mean_of_profile", "last_prompt_token"]
"""Of the tokens whose hidden state describes a user."""
Layer = Annotated[int, Strict(), Field(ge=-1_000, le=1_000)]


@settings
class VlmSettings(UserKind):
    """How profiles are written and which hidden state is taken."""

    kind: Literal["vlm"]
    """A profile that a vision-language model writes of a user's choices."""
    path: PathText
    """Folder of LLaVA-OneVision in the layout of transformers, or its name on the model hub."""
    temperature: Temperature
    """Of the answers; 0 takes the likeliest token each time."""
    top_p: Annotated[float, Strict(), Field(gt=0, le=1)]
    """Share of the probability that an answer's tokens are drawn from."""
    max_new_tokens: Batch
    """Longest answer."""
    position: Position
    """Whose hidden state describes the user: the profile's last token, the mean of its tokens, or the prompt's last."""
    layer: Layer
    """Which hidden state: 0 is the embeddings, -1 the last layer after the final norm."""
    batch_size: Batch
    """Sets of shots that are answered at once; on a GPU rounding makes the answers depend on it."""
    image_size: Pixels
    """Longest side in pixels at which an image is handed to the model's own preparation."""
    retries: Annotated[int, Strict(), Field(ge=0, le=1_000)]
    """Further tries, each with another seed, where an answer holds no profile."""
    max_unusable: Fraction
    """Share of the sets that may stay without a profile; with more of them the command stops."""
    seed: Seed
    """Draws the answers, with the pairs of each set."""
