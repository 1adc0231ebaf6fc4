"""The frozen model and the branch on it."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from ppd_lightning.config.schemas.values import CHECKS, Count


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Model:
    """The frozen text-to-image model and the user branch on it."""

    name: Literal["emoji", "stage_c_lite", "stage_c"]
    """Which model: the mini Stable Cascade that ships with the project, or Stable Cascade's Stage C of 1B or 3.6B."""
    path: str | None
    """Folder of its weights in the released layout, or a name on the model hub; null is the one that ships."""
    codec_path: str | None
    """The same for the image encoder, previewer, Stage B and Stage A, where they lie elsewhere; null is path."""
    num_tokens: Count
    """User tokens that a user embedding is projected to. With one, attention to it is constant: use several."""
    null_user: Literal["zero", "learned"]
    """What no user means: the base model itself, or a learnt population preference."""
