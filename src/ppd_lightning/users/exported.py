"""New people in an export: by a table of choices, or by a file of people; `ppd export` carries this.

E = width of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ppd_lightning.errors import UserError
from ppd_lightning.users.choice_features import PictureEncoder, vectors_of_new
from ppd_lightning.users.describer import NAME, Describer
from ppd_lightning.users.new_choices import NewChoice, choices_of_table
from ppd_lightning.users.people_file import read_people


@dataclass(frozen=True)
class ExportedKind:
    """How people are described by pictures, without the settings of a training; see `describer.Describes`.

    kind: `UserKind.kind` of the training. encode, encoder: what `encoder_code.EncoderCode.opens` gives.
    """

    kind: str
    encode: PictureEncoder
    encoder: str
    by_words: ClassVar[bool] = False
    not_for_new: ClassVar[str] = ""

    def seen_by(self, using: None) -> str:
        """The fingerprint of the encoder."""
        return self.encoder

    def describe_new(
        self, using: None, fitted: Mapping[str, np.ndarray], people: Mapping[str, Sequence[NewChoice]]
    ) -> np.ndarray:
        """Raw vectors of people, by the choices of each."""
        return vectors_of_new(self.encode, fitted, list(people.values()))

    def describe_words(self, using: None, people: Mapping[str, str]) -> np.ndarray:
        """Nobody is described so; see `by_words`."""
        raise TypeError(f"user={self.kind} describes nobody by words")


def new_people(
    folder: Path,
    open_kind: Callable[[], ExportedKind],
    *,
    choices: str | None = None,
    people: str | None = None,
    to: str | None = None,
) -> dict[str, np.ndarray]:
    """Vectors (E,) float32 of new people, by name.

    Args:
        folder: of the export.
        open_kind: gives what describes them, or raises a UserError that says why nothing here does.
        choices: a table; its form is that of `data.own_table`.
        people: a file that `to` or `ppd describe` wrote.
        to: where those who are described are written to.

    Raises:
        UserError: rows are faulty, or files are missing or of another training.
    """
    if to is not None and (choices is None or Path(to).suffix != ".safetensors"):
        raise UserError(f"--to: {to} is where people of --choices are written, and must end in .safetensors")
    if choices is None and people is None:
        return {}
    kind = open_kind() if choices is not None or not (folder / NAME).exists() else None
    describer = Describer.open(folder / NAME, "fetch it again")
    found = {} if people is None else read_people([people], describer.fingerprint())
    if choices is not None and kind is not None:
        described = describer.describe(kind, None, choices_of_table(choices, "--choices"), folder.resolve().name)
        found |= described.vectors
        if to is not None:
            described.save(Path(to))
    return found
