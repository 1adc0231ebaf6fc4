"""What a judge is asked, and what a judge is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL.Image import Image

from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer
from ppd_lightning.users.prompts import ShownPair


@dataclass(frozen=True)
class Question:
    """Which of two images of a caption will the person prefer, who chose these shots? Image 1 and Image 2, RGB."""

    shots: tuple[ShownPair, ...]
    caption: str
    images: tuple[Image, Image]

    @property
    def all_images(self) -> list[Image]:
        """The images in the order of their places in the prompt."""
        return [image for pair in (*(shot.images for shot in self.shots), self.images) for image in pair]

    def swapped(self) -> Question:
        """The same with the two images in the other order."""
        return Question(self.shots, self.caption, (self.images[1], self.images[0]))


@dataclass(frozen=True)
class Message:
    """A question as a model is given it.

    content: what is handed to the model. digest: of everything that the answer depends on, but for the seed.
    most_tokens: what it can be long at most, by a cautious guess.
    """

    content: Any
    digest: str
    most_tokens: int


class RefusedError(Exception):
    """The judge does not want to answer this question; others it may."""


class AskedModel(Protocol):
    """A vision-language model that answers questions.

    name: of the folder of its answers; stands for the model. at_once: calls of `ask` that may be open. batch: messages
    of a call.
    """

    name: str
    at_once: int
    batch: int

    async def __aenter__(self) -> AskedModel: ...

    async def __aexit__(self, *_: object) -> None: ...

    def message(self, question: Question) -> Message:
        """The question as this model is given it."""

    async def ask(self, messages: Sequence[Message], seeds: Sequence[int]) -> list[Answer]:
        """An answer to each message, drawn with its seed.

        Raises:
            RefusedError: this message will not be answered.
            UserError: nothing can be asked, until somebody mends something.
        """

    def give_up(self) -> None:
        """Try nothing again of what is under way."""
