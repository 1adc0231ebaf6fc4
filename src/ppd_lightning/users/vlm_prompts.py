"""What a vision-language model is asked about a person's choices, and how its answer is read.

The steps are those of the PPD paper's chain-of-thought prompt (Table 2); the wording is our own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from PIL.Image import Image

VERSION = 1
"""Raised when the wording changes: other prompts make other embeddings."""

IMAGE_TOKEN = "<image>"
"""Stands for an image in a text; the model's processor puts the image's tokens in its place."""

MARK = "User Profile:"
"""What the profile begins with in an answer."""

PREDICTION = "Prediction of user preference:"
"""What the choice between two new images begins with in an answer."""

LONGEST_TEXT = 2000
"""Letters of a caption or of a person's own words that are quoted; what is beyond them is cut off."""

SYSTEM = (
    "You are an expert in the aesthetics of images. From the choices that a person made between images you find out "
    "what this person likes, so well that you can predict which of two new images they will prefer."
)

REASONING = """Now think step by step, and write down every step.
Step 1. Describe Image 1 and Image 2 of each pair: the subject, the style, the colours, the light, the composition, \
and how detailed and well made they are.
Step 2. For each pair, explain how the image that the person preferred differs from the other one, and which of \
these differences may have decided.
Step 3. Put together what the choices have in common: what this person looks for in an image, and what they avoid."""

STEPS = f"""{REASONING}
End your answer with a line that begins with "{MARK}" and describes this person's taste in one paragraph, so that \
somebody who has seen none of these images could predict what the person will prefer."""

PREDICTING = f"""{REASONING}
Step 4. Write a line that begins with "{MARK}" and describes this person's taste in one paragraph.
Step 5. Describe Image 1 and Image 2 of the new pair in the same way, and weigh them against this taste.
End your answer with a line that names the image of the new pair which this person will prefer, in exactly this form:
{PREDICTION} [1 or 2]"""

OWN_WORDS = f"""A person tells you in their own words what they like in images: "{{words}}"
Write a line that begins with "{MARK}" and describes this person's taste."""

PREDICTED = re.compile(
    rf"{re.escape(PREDICTION[:-1])}\W*(?:is\W+|image\W*)*([12])\b(?!\W*(?:or|and|[/|,])\W*(?:image\W*)?[12]\b|\.\d)",
    re.IGNORECASE,
)
"""A prediction as models write it: with or without brackets, bold, or the word Image."""


@dataclass(frozen=True)
class PromptPair:
    """A choice as a part of a prompt.

    images: Image 1 and Image 2, RGB. preferred: which of them the person chose.
    """

    caption: str
    images: tuple[Image, Image]
    preferred: Literal[1, 2]


def preferred_number(pair_id: str) -> Literal[1, 2]:
    """Which of the two images the preferred one is: by hash of the pair, so that the order says nothing."""
    return 2 if blake2b(f"shown/{pair_id}".encode(), digest_size=1).digest()[0] & 1 else 1


def profile_prompt(shots: Sequence[PromptPair], control: Collection[str]) -> str:
    """What is asked about a person's choices, with `IMAGE_TOKEN` where each image goes, in the order of the shots.

    Args:
        control: words that mean something to the model's tokenizer; `quoted` breaks them where a caption holds them.
    """
    return "\n\n".join([*_choices(shots, control), STEPS])


def prediction_prompt(shots: Sequence[PromptPair], caption: str, control: Collection[str]) -> str:
    """Which of two further images of `caption` the person will prefer, which come after those of the shots."""
    return "\n\n".join([*_choices(shots, control), f"The new pair. {_pair(caption, control)}", PREDICTING])


def _choices(shots: Sequence[PromptPair], control: Collection[str]) -> list[str]:
    count = "one pair" if len(shots) == 1 else f"{len(shots)} pairs"
    begin = f"A person was shown {count} of images and chose the image of each pair that they like better."
    numbered = [
        f"Pair {number}. {_pair(shot.caption, control)}\nThe person prefers Image {shot.preferred}."
        for number, shot in enumerate(shots, start=1)
    ]
    return [begin, *numbered]


def _pair(caption: str, control: Collection[str]) -> str:
    return (
        f'The caption of both images is: "{quoted(caption, control)}"\n'
        f"Here is Image 1: {IMAGE_TOKEN}\nHere is Image 2: {IMAGE_TOKEN}"
    )


def text_prompt(text: str, control: Collection[str]) -> str:
    """What is asked about a person's own words."""
    return OWN_WORDS.format(words=quoted(text, control))


def quoted(text: str, control: Collection[str]) -> str:
    """A text by a stranger as a part of a prompt: in one line, not too long, and with no word of `control` in it.

    Such a word gets a space after its first letter: `<image>` adds no image and `<|im_end|>` ends no message.
    """
    text = " ".join(unicodedata.normalize("NFC", text).split())[:LONGEST_TEXT].rstrip()
    while found := [word for word in control if len(word) > 1 and word in text]:
        for word in found:
            text = text.replace(word, f"{word[0]} {word[1:]}")
    return text


def profile_in(answer: str) -> str | None:
    """The profile of an answer: what follows the last `MARK`. None where there is none, or nothing follows."""
    _, mark, profile = answer.rpartition(MARK)
    return profile.strip() or None if mark else None


def prediction_in(answer: str) -> Literal[1, 2] | None:
    """The last prediction of an answer; None where there is none. Repeating the form, "[1 or 2]", predicts nothing."""
    found = PREDICTED.findall(answer)
    return (1 if found[-1] == "1" else 2) if found else None
