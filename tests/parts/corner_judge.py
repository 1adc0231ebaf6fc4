"""A judge from outside of the package: it always names the image with the brighter corner. One class, one YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer
from ppd_lightning.evaluation.vlm_judge.cost import Budget
from ppd_lightning.evaluation.vlm_judge.judge import EncodedQuestion, Judge, Question
from ppd_lightning.evaluation.vlm_judge.settings import VisionJudge
from ppd_lightning.settings.part import settings
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.users.vlm_prompts import PREDICTION


@settings
class CornerJudge(VisionJudge, Judge):
    """Looks at one pixel of each image."""

    corner: int
    """Which pixel, counted in both directions."""

    identity = model = "corner"
    model_key = "judge.corner"
    budget = Budget(1)

    def open(self, device: Any = "cpu") -> CornerJudge:
        """It is ready."""
        return self

    def encode(self, question: Question) -> EncodedQuestion:
        """The two pixels."""
        pixels = [sum(image.getpixel((self.corner, self.corner))) for image in question.images]
        people = [shot.images[0].tobytes().hex()[:64] for shot in question.shots]
        return EncodedQuestion(pixels, fingerprint([question.caption, pixels, people]), 0)

    async def answer(self, questions: Sequence[EncodedQuestion], seeds: Sequence[int]) -> list[Answer]:
        """The brighter one."""
        return [Answer(f"{PREDICTION} {1 + (a.content[1] > a.content[0])}", 0, 0, 0.0) for a in questions]

    def check(self) -> str:
        """Nothing is needed."""
        return "there"

    def is_model(self, path: str) -> bool:
        """It describes nobody."""
        return False
