"""Predictions of a judge: cached answers are read, the other questions are asked.

An answer without a prediction is asked for again, with another seed. When something stops the run (a limit on cost, an
endpoint that is down), requests in flight are waited for and cached.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer, AnswerCache
from ppd_lightning.evaluation.vlm_judge.judge import EncodedQuestion, Judge, Question, RefusedError
from ppd_lightning.progress import Counted
from ppd_lightning.users.vlm_prompts import prediction_in

REFUSAL_MARGIN = 4
"""How many more questions may be refused than answered before the run stops."""


@dataclass(frozen=True)
class Prediction:
    """What came of a question.

    image: which of the two is predicted; None where no answer holds a prediction. key: of the last answer in the cache.
    refused: in the judge's words, why it did not answer.
    """

    image: Literal[1, 2] | None
    key: str
    refused: str = ""


@dataclass(frozen=True)
class _Request:
    """The question at `index`, on its trial."""

    index: int
    question: EncodedQuestion
    trial: int


class Predictor:
    """Asks one judge.

    Args:
        retries: further trials where an answer holds no prediction.
        seed: the sampling seeds follow from it, the question and the trial.
    """

    def __init__(self, judge: Judge, cache: AnswerCache, progress: Counted, *, retries: int, seed: int) -> None:
        self.judge, self.cache, self.progress = judge, cache, progress
        self.retries, self.seed = retries, seed
        self._title = progress.what

    def predict(self, questions: Iterable[Question]) -> list[Prediction]:
        """One for each question; a question that comes twice is asked once.

        Args:
            questions: iterated lazily, as requests can be sent.

        Raises:
            UserError: the run had to stop; every answer until then is cached.
        """
        return asyncio.run(self._predict(questions))

    async def _predict(self, questions: Iterable[Question]) -> list[Prediction]:
        self._predictions: dict[int, Prediction] = {}
        self._retry: deque[_Request] = deque()
        self._answered, self._refused = 0, 0
        first: dict[str, int] = {}
        indices: list[int] = []
        fresh = self._fresh(questions, first, indices)
        in_flight: dict[asyncio.Task[list[Answer]], list[_Request]] = {}
        fault: UserError | None = None
        async with self.judge:
            while True:
                while fault is None and len(in_flight) < self.judge.concurrent and (batch := self._batch(fresh)):
                    refusal = self._over_budget(sum(map(len, in_flight.values())), batch)
                    if refusal and in_flight:  # which may leave room when it is done
                        self._retry.extendleft(reversed(batch))
                        break
                    if refusal:
                        fault = UserError(
                            f"{refusal}; {self._cached()}, and the same command with a higher limit goes on"
                        )
                        break
                    seeds = [self._seed(request) for request in batch]
                    task = asyncio.create_task(self.judge.answer([request.question for request in batch], seeds))
                    in_flight[task] = batch
                if not in_flight:
                    break
                for task in (await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED))[0]:
                    try:
                        self._collect(task, in_flight.pop(task))
                    except UserError as error:
                        fault = fault or UserError(f"{one}; {self._cached()}" for one in error.faults)
        if fault is not None:
            raise fault
        return [self._predictions[index] for index in indices]

    def _fresh(self, questions: Iterable[Question], first: dict[str, int], indices: list[int]) -> Iterator[_Request]:
        """The questions that did not come before in this call; `indices` says which prediction is whose."""
        for index, question in enumerate(questions):
            encoded = self.judge.encode(question)
            indices.append(first.setdefault(encoded.digest, index))
            if indices[-1] == index:
                yield _Request(index, encoded, 0)
            else:
                self._count()

    def _batch(self, fresh: Iterator[_Request]) -> list[_Request]:
        """The next requests to be sent; those whose answer is cached are done with on the way."""
        batch: list[_Request] = []
        while len(batch) < self.judge.batch_size:
            request = self._retry.popleft() if self._retry else next(fresh, None)
            if request is None:
                break
            cached = self.cache.get(self._key(request))
            if cached is None:
                batch.append(request)
            else:
                self._read(request, cached)
        return batch

    def _over_budget(self, in_flight: int, batch: list[_Request]) -> str:
        longest = max(request.question.token_bound for request in batch)
        return self.judge.budget.refusal(self.cache, in_flight + len(batch) - 1, longest)

    def _collect(self, task: asyncio.Task[list[Answer]], batch: list[_Request]) -> None:
        """Cache what a call returned.

        Raises:
            UserError: it failed for good, or nearly everything is refused.
        """
        try:
            answers = task.result()
        except RefusedError as error:
            self._refused += len(batch)
            for request in batch:
                self._predictions[request.index] = Prediction(None, self._key(request), str(error))
                self._count()
            if self._refused > self._answered + REFUSAL_MARGIN:
                raise UserError(
                    f"judge: {self._refused} questions were refused and {self._answered} answered ({error}); "
                    f"{error.remedy}"
                ) from None
            return
        for request, answer in zip(batch, answers, strict=True):
            self.cache.add(self._key(request), answer)
            self._answered += 1
            self._read(request, answer)

    def _read(self, request: _Request, answer: Answer) -> None:
        image = prediction_in(answer.text)
        if image is None and request.trial < self.retries:
            self._retry.append(_Request(request.index, request.question, request.trial + 1))
            return
        self._predictions[request.index] = Prediction(image, self._key(request))
        self._count()

    def _count(self) -> None:
        if self.judge.budget.priced:
            self.progress.what = f"{self._title} for {sum(map(self.judge.budget.cost, self.cache)):.4g}"
        self.progress.add(1)

    def _seed(self, request: _Request) -> int:
        """31 bits, for endpoints take no more."""
        text = f"judge/{self.seed}/{request.question.digest}/{request.trial}".encode()
        return int.from_bytes(blake2b(text, digest_size=4).digest(), "little") >> 1

    def _key(self, request: _Request) -> str:
        return blake2b(f"{request.question.digest}/{self._seed(request)}".encode(), digest_size=16).hexdigest()

    def _cached(self) -> str:
        return f"all {len(self.cache)} answers are cached in {self.cache.folder}"
