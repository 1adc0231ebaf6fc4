"""`data=votes`: a row two images of a caption, with what people voted.

| the table has | what becomes of a row |
|---|---|
| votes_0 and votes_1, counts of votes | a pair of everyone: the image with more votes was preferred |
| chosen and rejected | a pair of everyone |
| voters and answers, lists (in JSON) | a pair of each voter |

As many votes for both are a tie; rows without votes make no pair. Counts do not say who voted for what: of them one
taste can be learnt, that of most people, and how sure they were is lost. Where the table has a column of users, a row's
pair is that user's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from ppd_lightning.data.converted_source import ConvertedSource
from ppd_lightning.data.rankings import Ranking, number_of
from ppd_lightning.data.table_cells import caption_of, choice_of, label_of, user_of
from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Name

if TYPE_CHECKING:
    from ppd_lightning.data.converted import Faults, Rows

log = logging.getLogger(__name__)

Answer = Annotated[Literal["0", "1", "tie"], BeforeValidator(lambda value: str(value) if type(value) is int else value)]

RANKS = {"0": (0.0, 1.0), "1": (1.0, 0.0), "tie": (0.0, 0.0)}
"""What an answer makes of the two images."""


@settings
class VotesSource(ConvertedSource):
    """A row two images and what people voted."""

    everyone: Name
    """The user whom a row's pair is given to, where the table has no column of users and no voters."""
    answers: dict[str, Answer]
    """What the words of the column answers mean: 0 or 1, the image that was preferred, or tie."""

    NAMES: ClassVar = {
        "caption": ("caption", "prompt"),
        "image_0": ("image_0", "image1"),
        "image_1": ("image_1", "image2"),
        "chosen": ("chosen",),
        "rejected": ("rejected",),
        "votes_0": ("votes_0", "votes_image1"),
        "votes_1": ("votes_1", "votes_image2"),
        "voters": ("voters",),
        "answers": ("answers",),
        "user": ("user", "user_id"),
        "model_0": ("model_0", "model1"),
        "model_1": ("model_1", "model2"),
    }
    NEEDED: ClassVar = (
        ("caption",),
        ("image_0", "chosen"),
        ("image_1", "rejected"),
        ("votes_0", "chosen", "answers"),
        ("votes_1", "rejected", "voters"),
    )
    title: ClassVar = "People's votes between two images"

    def rankings(self, rows: Rows, image: Callable[[Any], str], faults: Faults) -> Iterator[Ranking]:
        """One of each row, or of each voter of a row."""
        unasked = 0
        for line, row in rows:
            ordered = "chosen" in row
            sides = ("chosen", "rejected") if ordered else ("image_0", "image_1")
            try:
                caption = _cell(row, "caption", caption_of)
                images = (_cell(row, sides[0], image), _cell(row, sides[1], image))
                models = (_cell(row, "model_0", label_of), _cell(row, "model_1", label_of))
                votes = [("", RANKS["0"])] if ordered else self._votes(row)
                user = _cell(row, "user", user_of) if "user" in row else str(self.everyone)
            except ValueError as error:
                faults.append((line, str(error)))
                continue
            unasked += not votes
            for voter, ranks in votes:
                part = f"voter {voter}" if voter else ""
                yield Ranking(line, caption, voter or user, images, ranks, models, part=part)

        if unasked:
            log.warning("%s: %d rows have no votes and make no pair", self.table, unasked)

    def _votes(self, row: Mapping[str, Any]) -> list[tuple[str, tuple[float, float]]]:
        """Each vote: who, "" where the votes are counts, and the ranks of the two images."""
        if "answers" not in row:
            first, second = _cell(row, "votes_0", number_of), _cell(row, "votes_1", number_of)
            return [("", (-first, -second))] if first or second else []
        voters, answers = row.get("voters"), row["answers"]
        if not isinstance(voters, list) or not isinstance(answers, list) or len(voters) != len(answers):
            raise ValueError("voters and answers must be lists, as long as each other")
        votes = []
        for voter, answer in zip(voters, answers, strict=True):
            said = choice_of(answer)
            choice = self.answers.get(said, said)
            if choice not in RANKS:
                known = ", ".join((*RANKS, *self.answers))
                raise ValueError(f"answers: {said[:80]!r} is none of {known}; data.answers says what a word means")
            name = _cell({"voters": voter}, "voters", user_of)
            if not name:
                raise ValueError("voters: one is empty")
            votes.append((name, RANKS[choice]))
        return votes


def _cell(row: Mapping[str, Any], name: str, read: Callable[[Any], Any]) -> Any:
    """What a cell says; one that is not there is empty.

    Raises:
        ValueError: it says nothing that can be read, with a sentence that begins with the column's name.
    """
    try:
        return read(row.get(name))
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
