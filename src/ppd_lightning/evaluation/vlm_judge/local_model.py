"""A judge on this machine: LLaVA-OneVision, as `user=vlm` runs it.

Answers are drawn with their seeds; the rounding of a batch can change them, so a command that was stopped may come to
other answers than one that was not. What was answered stays.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b

import torch

from ppd_lightning.config.schemas import Config, VlmJudge
from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer
from ppd_lightning.evaluation.vlm_judge.judge import Message, Question
from ppd_lightning.models.devices import compute_device
from ppd_lightning.users.prompts import SYSTEM, prediction_prompt
from ppd_lightning.users.vlm_files import vlm_fingerprint, vlm_folder
from ppd_lightning.users.vlm_writer import ProfileWriter

KEY = "judge.path"
CONTROL = ("<image>", "<video>", "<|im_start|>", "<|im_end|>", "<|endoftext|>")
"""Words that mean something to LLaVA-OneVision's tokenizer."""


class LocalJudge:
    """LLaVA-OneVision; see `question.AskedModel`. It is loaded for the first question that was not answered before.

    Raises:
        UserError: files of it are missing or damaged.
    """

    at_once = 1

    def __init__(self, config: Config, settings: VlmJudge) -> None:
        self.settings, self.batch = settings, settings.batch_size
        self.device = compute_device(config.trainer)
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.model = vlm_fingerprint(vlm_folder(settings.path, KEY))
        self.name = f"vlm-{self.model}"

    async def __aenter__(self) -> LocalJudge:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def message(self, question: Question) -> Message:
        """The prompt with its images."""
        text = prediction_prompt(question.shots, question.caption, CONTROL)
        images = question.all_images
        settings = self.settings
        sampling = [settings.temperature, settings.top_p, settings.max_tokens, settings.batch_size, str(self.dtype)]
        told = blake2b(json.dumps([SYSTEM, text, sampling]).encode(), digest_size=16)
        for image in images:
            told.update(f"{image.size}".encode() + image.tobytes())
        return Message((text, images), told.hexdigest(), 0)

    async def ask(self, messages: Sequence[Message], seeds: Sequence[int]) -> list[Answer]:
        """See `question.AskedModel`."""
        begun = time.monotonic()
        answers = self._writer.answers([message.content for message in messages], seeds)
        seconds = round((time.monotonic() - begun) / len(messages), 3)
        return [Answer(text, read, written, seconds) for text, read, written in answers]

    def give_up(self) -> None:
        """See `question.AskedModel`: nothing is under way between two calls."""

    @cached_property
    def _writer(self) -> ProfileWriter:
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
            keys=(KEY, "judge.max_tokens"),
        )
