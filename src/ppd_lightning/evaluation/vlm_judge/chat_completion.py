"""The body of a chat completion's request, made of a question, and the answer in its response."""

from __future__ import annotations

import base64
import io
import json
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer
from ppd_lightning.evaluation.vlm_judge.judge import EncodedQuestion, Question
from ppd_lightning.users.vlm_prompts import IMAGE_TOKEN, SYSTEM, prediction_prompt

if TYPE_CHECKING:
    from ppd_lightning.evaluation.vlm_judge.settings import OpenaiJudge

CONTROL = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]")
"""What may be a control word of a model whose tokenizer is not known, such as <|im_end|> or [INST]."""

IMAGE_TOKENS = 2000
"""Of an image at most, as long as no answer has said how many they are."""


def request_body(question: Question, settings: OpenaiJudge) -> EncodedQuestion:
    """The body but for its seed, the images in it as data URLs. Sampling settings that are null are left out."""
    captions = " ".join([question.caption, *(shot.caption for shot in question.shots)])
    text = prediction_prompt(question.shots, question.caption, {IMAGE_TOKEN, *CONTROL.findall(captions)})
    images = question.all_images
    urls = iter([_data_url(image, settings) for image in images])
    parts: list[dict[str, Any]] = []
    for number, words in enumerate(text.split(IMAGE_TOKEN)):
        if number:
            parts.append({"type": "image_url", "image_url": {"url": next(urls)}})
        if words.strip():
            parts.append({"type": "text", "text": words.strip("\n")})
    sampling = {"temperature": settings.temperature, "top_p": settings.top_p}
    body = {
        "model": settings.model,
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": parts}],
        **{name: value for name, value in sampling.items() if value is not None},
        settings.token_limit: settings.max_tokens,
    }
    hashed = body if settings.seed is not None else body | {"seed": None}
    digest = blake2b(json.dumps(hashed, sort_keys=True).encode(), digest_size=16).hexdigest()
    return EncodedQuestion(body, digest, len(f"{SYSTEM}{text}".encode()) + IMAGE_TOKENS * len(images))


def answer_in(response: str, question: EncodedQuestion, seconds: float) -> Answer | None:
    """The answer that a response holds; None where it is no chat completion.

    An answer without text (a refusal of the model's own, or all of it reasoning) is one, in which nothing is predicted.
    """
    try:
        body = json.loads(response)
        choice = body["choices"][0]
        text = choice["message"]["content"] or ""
        if isinstance(text, list):
            text = "".join(part["text"] for part in text if part.get("type") == "text")
        usage = body.get("usage") or {}
        input_tokens, output_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
        finish = choice.get("finish_reason") or ""
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    if not isinstance(text, str) or not isinstance(finish, str):
        return None
    return Answer(
        text,
        input_tokens if isinstance(input_tokens, int) else question.token_bound,
        output_tokens if isinstance(output_tokens, int) else len(text.encode()),
        round(seconds, 3),
        finish,
    )


def _data_url(image: Image, settings: OpenaiJudge) -> str:
    file = io.BytesIO()
    if settings.image_format == "png":
        image.save(file, "PNG")
    else:
        image.save(file, "JPEG", quality=settings.jpeg_quality, subsampling=0)
    return f"data:image/{settings.image_format};base64,{base64.b64encode(file.getvalue()).decode()}"
