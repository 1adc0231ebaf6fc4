"""A judge from outside of the package: a rule instead of a model. A class of settings, the judge, one YAML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import ClassVar, Literal

import numpy as np

from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer
from ppd_lightning.evaluation.vlm_judge.cost import Budget
from ppd_lightning.evaluation.vlm_judge.judge import EncodedQuestion, Judge, Question
from ppd_lightning.evaluation.vlm_judge.settings import VisionJudge
from ppd_lightning.settings.part import Finding, settings
from ppd_lightning.users.vlm_prompts import PREDICTION


@settings
class BrightnessJudge(VisionJudge):
    """Says that people who chose bright images choose the brighter one again."""

    kind: Literal["brightness"]
    """A rule."""

    def open(self, device: object = "cpu") -> Brightness:
        """See the base class."""
        return Brightness(self.max_tokens)

    def findings(self) -> Iterator[Finding]:
        """It needs nothing."""
        yield from self._findings("judge of brightness")


class Brightness(Judge):
    """Compares the new images' mean brightness."""

    identity = model = "brightness"
    model_key: ClassVar[str] = "judge.kind"

    def __init__(self, max_tokens: int) -> None:
        self.budget = Budget(max_tokens)

    def encode(self, question: Question) -> EncodedQuestion:
        """By how much more brightness the person chose, and the new images' brightness."""
        light = [float(np.asarray(image).mean()) for image in question.all_images]
        chosen = [shot.preferred == 2 for shot in question.shots]
        steps = [second - first for first, second in zip(light[:-2:2], light[1:-2:2], strict=True)]
        liking = sum(step if second else -step for step, second in zip(steps, chosen, strict=True))
        content = (liking, light[-2], light[-1])
        return EncodedQuestion(content, blake2b(repr(content).encode(), digest_size=16).hexdigest(), 0)

    async def answer(self, questions: Sequence[EncodedQuestion], seeds: Sequence[int]) -> list[Answer]:
        """No seed changes it."""
        found = []
        for liking, first, second in (question.content for question in questions):
            found.append(Answer(f"{PREDICTION} {2 if liking * (second - first) > 0 else 1}", 0, 0, 0.0))
        return found

    def check(self) -> str:
        """See the base class."""
        return "a rule"

    def is_model(self, path: str) -> bool:
        """It is no model."""
        return False
