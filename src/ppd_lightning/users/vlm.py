"""`user=vlm`: a hidden state of a vision-language model that writes a profile of the user from a few choices."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from ppd_lightning.markdown import code
from ppd_lightning.settings.part import Finding, settings
from ppd_lightning.users.vlm_settings import VlmSettings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ppd_lightning.users.describing import Describing, Instruments
    from ppd_lightning.users.new_choices import NewChoice
    from ppd_lightning.users.shot_sets import ShotSet
    from ppd_lightning.users.shots import Shots


@settings
class VlmUser(VlmSettings):
    """A hidden state of a vision-language model that writes a profile of the user from a few choices."""

    not_served: ClassVar[str] = (
        "the vision-language model wrote no profile from their choices; its answers are in the quarantine"
    )

    not_for_new: ClassVar[str] = ""

    def describing_vlm(self) -> str:
        """See `UserKind`."""
        return self.path

    def describe(self, using: Describing, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
        """See `UserKind`; `vlm_profiles.describe_by_profiles`."""
        from ppd_lightning.users.vlm_profiles import describe_by_profiles

        return describe_by_profiles(self, using, pairs, sets)

    def describe_new(
        self, using: Instruments, fitted: Mapping[str, np.ndarray], people: Mapping[str, Sequence[NewChoice]]
    ) -> np.ndarray:
        """See `UserKind`; the order of the choices counts, and rounding in another batch can change an answer."""
        from ppd_lightning.users.vlm_profiles import describe_new_by_profiles

        return describe_new_by_profiles(self, using, people)

    def seen_with(self, using: Instruments) -> str:
        """See `UserKind`: the vision-language model and the wording of its prompts."""
        from ppd_lightning.storage.fingerprints import fingerprint
        from ppd_lightning.users.vlm_files import vlm_fingerprint, vlm_folder
        from ppd_lightning.users.vlm_prompts import VERSION

        return fingerprint([vlm_fingerprint(vlm_folder(self.path)), VERSION])

    def sentence(self, shots: Shots, rewards: Collection[str] = ()) -> str:
        """See `UserKind`."""
        name = self.path.rstrip("/").rpartition("/")[2]  # the folder's own name: paths of this machine stay here
        return f"A profile that {code(name)} writes of {shots.words()} makes their vector (`{self.position}`)."

    def findings(self) -> Iterator[Finding]:
        """The vision-language model."""
        from ppd_lightning.users.vlm_files import vlm_finding

        yield vlm_finding(self.path)
