"""`user=vlm`: a hidden state of a vision-language model that writes a profile of the user from a few choices."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, Strict

from ppd_lightning.settings.part import Finding, settings
from ppd_lightning.settings.values import Count, Fraction, Natural, NonNegative
from ppd_lightning.users.kind import UserKind

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ppd_lightning.users.describing import Describing
    from ppd_lightning.users.shot_sets import ShotSet
    from ppd_lightning.users.shots import Shots

Position = Literal["last_profile_token", "mean_of_profile", "last_prompt_token"]
"""Of the tokens whose hidden state describes a user."""


@settings
class VlmUser(UserKind):
    """A hidden state of a vision-language model that writes a profile of the user from a few choices."""

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

    not_served: ClassVar[str] = (
        "the vision-language model wrote no profile from their choices; its answers are in the quarantine"
    )

    def describe(self, using: Describing, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
        """See `UserKind`; `vlm_profiles.describe_by_profiles`."""
        from ppd_lightning.users.vlm_profiles import describe_by_profiles

        return describe_by_profiles(self, using, pairs, sets)

    def seen_with(self, using: Describing) -> str:
        """See `UserKind`: the vision-language model and the wording of its prompts."""
        from ppd_lightning.storage.fingerprints import fingerprint
        from ppd_lightning.users.vlm_files import vlm_fingerprint, vlm_folder
        from ppd_lightning.users.vlm_prompts import VERSION

        return fingerprint([vlm_fingerprint(vlm_folder(self.path)), VERSION])

    def sentence(self, shots: Shots, rewards: Collection[str] = ()) -> str:
        """See `UserKind`."""
        name = self.path.rstrip("/").rpartition("/")[2]  # the folder's own name: paths of this machine stay here
        return f"A profile that `{name}` writes of {shots.words()} makes their vector (`{self.position}`)."

    def findings(self) -> Iterator[Finding]:
        """The vision-language model."""
        yield vlm_finding(self.path)


def vlm_finding(path: str) -> Finding:
    """Whether the files of a vision-language model are there and whole."""
    from ppd_lightning.users.vlm_files import vlm_faults

    faults = vlm_faults(path)
    return Finding(f"VLM {path}", "not found" if faults else "there", tuple(faults))
