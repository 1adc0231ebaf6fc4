"""A judge on this machine: LLaVA-OneVision, as `user=vlm` runs it.

Answers are sampled with their seeds; the rounding of a batch can change them, so a command that was resumed may get
other answers than one that was not. Cached answers stay.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING

import torch

from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer
from ppd_lightning.evaluation.vlm_judge.cost import Budget
from ppd_lightning.evaluation.vlm_judge.judge import EncodedQuestion, Judge, Question
from ppd_lightning.users.vlm_files import vlm_fingerprint, vlm_folder
from ppd_lightning.users.vlm_prompts import SYSTEM, prediction_prompt

if TYPE_CHECKING:
    from ppd_lightning.evaluation.vlm_judge.settings import VlmJudge
    from ppd_lightning.users.vlm_writer import ProfileWriter

CONTROL = ("<image>", "<video>", "<|im_start|>", "<|im_end|>", "<|endoftext|>")
"""Words that mean something to LLaVA-OneVision's tokenizer."""


class LocalJudge(Judge):
    """LLaVA-OneVision. Its weights are loaded for the first question whose answer is not cached.

    Raises:
        UserError: files of it are missing or damaged.
    """

    model_key = "judge.path"

    def __init__(self, settings: VlmJudge, device: torch.device | str) -> None:
        self.settings, self.device = settings, torch.device(device)
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.model, self.batch_size, self.budget = settings.path, settings.batch_size, Budget(settings.max_tokens)
        self.fingerprint = vlm_fingerprint(vlm_folder(settings.path, self.model_key))
        self.identity = f"vlm-{self.fingerprint}"

    def encode(self, question: Question) -> EncodedQuestion:
        """The prompt with its images."""
        text = prediction_prompt(question.shots, question.caption, CONTROL)
        images = question.all_images
        settings = self.settings
        sampling = [settings.temperature, settings.top_p, settings.max_tokens, settings.batch_size, str(self.dtype)]
        digest = blake2b(json.dumps([SYSTEM, text, sampling]).encode(), digest_size=16)
        for image in images:
            digest.update(f"{image.size}".encode() + image.tobytes())
        return EncodedQuestion((text, images), digest.hexdigest(), 0)

    async def answer(self, questions: Sequence[EncodedQuestion], seeds: Sequence[int]) -> list[Answer]:
        """See `Judge.answer`; all questions are one batch."""
        begun = time.monotonic()
        answers = self._writer.answers([question.content for question in questions], seeds)
        seconds = round((time.monotonic() - begun) / len(questions), 3)
        return [Answer(text, read, written, seconds) for text, read, written in answers]

    def check(self) -> str:
        """See `Judge.check`; the files are looked at where the judge is built."""
        return "there"

    def is_model(self, path: str) -> bool:
        """By the fingerprint of the files."""
        return self.fingerprint == vlm_fingerprint(vlm_folder(path))

    @cached_property
    def _writer(self) -> ProfileWriter:
        from ppd_lightning.users.vlm_writer import ProfileWriter

        settings = self.settings
        return ProfileWriter(
            settings.path,
            self.device,
            self.dtype,
            position="last_prompt_token",
            layer=-1,
            max_new_tokens=settings.max_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            keys=(self.model_key, "judge.max_tokens"),
        )
