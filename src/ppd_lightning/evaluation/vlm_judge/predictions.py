"""Questions to a judge and their predictions: what was answered before is read, the rest is asked.

An answer without a prediction is asked for again, with another seed. When something stops the asking (a limit on what
is spent, an endpoint that is down), what is under way is waited for and kept.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer, Answers
from ppd_lightning.evaluation.vlm_judge.cost import Spending
from ppd_lightning.evaluation.vlm_judge.judge import AskedModel, Message, Question, RefusedError
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.progress import Counted
from ppd_lightning.users.prompts import prediction_in

MOST_REFUSED = 4
"""So many more questions may be refused than answered before the asking stops."""


@dataclass(frozen=True)
class Prediction:
    """What came of a question.

    image: which of the two is predicted; None where no answer said. key: of the last answer. refused: in the judge's
    words, why it did not answer.
    """

    image: Literal[1, 2] | None
    key: str
    refused: str = ""


@dataclass(frozen=True)
class _Open:
    place: int
    message: Message
    trial: int


class Asking:
    """Asks one judge.

    Args:
        retries: further tries where an answer holds no prediction.
        seed: of all draws, with what is asked.
    """

    def __init__(
        self, judge: AskedModel, answers: Answers, spending: Spending, counted: Counted, *, retries: int, seed: int
    ) -> None:
        self.judge, self.answers, self.spending, self.counted = judge, answers, spending, counted
        self.retries, self.seed = retries, seed
        self._what = counted.what

    def predictions(self, questions: Iterable[Question]) -> list[Prediction]:
        """One for each question; a question that comes twice is asked once.

        Args:
            questions: taken one after the other, as they can be asked.

        Raises:
            UserError: the asking had to stop; every answer until then is kept.
        """
        return asyncio.run(self._predictions(questions))

    async def _predictions(self, questions: Iterable[Question]) -> list[Prediction]:
        self._found: dict[int, Prediction] = {}
        self._again: deque[_Open] = deque()
        self._answered, self._refused = 0, 0
        first: dict[str, int] = {}
        places: list[int] = []
        fresh = self._fresh(questions, first, places)
        under_way: dict[asyncio.Task[list[Answer]], list[_Open]] = {}
        fault: UserError | None = None
        async with self.judge:
            while True:
                while fault is None and len(under_way) < self.judge.at_once and (batch := self._batch(fresh)):
                    sent = sum(map(len, under_way.values()))
                    refusal = self._refusal(sent, batch)
                    if refusal and under_way:  # which may leave room when it is done
                        self._again.extendleft(reversed(batch))
                        break
                    if refusal:
                        fault = UserError(
                            f"{refusal}; {self._kept()}, and the same command with a higher limit goes on"
                        )
                        break
                    seeds = [self._seed(one) for one in batch]
                    task = asyncio.create_task(self.judge.ask([one.message for one in batch], seeds))
                    under_way[task] = batch
                if not under_way:
                    break
                for task in (await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED))[0]:
                    try:
                        self._take(task, under_way.pop(task))
                    except UserError as error:
                        fault = fault or UserError(f"{one}; {self._kept()}" for one in error.faults)
                        self.judge.give_up()
        if fault is not None:
            raise fault
        return [self._found[place] for place in places]

    def _fresh(self, questions: Iterable[Question], first: dict[str, int], places: list[int]) -> Iterator[_Open]:
        """The questions that were not asked before in this call; `places` says which prediction is whose."""
        for place, question in enumerate(questions):
            message = self.judge.message(question)
            places.append(first.setdefault(message.digest, place))
            if places[-1] == place:
                yield _Open(place, message, 0)
            else:
                self._count()

    def _batch(self, fresh: Iterator[_Open]) -> list[_Open]:
        """The next messages to be sent; those whose answer is kept are done with on the way."""
        batch: list[_Open] = []
        while len(batch) < self.judge.batch:
            one = self._again.popleft() if self._again else next(fresh, None)
            if one is None:
                break
            kept = self.answers.get(self._key(one))
            if kept is None:
                batch.append(one)
            else:
                self._read(one, kept)
        return batch

    def _refusal(self, under_way: int, batch: list[_Open]) -> str:
        longest = max(one.message.most_tokens for one in batch)
        return self.spending.refusal(self.answers, under_way + len(batch) - 1, longest)

    def _take(self, task: asyncio.Task[list[Answer]], batch: list[_Open]) -> None:
        """Keep what a call brought.

        Raises:
            UserError: it failed for good, or nearly everything is refused.
        """
        try:
            told = task.result()
        except RefusedError as error:
            self._refused += len(batch)
            for one in batch:
                self._found[one.place] = Prediction(None, self._key(one), str(error))
                self._count()
            if self._refused > self._answered + MOST_REFUSED:
                raise UserError(
                    f"judge: {self._refused} questions were refused and {self._answered} answered ({error}); look at "
                    "judge.max_tokens, judge.token_limit, judge.image_size and shots.n"
                ) from None
            return
        for one, answer in zip(batch, told, strict=True):
            self.answers.keep(self._key(one), answer)
            self._answered += 1
            self._read(one, answer)

    def _read(self, one: _Open, answer: Answer) -> None:
        image = prediction_in(answer.text)
        if image is None and one.trial < self.retries:
            self._again.append(_Open(one.place, one.message, one.trial + 1))
            return
        self._found[one.place] = Prediction(image, self._key(one))
        self._count()

    def _count(self) -> None:
        if self.spending.price_in is not None or self.spending.price_out is not None:
            spent = sum(map(self.spending.cost, self.answers))
            self.counted.what = f"{self._what} for {spent:.4g}"
        self.counted.add(1)

    def _seed(self, one: _Open) -> int:
        """31 bits, for endpoints take no more."""
        words = f"judge/{self.seed}/{one.message.digest}/{one.trial}".encode()
        return int.from_bytes(blake2b(words, digest_size=4).digest(), "little") >> 1

    def _key(self, one: _Open) -> str:
        return blake2b(f"{one.message.digest}/{self._seed(one)}".encode(), digest_size=16).hexdigest()

    def _kept(self) -> str:
        return f"all {len(self.answers)} answers are kept in {self.answers.folder}"
