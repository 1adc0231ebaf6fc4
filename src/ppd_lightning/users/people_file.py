"""Described people as a file, one vector a name.

E = width of an embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppd_lightning.errors import UserError
from ppd_lightning.settings.plain_text import user_name
from ppd_lightning.storage.checked_tensors import OtherKindError, read_arrays, write_arrays
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.users.vectors_file import require_vectors

FORMAT = "people 2"
EARLIER = "people 1"
"""The format without a checksum."""
DAMAGE = (ValueError, KeyError, TypeError, AttributeError)
"""What reading a damaged file raises."""
RESERVED = "__metadata__"
"""The one name that safetensors keeps for itself."""


@dataclass(frozen=True)
class DescribedPeople:
    """People with their vectors.

    vectors: (E,) float32, by name (as `plain_text.user_name` has it). describer: `Describer.fingerprint` of what
    described them. run: the name of the run whose it was. facts: by name, JSON: choices, pairs (their ids), stretch (by
    what the vector was multiplied for their number, see `SetSpread`), distance (from the centre; from 1 on it is drawn
    back, see `Scale`).
    """

    vectors: Mapping[str, np.ndarray]
    describer: str
    run: str
    facts: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write `path`, whole or not at all; the same people give the same bytes.

        Raises:
            UserError: somebody has a name that such a file cannot hold.
        """
        if RESERVED in self.vectors:
            raise UserError(f"{RESERVED}: no name for a person in a safetensors file; use another")
        header = {
            "format": FORMAT,
            "describer": self.describer,
            "run": self.run,
            "people": self.facts,
        }
        write_arrays(path, self.vectors, header)

    @classmethod
    def open(cls, path: Path) -> DescribedPeople:
        """Read what `save` wrote.

        Raises:
            UserError: the file is missing, damaged or something else.
        """
        try:
            arrays, header = read_arrays(path, FORMAT, EARLIER)
            own = dict(header["people"])
            vectors = {user_name(name): arrays[name] for name in own}
            if len(vectors) < len(own) or "" in vectors:
                raise UserError(f"{path}: two people have one name, or somebody has none; run `ppd describe` again")
            facts = {user_name(name): facts for name, facts in own.items()}
            people = cls(vectors, str(header["describer"]), str(header["run"]), facts)
        except FileNotFoundError:
            raise UserError(f"{path}: there is no such file of people; `ppd describe` writes one") from None
        except OtherKindError:
            raise UserError(f"{path}: no file of described people; `ppd describe` writes such") from None
        except DAMAGE as error:
            raise UserError(f"{path}: damaged, or no file of people ({error}); run `ppd describe` again") from error
        require_vectors(vectors, path, "run `ppd describe` again")
        return people


def people_fingerprint(people: Mapping[str, np.ndarray]) -> str:
    """12 hex digits for names and vectors."""
    return fingerprint({name: hashlib.sha256(vector.tobytes()).hexdigest() for name, vector in people.items()})


def read_people(paths: Iterable[str | Path], describer: str) -> dict[str, np.ndarray]:
    """The people of several files, by name.

    Args:
        describer: `Describer.fingerprint` of the run that they are to be drawn by.

    Raises:
        UserError: a file is missing or damaged, was made for people of another training, or a name is in two files.
    """
    found: dict[str, np.ndarray] = {}
    for path in paths:
        people = DescribedPeople.open(Path(path))
        if people.describer != describer:
            raise UserError(
                f"{path}: described for {people.run}, and this training describes people otherwise; run "
                "`ppd describe` for this one"
            )
        twice = sorted(found.keys() & people.vectors.keys())
        if twice:
            raise UserError(f"{path}: {', '.join(twice)}: in another of these files too; rename one of the two")
        found |= people.vectors
    return found
