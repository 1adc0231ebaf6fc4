"""The settings of drawing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Batch, Blend, Caption, Draws, Fraction, Guidance, PathText, Seed, User

ADAPTERS = {"trained": "adapter.safetensors", "ema": "adapter-ema.safetensors"}
"""The files of a run's folder that hold the weights which `weights` names."""


@settings
class Generation:
    """How images are drawn."""

    steps: Draws
    """Sampling steps."""
    text_guidance: Guidance
    """Guidance scale of the caption (1 is none), as diffusers counts it."""
    user_guidance: Guidance
    """Guidance scale of the user (0 is the base model, 1 the plain conditional model)."""
    user_guidance_interval: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    """The times [low, high] at which the network is conditioned on the user."""
    batch_size: Batch
    """Images drawn at once."""
    decode_at_once: Batch | None
    """Images of these that the decoder makes at once, which needs more memory for each than drawing does; null is all.
    """
    seeds: Annotated[list[Seed], Field(min_length=1)]
    """A seed is one noise, shared by all users."""
    text_encoder_on: Literal["device", "cpu"]
    """Where the text encoder works: beside the network, or on the CPU, where a GPU's memory is short: slower."""
    decoder: Literal["full", "preview"]
    """What turns latents into images: the full decoder, or the small previewer (one and the same in some models)."""
    weights: Literal["trained", "ema"]
    """Which of the run's weights draw: those of the last step, or their moving average (optimizer.ema_decay)."""
    captions: PathText | Annotated[list[Caption], Field(min_length=1)] | None
    """What is drawn: a list, or a file of captions as for evaluation.captions; null chooses held-out ones by hash."""
    users: Annotated[list[User | Blend], Field(min_length=1)] | None
    """For whom: names, or convex blends, each a list such as [{user: ann, weight: 0.3}, {user: bob, weight: 0.7}]; null
    chooses unseen people by hash."""
    people: list[PathText]
    """Files of `ppd describe`, whose people can be named in users, alone and in blends; with users=null all of them.
    Who has a name of the data gets the file's vector, also where people are evaluated, judged and interpolated."""
    columns: Draws
    """How many are chosen where captions or users is null."""
