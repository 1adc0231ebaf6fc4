"""A judge behind an OpenAI-compatible endpoint for chat completions, asked by the `openai` package.

The package retries, obeys Retry-After, times out and pools connections. The key is read from the environment, goes into
one header and nowhere else: it is masked in what a server sends back.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient, Omit
from PIL.Image import Image

from ppd_lightning.config.schemas import OpenaiJudge
from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer
from ppd_lightning.evaluation.vlm_judge.cost import Budget
from ppd_lightning.evaluation.vlm_judge.judge import EncodedQuestion, Judge, Question, RefusedError
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.fingerprints import fingerprint
from ppd_lightning.users.prompts import PLACE, SYSTEM, prediction_prompt

CONTROL = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]")
"""What may be a control word of a model whose tokenizer is not known, such as <|im_end|> or [INST]."""

FAILED = ("error", "abort")
"""Finish reasons of an answer that the server broke off (OpenRouter, vLLM, SGLang); what it holds is no answer."""

PAUSE = 1.0
"""Seconds before the request is sent again whose answer was unusable, times the requests so far."""

IMAGE_TOKENS = 2000
"""Of an image at most, as long as no answer has said how many they are."""

QUOTED = 300
"""Letters of what a server sent that a message repeats."""

LIST_TIMEOUT = 10.0
"""Seconds after which the list of models is given up."""

REFUSED_REMEDY = (
    "look at judge.max_tokens, judge.token_limit, judge.image_size and shots.n; what the model does not take of "
    "judge.temperature, judge.top_p and judge.seed is left out with null"
)


class EndpointJudge(Judge):
    """A model behind an endpoint.

    Raises:
        UserError: no model is named, the address is none, or the variable with the key is not set.
    """

    model_key = "judge.model"
    neutral_settings = Judge.neutral_settings | {
        *("base_url", "key_variable", "concurrent", "timeout", "attempts"),
        *("price_in", "price_out", "max_cost", "max_requests"),
    }

    def __init__(self, settings: OpenaiJudge) -> None:
        if settings.model is None:
            raise UserError("judge.model: name the model that judges, as the endpoint calls it (judge.model=NAME)")
        self.settings, self.model, self.concurrent = settings, settings.model, settings.concurrent
        self.identity = f"openai-{fingerprint(settings.model)}"
        prices = {name: getattr(settings, name) for name in ("price_in", "price_out", "max_cost", "max_requests")}
        self.budget = Budget(settings.max_tokens, **prices)
        self._local = _is_loopback(_host(settings.base_url))
        self._secret = _key(settings.key_variable)
        # Sent with each request, so that no key of OPENAI_API_KEY or OPENAI_CUSTOM_HEADERS takes its place.
        self._headers = {"Authorization": f"Bearer {self._secret}" if self._secret else Omit()}

    async def __aenter__(self) -> EndpointJudge:
        try:
            self._client = AsyncOpenAI(
                base_url=self.settings.base_url,
                api_key="unused",
                timeout=self.settings.timeout,
                http_client=DefaultAsyncHttpxClient(trust_env=not self._local, follow_redirects=False),
            )
        except Exception as error:  # whatever an address or a proxy leads to; its words may hold the proxy's password
            raise UserError(
                f"judge.base_url: no client can be opened for {self.settings.base_url} ({type(error).__name__}); see "
                "that it is an address, and what HTTP_PROXY, HTTPS_PROXY and ALL_PROXY hold (SOCKS needs the package "
                "socksio)"
            ) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    def encode(self, question: Question) -> EncodedQuestion:
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
        sampling = {"temperature": settings.temperature, "top_p": settings.top_p}
        body = {
            "model": settings.model,
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": parts}],
            **{name: value for name, value in sampling.items() if value is not None},
            settings.token_limit: settings.max_tokens,
        }
        hashed = body if settings.seed is not None else body | {"seed": None}
        digest = blake2b(json.dumps(hashed, sort_keys=True).encode(), digest_size=16).hexdigest()
        bound = len(f"{SYSTEM}{text}".encode()) + IMAGE_TOKENS * len(images)
        return EncodedQuestion(body, digest, bound)

    async def answer(self, questions: Sequence[EncodedQuestion], seeds: Sequence[int]) -> list[Answer]:
        """See `Judge.answer`; up to `judge.attempts` requests, where a fault may be temporary."""
        ((question,), (seed,)) = questions, seeds
        body = question.content | ({} if self.settings.seed is None else {"seed": seed})
        sent, attempts = 0, self.settings.attempts
        while True:
            client = self._client.with_options(max_retries=attempts - sent - 1)
            try:
                response = await client.chat.completions.with_raw_response.create(**body, extra_headers=self._headers)
            except APIError as error:
                raise self._fault(error) from None
            sent += response.retries_taken + 1
            answer = self._read(response.text, question, response.elapsed.total_seconds())
            if answer is not None and answer.finish not in FAILED:
                return [answer]
            if sent < attempts:
                await asyncio.sleep(PAUSE * sent)
            elif answer is not None:
                raise RefusedError(f"finish reason {answer.finish} in {sent} attempts", REFUSED_REMEDY)
            else:
                raise self._no_answer(f"no chat completion: {self._quoted(response.text)}")

    def check(self) -> str:
        """See `Judge.check`: whether the endpoint answers, takes the key and has the model."""
        models = asyncio.run(self._models())
        if self.model not in models:
            listed = ", ".join(models[:10]) or "nothing"
            raise UserError(f"judge.model: {self.settings.base_url} lists no {self.model} but {listed}")
        return f"{len(models)} models listed"

    def is_model(self, path: str) -> bool:
        """By the name without its owner."""
        return _short(self.model) == _short(path)

    async def _models(self) -> list[str]:
        try:
            async with self:
                client = self._client.with_options(max_retries=0, timeout=LIST_TIMEOUT)
                response = await client.models.with_raw_response.list(extra_headers=self._headers)
            return [str(one["id"]) for one in json.loads(response.text)["data"]]
        except APIError as error:
            why = self._why(error)
        except (ValueError, KeyError, TypeError):
            why = "what it sends is no list of models"
        raise UserError(
            f"judge.base_url: {self._address('models')} gives no list of models ({why}); start it, or name another "
            "address or key"
        )

    def _read(self, text: str, question: EncodedQuestion, seconds: float) -> Answer | None:
        """The answer that a chat completion holds; None where it is something else.

        An answer without text (a refusal of the model's own, or all of it reasoning) is one, in which nothing is
        predicted.
        """
        try:
            body = json.loads(text)
            choice = body["choices"][0]
            content = choice["message"]["content"] or ""
            if isinstance(content, list):
                content = "".join(part["text"] for part in content if part.get("type") == "text")
            usage = body.get("usage") or {}
            input_tokens, output_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
            finish = choice.get("finish_reason") or ""
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return None
        if not isinstance(content, str) or not isinstance(finish, str):
            return None
        return Answer(
            self._masked(content),
            input_tokens if isinstance(input_tokens, int) else question.token_bound,
            output_tokens if isinstance(output_tokens, int) else len(content.encode()),
            round(seconds, 3),
            self._masked(finish),
        )

    def _fault(self, error: APIError) -> Exception:
        """What to raise where the package has given up."""
        settings, url, why = self.settings, self._address(), self._why(error)
        if not isinstance(error, APIStatusError):
            return self._no_answer(why)
        status, headers = error.status_code, error.response.headers
        if status in (401, 403):
            key = f"the key in {settings.key_variable}" if settings.key_variable else "a request without a key"
            return UserError(
                f"judge.key_variable: {url} does not accept {key} ({why}); name the environment variable that holds "
                "the right one"
            )
        if status == 404:
            return UserError(
                f"judge.model: {url} knows no model {settings.model} ({why}); see `ppd doctor` for those that it has, "
                "and whether judge.base_url is right"
            )
        if 300 <= status < 400:
            target = self._quoted(headers.get("location", "another address"))
            return UserError(f"judge.base_url: {url} redirects to {target}; name that address itself")
        if status in (402, 405):
            return UserError(f"judge.base_url: {url} does not answer ({why})")
        if status in (408, 409, 429) or status >= 500:
            return self._no_answer(why, headers.get("retry-after", ""))
        return RefusedError(why, REFUSED_REMEDY)

    def _no_answer(self, why: str, retry_after: str = "") -> UserError:
        """The endpoint is down or overloaded; `retry_after` is that header of its last response."""
        if retry_after:
            wait = f"in {retry_after} seconds" if retry_after.isdecimal() else f"after {self._quoted(retry_after)}"
            fault = f"asks to come back {wait} ({why}); run the same command then, or raise judge.attempts"
        else:
            fault = (
                f"gave no answer in {self.settings.attempts} attempts, the last time {why}; see that it is up, or "
                "raise judge.timeout or judge.attempts"
            )
        return UserError(
            f"judge.base_url: {self._address()} {fault}, or lower judge.concurrent; the same command goes on"
        )

    def _why(self, error: APIError) -> str:
        """What a server said of a fault, or how the connection failed."""
        if isinstance(error, APIConnectionError):
            cause = error.__cause__ or error
            return self._quoted(f"{type(cause).__name__} {cause}")
        words: Any = error.body.get("message", error.body) if isinstance(error.body, Mapping) else error.body
        told = self._quoted(words if isinstance(words, str) else json.dumps(words))
        return f"status {error.status_code}: {told}" if isinstance(error, APIStatusError) else told

    def _address(self, path: str = "chat/completions") -> str:
        return f"{self.settings.base_url.rstrip('/')}/{path}"

    def _quoted(self, text: str) -> str:
        """The beginning of what a server sent, in one line and without the key."""
        return " ".join(self._masked(text).split())[:QUOTED] or "no words"

    def _masked(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text


def _host(base_url: str) -> str:
    """The host of the endpoint.

    Raises:
        UserError: it is no address of HTTP, or carries a password, which would be written into every config.yaml.
    """
    try:
        url = urlsplit(base_url)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise UserError(f"judge.base_url: no address ({error}); expected such as http://localhost:8000/v1") from None
    if url.scheme not in ("http", "https") or not host:
        raise UserError(f"judge.base_url: expected such as http://localhost:8000/v1, not {base_url}")
    if "@" in url.netloc or url.query:
        raise UserError(
            "judge.base_url: holds a password or a query, and settings are written to files; put the key into an "
            "environment variable and name that as judge.key_variable"
        )
    return host


def _is_loopback(host: str) -> bool:
    """Whether it is this machine, which no proxy is asked for."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(variable: str | None) -> str:
    """The key in that environment variable; empty where none is named.

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


def _data_url(image: Image, settings: OpenaiJudge) -> str:
    file = io.BytesIO()
    if settings.image_format == "png":
        image.save(file, "PNG")
    else:
        image.save(file, "JPEG", quality=settings.jpeg_quality, subsampling=0)
    return f"data:image/{settings.image_format};base64,{base64.b64encode(file.getvalue()).decode()}"


def _short(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()
