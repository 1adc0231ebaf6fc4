"""A third judge is one class: what asks, caches and counts works with `Judge` alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer, AnswerCache
from ppd_lightning.evaluation.vlm_judge.cost import Budget
from ppd_lightning.evaluation.vlm_judge.judge import EncodedQuestion, Judge, Question, RefusedError
from ppd_lightning.evaluation.vlm_judge.predictions import Prediction, Predictor
from ppd_lightning.progress import Counted


@dataclass
class Brightest(Judge):
    """Prefers the brighter image, and refuses questions of the caption `refused`."""

    model_key = "judge.brightest"
    identity: str = "brightest"
    model: str = "the brighter one"
    budget: Budget = field(default_factory=lambda: Budget(10))
    batch_size: int = 3
    asked: list[tuple[int, ...]] = field(default_factory=list)

    def encode(self, question: Question) -> EncodedQuestion:
        first, second = (image.getpixel((0, 0)) for image in question.images)
        return EncodedQuestion((question.caption, first, second), f"{question.caption}/{first}/{second}", 7)

    async def answer(self, questions: Sequence[EncodedQuestion], seeds: Sequence[int]) -> list[Answer]:
        self.asked.append(tuple(seeds))
        if any(question.content[0] == "refused" for question in questions):
            raise RefusedError("not that", "ask for something else")
        images = [1 if first > second else 2 for _, first, second in (question.content for question in questions)]
        return [Answer(f"Prediction of user preference: [{image}]", 5, 1, 0.0) for image in images]

    def check(self) -> str:
        return "there"

    def is_model(self, path: str) -> bool:
        return False


def question(first: int, second: int, caption: str = "a fox") -> Question:
    return Question((), caption, (Image.new("L", (1, 1), first), Image.new("L", (1, 1), second)))


def predict(folder: Path, judge: Judge, questions: Sequence[Question]) -> list[Prediction]:
    with AnswerCache(folder) as cache, Counted("answers", len(questions), bar=False) as progress:
        return Predictor(judge, cache, progress, retries=1, seed=0).predict(questions)


def test_a_judge_of_ones_own_is_asked_in_batches_and_once(tmp_path: Path) -> None:
    questions = [one for n in range(4) for one in (question(n, 9), question(n, 9).swapped())]
    judge = Brightest()
    assert [one.image for one in predict(tmp_path, judge, questions)] == [2, 1] * 4
    assert [len(seeds) for seeds in judge.asked] == [3, 3, 2]
    assert len({seed for seeds in judge.asked for seed in seeds}) == 8
    again = Brightest()
    assert [one.image for one in predict(tmp_path, again, questions)] == [2, 1] * 4
    assert again.asked == []


def test_its_limits_and_refusals_are_kept(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"judge\.max_requests: 3 answers .* all 3 answers are cached"):
        predict(tmp_path, Brightest(budget=Budget(10, max_requests=5)), [question(n, 9) for n in range(9)])
    refused = [question(n, 9, "refused") for n in range(3)]
    assert [one.refused for one in predict(tmp_path, Brightest(), refused)] == ["not that"] * 3
    with pytest.raises(UserError, match=r"6 questions were refused and 0 .* \(not that\); ask for something else"):
        predict(tmp_path, Brightest(), [question(n, 9, "refused") for n in range(9)])
