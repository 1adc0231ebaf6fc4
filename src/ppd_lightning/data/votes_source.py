"""`data=votes`: a row two images of a caption, with what people voted.

| the table has | what becomes of a row |
|---|---|
| votes_0 and votes_1, counts of votes | a pair of everyone: the image with more votes was preferred |
| chosen and rejected | a pair of everyone |
| voters and answers, lists (in JSON, parquet) | a pair of each voter |

As many votes for both are a tie; rows without votes make no pair. Counts do not say who voted for what: of them one
taste can be learnt, that of most people, and how sure they were is lost. Where the table has a column of users, a row's
pair is that user's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from ppd_lightning.data.converted_source import ConvertedSource
from ppd_lightning.data.rankings import Ranking, count_of
from ppd_lightning.data.table_cells import caption_of, choice_of, filled, label_of, list_of, read_as, user_of
from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import User

if TYPE_CHECKING:
    from ppd_lightning.data.converted_rows import Faults, Row, Rows

Answer = Annotated[Literal["0", "1", "tie"], BeforeValidator(lambda value: str(value) if type(value) is int else value)]

RANKS = {"0": (0.0, 1.0), "1": (1.0, 0.0), "tie": (0.0, 0.0)}
"""What an answer makes of the two images."""


@settings
class VotesSource(ConvertedSource):
    """A row two images and what people voted."""

    everyone: User
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
    FORMS: ClassVar = (
        ("caption", "chosen", "rejected"),
        ("caption", "image_0", "image_1", "voters", "answers"),
        ("caption", "image_0", "image_1", "votes_0", "votes_1"),
    )
    title: ClassVar = "People's votes between two images"

    def rankings(self, rows: Rows, image: Callable[[Any], str], faults: Faults) -> Iterator[Ranking]:
        """One of each row, or of each voter of a row; one without images of a row without votes."""
        for row in rows:
            form = next(form for form in self.FORMS if row.called.keys() >= set(form))
            _, first, second, *_ = form
            read = {"caption": filled(caption_of), first: filled(image), second: filled(image)}
            read |= {"model_0": label_of, "model_1": label_of}
            if "user" in row.called:
                read["user"] = filled(user_of)
            said = row.read_all(read, faults)
            try:
                votes = self._votes(row, form)
            except ValueError as error:
                faults.append((row.place, str(error)))
                continue
            if said is None:
                continue
            images, models = (said[first], said[second]), (said["model_0"], said["model_1"])
            user = said.get("user", str(self.everyone))
            for voter, ranks in votes:
                place = f"{row.place}, voter {voter}" if voter else row.place
                yield Ranking(place, said["caption"], voter or user, images, ranks, models)
            if not votes:
                yield Ranking(row.place, said["caption"], user, (), ())

    def _votes(self, row: Row, form: tuple[str, ...]) -> list[tuple[str, tuple[float, float]]]:
        """Each vote: who, "" where the table does not say it, and the ranks of the two images.

        Raises:
            ValueError: a cell says no votes, with a sentence that begins with the name of its column.
        """
        if "chosen" in form:
            return [("", RANKS["0"])]
        if "votes_0" in form:
            first, second = row.read("votes_0", count_of), row.read("votes_1", count_of)
            return [("", (-first, -second))] if first or second else []
        voters, answers = row.read("voters", list_of), row.read("answers", list_of)
        if len(voters) != len(answers):
            raise ValueError(f"{len(voters)} voters gave {len(answers)} answers; expected one of each")
        names = [read_as(row.called["voters"], filled(user_of), voter) for voter in voters]
        ranks = [read_as(row.called["answers"], self._ranks, answer) for answer in answers]
        return list(zip(names, ranks, strict=True))

    def _ranks(self, answer: Any) -> tuple[float, float]:
        """What an answer makes of the two images.

        Raises:
            ValueError: it is no known word, with a sentence that begins after the column's name.
        """
        said = choice_of(answer)
        choice = self.answers.get(said, said)
        if choice not in RANKS:
            known = ", ".join((*RANKS, *self.answers))
            raise ValueError(f"holds {said[:80]!r}, which is none of {known}; data.answers says what a word means")
        return RANKS[choice]
