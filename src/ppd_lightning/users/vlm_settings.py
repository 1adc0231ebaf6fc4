"""The settings of `user=vlm`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Count, Fraction, Natural, NonNegative
from ppd_lightning.users.kind import UserKind

Position = Literal["last_profile_token", "mean_of_profile", "last_prompt_token"]
"""Of the tokens whose hidden state describes a user."""


@settings
class VlmSettings(UserKind):
    """How profiles are written and which hidden state is taken."""

    kind: Literal["vlm"]
    """A profile that a vision-language model writes of a user's choices."""
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
