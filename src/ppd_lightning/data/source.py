"""Where pairs come from: a source writes, or points to, parquet files in Pick-a-Pic v2's schema.

A source is a part (`settings.part`): one class derived from `Source` or `PeopleSource`, and one file in `conf/data`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, Strict

from ppd_lightning.data.parquet_files import ParquetFiles, SourceLines
from ppd_lightning.settings.part import Finding, Part, settings
from ppd_lightning.settings.values import Count, Fraction, Pixels, ProperFraction

if TYPE_CHECKING:
    from ppd_lightning.data.prepared import PreparedData
    from ppd_lightning.data.simulation import Simulation


@settings
class Source(Part):
    """Where the pairs come from and which labels are learnt."""

    name: str
    """The source."""
    labels: Literal["people", "rewards"]
    """Whose choices: people's own, or each pair relabelled by one of the rewards (set by mode)."""
    image_size: Pixels
    """Side in pixels to which images are brought before they are encoded."""
    validation: ProperFraction
    """Share of the training pairs that is held back to watch the training."""
    min_pairs: Count
    """Training pairs that a person needs, others are left out; an unseen person needs one less, to be described by."""
    max_unusable: Fraction
    """Share of the source's rows that may be damaged; with more of them the command stops."""
    workers: Annotated[int, Strict(), Field(ge=0, le=1_024)]
    """Processes that read and decode images beside the one that encodes them; with 0 it does all itself."""

    split_keys: ClassVar[tuple[str, ...]] = ("validation", "min_pairs")
    """The settings that decide which pairs are made and what each is for; the others decide what the images are."""
    speed_keys: ClassVar[tuple[str, ...]] = ("max_unusable", "workers")
    """The settings that change what is allowed or how fast it goes, not what comes out."""
    simulated: ClassVar[bool] = False
    """Whether its people are made up, so that their utility of any picture is known."""
    judges: ClassVar[tuple[str, ...]] = ()
    """The names of its simulation's judges."""
    half_precision: ClassVar[bool] = True
    """Whether latents and text states are stored in fp16: half the space where there are many."""

    def make(self, folder: Path, output: Path) -> None:
        """Write the source's files below `folder`, unless they are there and made from the same.

        Args:
            folder: the data folder of this source's settings.
            output: the folder of everything, for what several sources share.

        Raises:
            UserError: what it is made from is missing or faulty.
        """

    @abstractmethod
    def parquet(self, folder: Path) -> ParquetFiles:
        """Where its files are; `folder` as for `make`."""

    @abstractmethod
    def test_captions(self, captions: Iterable[str]) -> frozenset[str]:
        """The captions that only the tests see."""

    @abstractmethod
    def unseen(self, users: Iterable[str]) -> frozenset[str]:
        """The users who are never trained on."""

    @abstractmethod
    def description(self) -> str:
        """What it is, in a sentence for the model card, without paths of this machine."""

    def hub_name(self) -> str | None:
        """The data set on the model hub that it is, OWNER/NAME, for the model card; None where it is none."""
        return None

    def credits(self) -> list[str]:
        """Whom to credit, a line each with the licence; none where the data's own terms say it."""
        return []

    def lines(self, folder: Path) -> SourceLines | None:
        """How rows of its files are called by those who wrote them; None where the files are their own."""
        return None

    @property
    def idle_keys(self) -> tuple[str, ...]:
        """The settings that change nothing beside the values of others: no folder is named by them."""
        return ()

    def caption_count(self) -> int | None:
        """How many captions there are at most, where that is known without preparing and quickly.

        Raises:
            UserError: what they are in is missing or faulty.
        """
        return None

    def findings_in(self, folder: Path) -> Iterable[Finding]:
        """As `findings`, where the data folder counts."""
        return self.findings()

    def simulation(self, data: PreparedData) -> Simulation | None:
        """The truth about its people, where they are simulated."""
        return None


@settings
class PeopleSource(Source):
    """Choices of real people; what is kept for the tests is chosen by hash."""

    held_out_captions: ProperFraction
    """Share of the captions, chosen by hash, that only the tests see."""
    unseen_users: ProperFraction
    """Share of the users, chosen by hash, that only the tests see."""

    split_keys: ClassVar[tuple[str, ...]] = (*Source.split_keys, "held_out_captions", "unseen_users")

    def test_captions(self, captions: Iterable[str]) -> frozenset[str]:
        """About `held_out_captions` of them."""
        from ppd_lightning.data.splits import choose_share

        return choose_share("caption", captions, self.held_out_captions)

    def unseen(self, users: Iterable[str]) -> frozenset[str]:
        """About `unseen_users` of them."""
        from ppd_lightning.data.splits import choose_share

        return choose_share("user", users, self.unseen_users)


def last_name(path: str) -> str:
    """What a path or URL ends with; where it lies is nobody else's business."""
    return path.rstrip("/").rpartition("/")[2]
