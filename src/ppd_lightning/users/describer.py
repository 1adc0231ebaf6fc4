"""What describing people needs beside a run's settings, as a file: it lies with the embeddings, and with each run.

A person who was not in the data is described by it as the training's own people were, without any of their data.

E = width of an embedding, N = people.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from ppd_lightning.errors import UserError
from ppd_lightning.storage.checked_tensors import OtherKindError, read_arrays, write_arrays
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.users.new_choices import NewChoice
from ppd_lightning.users.people_file import DescribedPeople
from ppd_lightning.users.scale import Scale
from ppd_lightning.users.set_spread import SetSpread

log = logging.getLogger(__name__)

NAME = "describer.safetensors"
"""Of the file, in the folder of the embeddings, of a run, and of an export."""
FORMAT = "describer 2"
EARLIER = "describer 1"
"""The format without a checksum."""
Using = TypeVar("Using", contravariant=True)


class Describes(Protocol[Using]):
    """What makes raw vectors of new people: a `kind.UserKind`, with the networks of `using`; or what an export has."""

    @property
    def kind(self) -> str:
        """Its name, for messages."""

    @property
    def by_words(self) -> bool:
        """Whether people are described by a text each."""

    @property
    def mean_of_choices(self) -> bool:
        """Whether vectors are means over choices, and so shorter the more there are."""

    @property
    def not_for_new(self) -> str:
        """Why nobody new can be described; empty where somebody can."""

    def seen_by(self, using: Using) -> str:
        """A fingerprint of the networks."""

    def describe_new(
        self, using: Using, fitted: Mapping[str, np.ndarray], people: Mapping[str, Sequence[NewChoice]]
    ) -> np.ndarray:
        """Raw vectors (N, E) of people by their choices."""

    def describe_words(self, using: Using, people: Mapping[str, str]) -> np.ndarray:
        """Raw vectors (N, E) of people by a text each."""


@dataclass(frozen=True)
class Describer:
    """How the people of a training were described.

    scale: of their embeddings. fitted: `UserKind.fitted`. facts: JSON: kind, `shots` (choices of a set), `people`
    (who were trained on), `seen_by` (`UserKind.seen_by`), `spread` (`SetSpread`; None where lengths do not
    follow from the number of choices, or how is not known), `key` (what the embeddings were made from).
    """

    scale: Scale
    fitted: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]

    def fingerprint(self) -> str:
        """12 hex digits: people who were described by another one are strangers to a training."""
        digests = {
            name: hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
            for name, array in self._arrays().items()
        }
        return fingerprint([digests, self.facts])

    def save(self, path: Path) -> None:
        """Write it, whole or not at all; the same one gives the same bytes."""
        header = {"format": FORMAT, "version": version("ppd-lightning"), "facts": self.facts}
        write_arrays(path, self._arrays(), header)

    @classmethod
    def open(cls, path: Path, remedy: str = "run `ppd embed` with the same settings") -> Describer:
        """Read what `save` wrote.

        Raises:
            UserError: the file is missing, damaged or something else; `remedy` says what to do.
        """
        try:
            arrays, header = read_arrays(path, FORMAT, EARLIER)
            facts = dict(header["facts"])
            scale = Scale.of_arrays({name[6:]: array for name, array in arrays.items() if name.startswith("scale.")})
        except FileNotFoundError:
            raise UserError(f"{path}: this file, by which people are described, is missing; {remedy}") from None
        except OtherKindError:
            raise UserError(f"{path}: says nothing of how people are described; {remedy}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: damaged ({error}); {remedy}") from error
        fitted = {name[7:]: array for name, array in arrays.items() if name.startswith("fitted.")}
        return cls(scale, fitted, facts)

    def describe(
        self,
        kind: Describes[Using],
        using: Using,
        people: Mapping[str, Sequence[NewChoice]] | Mapping[str, str],
        run: str,
        *,
        quiet: bool = False,
    ) -> DescribedPeople:
        """People who were not in the data, by the choices of each, at least one, or by a text each.

        A vector that is a mean over more choices than a set of the training is lengthened (`SetSpread`). Who lies
        outside of those who were trained on is drawn back to where these end (`Scale`), with a warning.

        Args:
            kind: as the run describes people.
            run: the name of the run, for the file of people.
            quiet: log nothing of vectors that are less certain than those of the training.

        Raises:
            UserError: the networks of the kind are missing or other ones, or a picture cannot be seen.
        """
        self.check_sight(kind, using)
        texts = {name: told for name, told in people.items() if isinstance(told, str)}
        choices = {name: told for name, told in people.items() if not isinstance(told, str)}
        if texts if not kind.by_words else choices:
            needs = "a text each, with the columns user and text" if kind.by_words else "choices between pictures"
            raise UserError(f"user={kind.kind}: new people are described by {needs}")
        raw = kind.describe_words(using, texts) if texts else kind.describe_new(using, self.fitted, choices)
        undescribed = [name for name, row in zip(people, raw, strict=True) if not np.isfinite(row).all()]
        if undescribed:
            raise UserError(f"{name}: these choices could not be described; give others" for name in undescribed)
        counts = [len(choices[name]) if name in choices else self.facts["shots"] for name in people]
        stretches = self._stretches(kind, counts, quiet)
        vectors, ratios = self.scale.embeddings(raw, np.array(stretches))
        facts: dict[str, Any] = {}
        for name, count, stretch, ratio in zip(people, counts, stretches, ratios.tolist(), strict=True):
            pairs = [one.pair_id for one in choices.get(name, ())]
            facts[name] = {
                "choices": len(pairs),
                "pairs": pairs,
                "stretch": round(stretch, 4),
                "distance": round(ratio, 4),
            }
            if name in texts:
                facts[name]["text"] = fingerprint(texts[name])
            if not quiet:
                self._tell(name, count, stretch, ratio)
        named = dict(zip(people, vectors, strict=True))
        return DescribedPeople(named, self.fingerprint(), run, facts)

    def check_sight(self, kind: Describes[Using], using: Using) -> None:
        """Refuse other networks than those that saw the training's choices.

        Raises:
            UserError: they are missing or other ones.
        """
        found, expected = kind.seen_by(using), self.facts["seen_by"]
        if found != expected:
            raise UserError(
                f"user={kind.kind}: what sees the choices is {found} here and was {expected} when the run was trained; "
                "bring back its files"
            )

    def _stretches(self, kind: Describes[Any], counts: Sequence[int], quiet: bool) -> list[float]:
        """By what vectors of so many choices each are multiplied; a warning where that is not known."""
        spread = self.facts.get("spread") if kind.mean_of_choices else None
        if spread:
            return [SetSpread.of_facts(spread).stretch(count) for count in counts]
        if not quiet and kind.mean_of_choices and any(count > self.facts["shots"] for count in counts):
            log.warning(
                "by how much vectors of more choices than %d should be lengthened is not known of this run, and they "
                "stay as they are: %s",
                self.facts["shots"],
                "nobody has two different sets of choices (shots.groupings=2 and shots.n + 1 pairs are needed)"
                if "spread" in self.facts
                else "an earlier version described its people; train anew, with another folder as output",
            )
        return [1.0] * len(counts)

    def _tell(self, name: str, choices: int, stretch: float, ratio: float) -> None:
        """Say where a vector is less certain than those of the training."""
        usual = self.facts["shots"]
        if choices < usual:
            log.warning(
                "%s: described by %d of the %d choices that a set has in this run; such a vector strays about %.1f "
                "times as far",
                name,
                choices,
                usual,
                (usual / choices) ** 0.5,
            )
        elif choices > usual:
            log.info(
                "%s: described by all %d choices; this run's sets have %d%s",
                name,
                choices,
                usual,
                f", and the vector is made {stretch:.2f} times as long" if stretch != 1 else "",
            )
        if ratio > 1:
            log.warning(
                "%s: %.1f times as far from the centre as this training reaches, and drawn back to where it ends; "
                "images may fit this person less",
                name,
                ratio,
            )

    def _arrays(self) -> dict[str, np.ndarray]:
        scale = {f"scale.{name}": array for name, array in self.scale.arrays().items()}
        return scale | {f"fitted.{name}": array for name, array in self.fitted.items()}


def open_of_run(folder: Path, kind: Describes[Any]) -> Describer:
    """How the people of a run, or of an export, were described.

    Raises:
        UserError: its kind describes nobody new, it is not finished, or the file is damaged.
    """
    if kind.not_for_new:
        raise UserError(f"user={kind.kind}: nobody new can be described: {kind.not_for_new}")
    return Describer.open(folder / NAME, "run `ppd train` with the same settings")
