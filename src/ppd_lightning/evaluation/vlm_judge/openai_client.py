"""A judge behind an OpenAI-compatible endpoint for chat completions.

The key is read from the environment, goes into one header and nowhere else: what a server says is told without it.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import os
import random
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import Any

import httpx2
from PIL.Image import Image

from ppd_lightning.config.schemas import OpenaiJudge
from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer
from ppd_lightning.evaluation.vlm_judge.judge import Message, Question, RefusedError
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.fingerprints import fingerprint
from ppd_lightning.users.prompts import PLACE, SYSTEM, prediction_prompt

log = logging.getLogger(__name__)

CONTROL = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]")
"""What may be a control word of a model whose tokenizer is not known, such as <|im_end|> or [INST]."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before the second attempt, which double with each, and their most."""

LONGEST_WAIT = 600.0
"""Seconds that a server may ask to wait; with more the command stops."""

PASSING = (408, 409, 425, 429)
"""Statuses that may be others a moment later, beside all from 500 on."""

IMAGE_TOKENS = 2000
"""Of an image at most, as long as no answer has told how many they are."""

WORDS = 300
"""Letters of what a server said that a message repeats."""


class Endpoint:
    """Asks over HTTP; see `question.AskedModel`.

    Raises:
        UserError: no model is named, the address is none, or the variable with the key is not set.
    """

    batch = 1

    def __init__(self, settings: OpenaiJudge) -> None:
        if settings.model is None:
            raise UserError("judge.model: name the model that judges, as the endpoint calls it (judge.model=NAME)")
        self.settings, self.at_once = settings, settings.concurrent
        self.name = f"openai-{fingerprint(settings.model)}"
        self.url = _address(settings.base_url)
        self._secret = _key(settings.key_variable)
        self._client: httpx2.AsyncClient | None = None
        self._ended = asyncio.Event()
        self._not_before = 0.0

    async def __aenter__(self) -> Endpoint:
        self._ended = asyncio.Event()  # of the loop that runs now
        self._client = httpx2.AsyncClient(
            headers=_headers(self._secret),
            timeout=httpx2.Timeout(self.settings.timeout, pool=None),
            limits=httpx2.Limits(max_connections=self.at_once),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._client is not None
        await self._client.aclose()

    def message(self, question: Question) -> Message:
        """The body of a request but for its seed, the images in it as data URLs."""
        settings = self.settings
        captions = " ".join([question.caption, *(shot.caption for shot in question.shots)])
        text = prediction_prompt(question.shots, question.caption, {PLACE, *CONTROL.findall(captions)})
        images = question.all_images
        urls = iter([_data_url(image, settings) for image in images])
        parts: list[dict[str, Any]] = []
        for number, words in enumerate(text.split(PLACE)):
            if number:
                parts.append({"type": "image_url", "image_url": {"url": next(urls)}})
            if words.strip():
                parts.append({"type": "text", "text": words.strip("\n")})
        body = {
            "model": settings.model,
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": parts}],
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            settings.token_limit: settings.max_tokens,
        }
        digest = blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=16).hexdigest()
        most = len(f"{SYSTEM}{text}".encode()) + IMAGE_TOKENS * len(images)
        return Message(body, digest, most)

    async def ask(self, messages: Sequence[Message], seeds: Sequence[int]) -> list[Answer]:
        """See `question.AskedModel`; tries `judge.attempts` times where the fault may pass."""
        ((message,), (seed,)) = messages, seeds
        why = ""
        for attempt in range(self.settings.attempts):
            await self._pause(attempt)
            if self._ended.is_set() and attempt:
                break
            begun = time.monotonic()
            try:
                assert self._client is not None
                response = await self._client.post(self.url, json={**message.content, "seed": seed})
            except httpx2.TransportError as error:
                why = f"{type(error).__name__} {error}".strip()
                log.debug("%s: %s", self.url, why)
                continue
            except httpx2.DecodingError as error:  # what came is not packed as its header says
                why = f"an answer that cannot be unpacked ({error})"
                continue
            if response.status_code == 200:
                answer = _read(response, message, time.monotonic() - begun)
                if answer is not None:
                    return [answer]
                why = f"no chat completion: {self._told(response)}"
            elif response.status_code in PASSING or response.status_code >= 500:
                why = f"status {response.status_code}: {self._told(response)}"
                self._wait(response)
            else:
                raise self._fault(response)
        raise UserError(
            f"judge.base_url: {self.url} gave no answer in {attempt + 1} attempts, the last time {self._clean(why)}; "
            "see that it is up, or raise judge.timeout or judge.attempts, or lower judge.concurrent; the same command "
            "goes on"
        )

    def give_up(self) -> None:
        """See `question.AskedModel`."""
        self._ended.set()

    async def _pause(self, attempt: int) -> None:
        """Wait before an attempt: longer each time, by chance, and as long as the server asked everybody to."""
        pause = min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE) * random.uniform(0.5, 1) if attempt else 0.0
        pause = max(pause, self._not_before - time.monotonic())
        if pause > 0:
            try:
                await asyncio.wait_for(self._ended.wait(), pause)
            except TimeoutError:
                return

    def _wait(self, response: httpx2.Response) -> None:
        """Note how long the server asks to wait (Retry-After: seconds or a date)."""
        asked = _retry_after(response.headers.get("retry-after", ""))
        if asked > LONGEST_WAIT:
            raise UserError(
                f"judge.base_url: {self.url} asks to come back in {asked:.0f} seconds (status {response.status_code}: "
                f"{self._told(response)}); run the same command then"
            )
        self._not_before = max(self._not_before, time.monotonic() + asked)

    def _fault(self, response: httpx2.Response) -> Exception:
        status, told, settings = response.status_code, self._told(response), self.settings
        if status in (401, 403):
            sent = f"the key in {settings.key_variable} is" if settings.key_variable else "a request without a key is"
            return UserError(
                f"judge.key_variable: {self.url} says that {sent} not allowed to ask (status {status}: {told}); name "
                "the environment variable that holds the right one"
            )
        if status == 404:
            return UserError(
                f"judge.model: {self.url} knows no model {settings.model} (status 404: {told}); see `ppd doctor` for "
                "those that it has, and whether judge.base_url is right"
            )
        if 300 <= status < 400:
            place = response.headers.get("location", "elsewhere")
            return UserError(f"judge.base_url: {self.url} sends to {self._clean(place)}; name the address itself")
        if status in (402, 405):
            return UserError(f"judge.base_url: {self.url} does not answer (status {status}: {told})")
        return RefusedError(f"status {status}: {told}")

    def _told(self, response: httpx2.Response) -> str:
        """The beginning of what a server said, without the key."""
        return self._clean(_words(response)) or "no words"

    def _clean(self, text: str) -> str:
        if self._secret:
            text = text.replace(self._secret, "***")
        return " ".join(text.split())[:WORDS]


def listed_models(settings: OpenaiJudge, timeout: float = 10.0) -> list[str]:
    """The models that an endpoint lists.

    Raises:
        UserError: it cannot be reached, refuses the key, or answers with something else.
    """
    url, secret = _address(settings.base_url, "/models"), _key(settings.key_variable)
    try:
        response = httpx2.get(url, headers=_headers(secret), timeout=timeout)
        listed = response.json()["data"] if response.status_code == 200 else None
        if isinstance(listed, list):
            return [str(one["id"]) for one in listed]
        why = f"status {response.status_code}: {_words(response)}"
    except httpx2.TransportError as error:
        why = f"{type(error).__name__} {error}"
    except (httpx2.DecodingError, ValueError, KeyError, TypeError):
        why = "what it answers is no list of models"
    why = " ".join(why.replace(secret, "***").split() if secret else why.split())[:WORDS]
    raise UserError(f"judge.base_url: {url} gives no list of models ({why}); start it, or name another address or key")


def _address(base_url: str, path: str = "/chat/completions") -> str:
    """The address of a part of the endpoint.

    Raises:
        UserError: it is no address of HTTP, or carries a password, which would be written into every config.yaml.
    """
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL as error:
        raise UserError(f"judge.base_url: no address ({error}); expected such as http://localhost:8000/v1") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError(f"judge.base_url: expected such as http://localhost:8000/v1, not {base_url}")
    if url.userinfo or url.query:
        raise UserError(
            "judge.base_url: holds a password or a query, and settings are written to files; put the key into an "
            "environment variable and name that as judge.key_variable"
        )
    return f"{base_url.rstrip('/')}{path}"


def _key(variable: str | None) -> str:
    """The key in that environment variable; nothing where none is named.

    Raises:
        UserError: it is not set, or cannot be a key.
    """
    if variable is None:
        return ""
    secret = os.environ.get(variable, "").strip()
    if not secret:
        raise UserError(
            f"judge.key_variable: the environment variable {variable} is not set; put the endpoint's key there, or use "
            "judge.key_variable=null where none is needed"
        )
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise UserError(f"judge.key_variable: what {variable} holds is no key; keys are letters, digits and signs")
    return secret


def _headers(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"} if secret else {}


def _data_url(image: Image, settings: OpenaiJudge) -> str:
    file = io.BytesIO()
    if settings.image_format == "png":
        image.save(file, "PNG")
    else:
        image.save(file, "JPEG", quality=settings.jpeg_quality, subsampling=0)
    return f"data:image/{settings.image_format};base64,{base64.b64encode(file.getvalue()).decode()}"


def _read(response: httpx2.Response, message: Message, seconds: float) -> Answer | None:
    """The answer that a chat completion holds; None where it is something else.

    An answer without words (a refusal of the model's own, or all of it thoughts) is one, in which nothing is predicted.
    """
    try:
        body = response.json()
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
        input_tokens if isinstance(input_tokens, int) else message.most_tokens,
        output_tokens if isinstance(output_tokens, int) else len(text.encode()),
        round(seconds, 3),
        finish,
    )


def _words(response: httpx2.Response) -> str:
    """What a server says of a fault: the message in its JSON, or the beginning of what else it sent."""
    try:
        told = response.json()
        error = told.get("error", told)
        words = error.get("message", error) if isinstance(error, dict) else error
        return words if isinstance(words, str) else json.dumps(words)
    except (ValueError, AttributeError, httpx2.HTTPError):
        return response.text


def _retry_after(header: str) -> float:
    """Seconds that the header Retry-After asks for; 0 where it says nothing that can be read."""
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", header):
        return float(header)
    try:
        when = parsedate_to_datetime(header)
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp())
