"""What a vision-language judge is: a model that answers questions about a person's taste in images.

Everything else here (questions, both orders, cache, cost, agreement) works with `Judge` and knows none of its classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

from PIL.Image import Image

from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer
from ppd_lightning.evaluation.vlm_judge.cost import Budget
from ppd_lightning.users.vlm_prompts import PromptPair


@dataclass(frozen=True)
class Question:
    """Which of two images of a caption will the person prefer, who chose these shots? Image 1 and Image 2, RGB."""

    shots: tuple[PromptPair, ...]
    caption: str
    images: tuple[Image, Image]

    @property
    def all_images(self) -> list[Image]:
        """The images in the order in which the prompt names them."""
        return [image for pair in (*(shot.images for shot in self.shots), self.images) for image in pair]

    def swapped(self) -> Question:
        """The same with the two images in the other order."""
        return Question(self.shots, self.caption, (self.images[1], self.images[0]))


@dataclass(frozen=True)
class EncodedQuestion:
    """A question as one model gets it.

    content: what is handed to the model. digest: hash of everything that the answer depends on, but for the seed.
    token_bound: tokens of the prompt at most, by a cautious guess.
    """

    content: Any
    digest: str
    token_bound: int


class RefusedError(Exception):
    """The judge does not answer this question; others it may.

    Args:
        remedy: what to look at where nearly all questions are refused.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


class Judge(AbstractAsyncContextManager["Judge"]):
    """A vision-language model that answers batches of questions. It is entered before it is asked, and left after.

    identity: name of the folder of its cached answers; stands for the model, wherever it runs. model: its name for
    people. budget: prices and limits. concurrent: calls of `answer` that may run at a time. batch_size: questions of a
    call. model_key: the setting that names the model. neutral_settings: settings that change where, how fast or whether
    the model is asked, not what it answers.
    """

    identity: str
    model: str
    budget: Budget
    concurrent: int = 1
    batch_size: int = 1
    model_key: ClassVar[str]
    neutral_settings: ClassVar[frozenset[str]] = frozenset({"min_agreement"})

    async def __aexit__(self, *_: object) -> None:
        """Close what was opened; by default there is nothing."""

    @abstractmethod
    def encode(self, question: Question) -> EncodedQuestion:
        """The question as this model gets it."""

    @abstractmethod
    async def answer(self, questions: Sequence[EncodedQuestion], seeds: Sequence[int]) -> list[Answer]:
        """An answer to each question, sampled with its seed (31 bits).

        Raises:
            RefusedError: the model does not answer these questions.
            UserError: nothing can be asked, until somebody changes something.
        """

    @abstractmethod
    def check(self) -> str:
        """What was found of the model, for `ppd doctor`; nothing is asked.

        Raises:
            UserError: it cannot be used, with the remedies.
        """

    @abstractmethod
    def is_model(self, path: str) -> bool:
        """Whether this is the model of that folder, or of that name on the model hub."""
