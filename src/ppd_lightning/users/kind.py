"""Kinds of user: what a person is described by, and what of it their vector is.

A kind is a part (`settings.part`): one class derived from `UserKind` and one file in `conf/user`.

N = users, R = sets of shots, E = width of an embedding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from ppd_lightning.settings.part import Part, settings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ppd_lightning.rewards.encoder_code import EncoderCode
    from ppd_lightning.rewards.settings import RewardSettings
    from ppd_lightning.users.choice_model import ChoiceModel
    from ppd_lightning.users.describing import Describing, Instruments
    from ppd_lightning.users.new_choices import NewChoice
    from ppd_lightning.users.scale import Scale
    from ppd_lightning.users.shot_sets import ShotSet
    from ppd_lightning.users.shots import Shots


@settings
class UserKind(Part):
    """How a user is described to the model.

    A kind that needs the data defines `describe` and `seen_with`. One whose vectors follow from who the users are sets
    `described` and `by_shots` to False and defines `vectors`. One that defines `describe_new` as well can describe
    people who are not in the data.
    """

    kind: str
    """What describes a user: choices of their own, their words, or nothing but who they are."""

    described: ClassVar[bool] = True
    """Whether `ppd embed` has to describe the users, with `describe`; else `vectors` gives their embeddings."""
    by_shots: ClassVar[bool] = True
    """Whether the sets of shots that the group shots chooses describe them; else there is one empty set a user."""
    seen_only: ClassVar[bool] = False
    """Whether only the users who are trained on have a vector; for kinds that are not described."""
    same_for_all: ClassVar[bool] = False
    """Whether everybody has the same vector, so that nothing personal can be learnt."""
    not_served: ClassVar[str] = ""
    """Why it leaves people out, for messages; empty where everybody in the pairs has a vector."""

    not_for_new: ClassVar[str] = "its class has no method describe_new"
    """Why nobody can be described who is not in the data, for messages; empty where `describe_new` does it."""

    not_for_pools: ClassVar[str] = "its vectors do not follow from single choices"
    """Why nobody can say which pair to show next, for messages; empty where `choice_model` does it."""

    mean_of_choices: ClassVar[bool] = False
    """Whether vectors are means over choices: they are shorter the more choices there are (`SetSpread`)."""

    by_words: ClassVar[bool] = False
    """Whether new people are described by a text each (`describe_words`), and not by choices."""

    @property
    def learns_of_people(self) -> bool:
        """Whether vectors also depend on what `describe` learns of other people's choices (`people_learnt_of`).

        Then `ppd classify` has it learn of people who are not told apart.
        """
        return False

    def rewards_used(self, rewards: Mapping[str, RewardSettings]) -> dict[str, RewardSettings]:
        """Those of the chosen rewards, by name, that describe users."""
        return {}

    def describing_vlm(self) -> str | None:
        """Folder or hub name of the vision-language model that describes users; None where none does."""
        return None

    def contradictions_with(self, labels: str, rewards: Collection[str]) -> Iterator[str]:
        """As `contradictions`, with `data.labels` and the names of the chosen rewards."""
        yield from ()

    def describe(self, using: Describing, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
        """Raw vectors (R, E) floats of sets of shots, not standardised; a row of NaN is a set that cannot be described.

        A set's vector must not depend on which others are described with it.

        Args:
            pairs: `data.pairs.PAIRS_SCHEMA`, of all splits; the sets name its rows.

        Raises:
            UserError: what it needs is missing.
        """
        raise TypeError(f"{type(self).__name__} is described and has no method describe")

    def fitted(self, using: Describing, pairs: pa.Table) -> dict[str, np.ndarray]:
        """What `describe` learnt from the data and `describe_new` needs, as arrays by name; kept with each run.

        Raises:
            UserError: as `describe`.
        """
        return {}

    def describe_new(
        self, using: Instruments, fitted: Mapping[str, np.ndarray], people: Mapping[str, Sequence[NewChoice]]
    ) -> np.ndarray:
        """Raw vectors (N, E) of people who are not in the data, by the choices of each, at least one.

        The same choices have the same vector as by `describe`. A kind that can do it has an empty `not_for_new`.

        Args:
            fitted: what the method of that name gave.

        Raises:
            UserError: what it needs is missing, or a picture cannot be seen.
        """
        raise TypeError(f"{type(self).__name__}: {self.not_for_new}")

    def describe_words(self, using: Instruments, people: Mapping[str, str]) -> np.ndarray:
        """As `describe_new`, of people who tell their taste in a text each; for kinds that are `by_words`.

        Raises:
            UserError: what it needs is missing.
        """
        raise TypeError(f"{type(self).__name__}: has no method describe_words")

    def choice_model(
        self, using: Instruments, fitted: Mapping[str, np.ndarray], scale: Scale, shots: int
    ) -> ChoiceModel:
        """How vectors follow from single choices. A kind that can say it has an empty `not_for_pools`.

        Args:
            fitted: what the method of that name gave.
            scale: of the training's embeddings. shots: choices of a set of it.

        Raises:
            UserError: what it needs is missing.
        """
        raise TypeError(f"{type(self).__name__}: {self.not_for_pools}")

    def seen_by(self, using: Instruments) -> str:
        """A fingerprint of the networks that see the choices: where others are here, nobody new is described."""
        return self.seen_with(using)

    def encoder_code(self, using: Instruments) -> EncoderCode | str:
        """What an export needs to describe new people by their choices; or why it cannot, in a sentence.

        Raises:
            UserError: files of the networks are missing.
        """
        if self.not_for_new:
            return f"user={self.kind}: nobody new can be described: {self.not_for_new}"
        return (
            f"user={self.kind}: this folder describes nobody by itself; `ppd describe` of ppd-lightning does, with "
            "describe.of=FOLDER, and --people takes the file that it writes"
        )

    def seen_with(self, using: Instruments) -> str:
        """A fingerprint of everything that `describe` depends on beside the settings, the pairs and their images."""
        return ""

    def vectors(self, users: Sequence[str]) -> np.ndarray:
        """The embeddings (N, E) float32 of all users who have one, in alphabetical order; for kinds not described."""
        raise TypeError(f"{type(self).__name__} is not described and has no method vectors")

    def sentence(self, shots: Shots, rewards: Collection[str] = ()) -> str:
        """How a user's vector is made, in a sentence for the model card.

        Args:
            shots: what chooses the shots.
            rewards: the names of those that describe users.
        """
        return f"{shots.words()} make their vector (`user.kind={self.kind}`)."
