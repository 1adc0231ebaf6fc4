"""`user=stated`: what people say of their own taste, or what was written of it, as a text encoder or a VLM reads it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.errors import UserError
from ppd_lightning.settings.part import Finding, settings
from ppd_lightning.settings.values import PathText
from ppd_lightning.users.kind import UserKind
from ppd_lightning.users.vlm_settings import Layer, Position

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ppd_lightning.users.describing import Describing, Instruments
    from ppd_lightning.users.shot_sets import ShotSet
    from ppd_lightning.users.shots import Shots

BATCH = 256
"""Texts that are encoded at once."""


@settings
class StatedUser(UserKind):
    """What people say of their taste, or what was written of it, in words."""

    kind: Literal["stated"]
    """A text about each user."""
    texts: PathText
    """A text for each user: JSON of names and texts, or a CSV, JSON or parquet table with columns user and text."""
    reader: Literal["text_encoder", "vlm"]
    """What reads it: the model's own text encoder, whose pooled state it is, or a vision-language model."""
    path: PathText | None
    """Folder or hub name of that vision-language model, as for user=vlm."""
    position: Position
    """Whose hidden state of it is taken, as for user=vlm."""
    layer: Layer
    """Which of its hidden states, as for user=vlm."""

    by_shots: ClassVar[bool] = False
    not_for_new: ClassVar[str] = ""
    by_words: ClassVar[bool] = True

    def describing_vlm(self) -> str | None:
        """See `UserKind`."""
        return self.path if self.reader == "vlm" else None

    def contradictions(self) -> Iterator[str]:
        """See `Part`."""
        if self.reader == "vlm" and self.path is None:
            yield (
                "user.path: user.reader=vlm reads the texts with a vision-language model, and none is named; give its "
                "folder or its name on the model hub, or use user.reader=text_encoder"
            )

    def describe(self, using: Describing, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
        """See `UserKind`; only the users of the sets count.

        Raises:
            UserError: the table of texts is missing or faulty, users have no text (all of them are named, or some), or
                files of the reader are missing.
        """
        from ppd_lightning.users.texts import read_texts

        texts = read_texts(Path(self.texts))
        absent = sorted({one.user for one in sets} - texts.keys())
        if absent:
            named = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
            raise UserError(f"user.texts: {self.texts} has no text of {named}; add them, for they are in the pairs")
        return self._read([texts[one.user] for one in sets], using)

    def describe_words(self, using: Instruments, people: Mapping[str, str]) -> np.ndarray:
        """See `UserKind`; equal to what rounding makes of other batches."""
        return self._read(list(people.values()), using)

    def _read(self, own: list[str], using: Instruments) -> np.ndarray:
        """The texts as the reader sees them, (R, E) float32."""
        if self.reader == "vlm":
            from ppd_lightning.users.vlm_writer import ProfileWriter, vlm_dtype

            assert self.path is not None  # see contradictions
            dtype = vlm_dtype(using.device)
            writer = ProfileWriter(self.path, using.device, dtype, position=self.position, layer=self.layer)
            return writer.states_of_texts(own)
        import numpy as np

        from ppd_lightning.users.captions import pooled_states

        encoder = using.backbone.load_text(using.device)
        parts = [
            pooled_states(using.backbone, encoder(own[begin : begin + BATCH])) for begin in range(0, len(own), BATCH)
        ]
        return np.concatenate(parts)

    def seen_with(self, using: Instruments) -> str:
        """See `UserKind`: the texts and what reads them."""
        from ppd_lightning.storage.fingerprints import fingerprint
        from ppd_lightning.users.texts import read_texts

        return fingerprint([fingerprint(read_texts(Path(self.texts))), *self._reader(using)])

    def seen_by(self, using: Instruments) -> str:
        """See `UserKind`: what reads the texts."""
        from ppd_lightning.storage.fingerprints import fingerprint

        return fingerprint(self._reader(using))

    def _reader(self, using: Instruments) -> list[str | int]:
        if self.reader == "vlm":
            from ppd_lightning.users.vlm_files import vlm_fingerprint, vlm_folder
            from ppd_lightning.users.vlm_prompts import VERSION

            assert self.path is not None  # see contradictions
            return [vlm_fingerprint(vlm_folder(self.path)), VERSION]
        model = using.backbone
        return [model.fingerprint("text_encoder"), model.fingerprint("tokenizer")]

    def sentence(self, shots: Shots, rewards: Collection[str] = ()) -> str:
        """See `UserKind`."""
        return "Words about a user's taste make their vector."

    def findings(self) -> Iterator[Finding]:
        """The vision-language model, where it reads; and the texts."""
        from ppd_lightning.users.texts import read_texts

        if self.reader == "vlm":
            from ppd_lightning.users.vlm_files import vlm_finding

            yield vlm_finding(str(self.path))
        try:
            yield Finding(f"texts {self.texts}", f"{len(read_texts(Path(self.texts)))} users")
        except UserError as error:
            yield Finding(f"texts {self.texts}", "not readable", tuple(error.faults))
