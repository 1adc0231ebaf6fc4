"""A judge behind an OpenAI-compatible endpoint for chat completions, asked by the `openai` package.

The package retries, obeys Retry-After, times out and pools connections. The key is read from the environment, goes into
one header and nowhere else: it is masked in what a server sends back.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient, Omit

from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer
from ppd_lightning.evaluation.vlm_judge.chat_completion import answer_in, request_body
from ppd_lightning.evaluation.vlm_judge.cost import Budget
from ppd_lightning.evaluation.vlm_judge.judge import EncodedQuestion, Judge, Question, RefusedError
from ppd_lightning.masking import mask_variable
from ppd_lightning.storage.fingerprints import fingerprint

if TYPE_CHECKING:
    from ppd_lightning.evaluation.vlm_judge.settings import OpenaiJudge

FAILED = ("error", "abort")
"""Finish reasons of an answer that the server broke off (OpenRouter, vLLM, SGLang); what it holds is no answer."""

PAUSE = 1.0
"""Seconds before the request is sent again whose answer was unusable, times the requests so far."""

LIST_TIMEOUT = 10.0
"""Seconds after which the list of models is given up."""

QUOTED = 300
"""Letters of what a server sent that a message repeats."""

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
        except Exception as error:  # of an address or a proxy; the words may hold the proxy's password
            raise UserError(
                f"judge.base_url: no client can be opened for {self.settings.base_url} ({type(error).__name__}); see "
                "that it is an address, and what HTTP_PROXY, HTTPS_PROXY and ALL_PROXY hold (SOCKS needs the package "
                "socksio)"
            ) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    def encode(self, question: Question) -> EncodedQuestion:
        """The body of a request but for its seed."""
        return request_body(question, self.settings)

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
                raise self._fault(error, sent) from None
            sent += response.retries_taken + 1
            answer = answer_in(response.text, question, response.elapsed.total_seconds())
            if answer is not None and answer.finish not in FAILED:
                return [replace(answer, text=self._masked(answer.text), finish=self._masked(answer.finish))]
            if sent < attempts:
                await asyncio.sleep(PAUSE * sent)
            elif answer is not None:
                raise RefusedError(f"finish reason {answer.finish} in {sent} attempts", REFUSED_REMEDY)
            else:
                raise self._no_answer(f"no chat completion: {self._quoted(response.text)}", sent)

    def check(self) -> str:
        """See `Judge.check`: whether the endpoint answers, takes the key and has the model."""
        models = asyncio.run(self._models())
        if self.model not in models:
            listed = ", ".join(models[:10]) or "nothing"
            raise UserError(f"judge.model: {self.settings.base_url} lists no {self.model} but {listed}")
        return f"{len(models)} models listed"

    def is_model(self, path: str) -> bool:
        """By the names without their owners."""
        own, other = (name.rstrip("/").rpartition("/")[2].lower() for name in (self.model, path))
        return own == other

    async def _models(self) -> list[str]:
        try:
            async with self:
                client = self._client.with_options(max_retries=0, timeout=LIST_TIMEOUT)
                response = await client.models.with_raw_response.list(extra_headers=self._headers)
            return [str(one["id"]) for one in json.loads(response.text)["data"]]
        except APIError as error:
            why = self._why(error)
        except (ValueError, KeyError, TypeError):
            why = "what it sends is none"
        raise self._error("base_url", f"gives no list of models ({why}); start it, or name another address or key")

    def _fault(self, error: APIError, sent: int) -> Exception:
        """What to raise where the package gives up, after `sent` requests before this call."""
        settings, why = self.settings, self._why(error)
        status = error.status_code if isinstance(error, APIStatusError) else 0
        if status in (401, 403):
            key = f"the key in {settings.key_variable}" if settings.key_variable else "a request without a key"
            remedy = "name the environment variable that holds the right one"
            return self._error("key_variable", f"does not accept {key} ({why}); {remedy}")
        if status == 404:
            remedy = "see `ppd doctor` for those that it has, and whether judge.base_url is right"
            return self._error("model", f"knows no model {settings.model} ({why}); {remedy}")
        if status in (402, 405) or 300 <= status < 400:
            return self._error("base_url", f"does not answer ({why}); name the address that does")
        if status in (0, 408, 409, 429) or status >= 500:
            return self._no_answer(why, sent + 1 + int(error.request.headers.get("x-stainless-retry-count", 0)))
        return RefusedError(why, REFUSED_REMEDY)

    def _no_answer(self, why: str, sent: int) -> UserError:
        remedy = "raise judge.timeout or judge.attempts, or lower judge.concurrent; the same command goes on"
        return self._error(
            "base_url", f"gave no answer in {sent} attempts, the last time {why}; see that it is up, or {remedy}"
        )

    def _error(self, key: str, text: str) -> UserError:
        return UserError(f"judge.{key}: {self.settings.base_url} {text}")

    def _why(self, error: APIError) -> str:
        """What a server said of a fault, or how the connection failed."""
        if not isinstance(error, APIStatusError):
            cause = error.__cause__ if isinstance(error, APIConnectionError) else error
            return self._quoted(f"{type(cause).__name__} {cause}")
        words: Any = error.body.get("message", error.body) if isinstance(error.body, Mapping) else error.body
        said = self._quoted(words if isinstance(words, str) else json.dumps(words)) or "no words"
        headers = error.response.headers
        target = f", redirects to {self._quoted(headers['location'])}" if "location" in headers else ""
        wait = (
            f", asks to wait (Retry-After: {self._quoted(headers['retry-after'])})" if "retry-after" in headers else ""
        )
        return f"status {error.status_code}: {said}{target}{wait}"

    def _quoted(self, text: str) -> str:
        """The beginning of what a server sent, in one line and without the key."""
        return " ".join(self._masked(text).split())[:QUOTED]

    def _masked(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text


def _host(base_url: str) -> str:
    """The host of the endpoint.

    Raises:
        UserError: it is no address of HTTP, or carries a password, which would be written into every config.yaml.
    """
    if "@" in base_url or "?" in base_url:
        raise UserError(
            "judge.base_url: holds a password or a query, and settings are written to files; put the key into an "
            "environment variable and name that as judge.key_variable"
        )
    try:
        host = urlsplit(base_url).hostname if base_url.startswith(("http://", "https://")) else None
    except ValueError:
        host = None
    if not host:
        raise UserError(f"judge.base_url: expected such as http://localhost:8000/v1, not {base_url}")
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
    mask_variable(variable)
    secret = os.environ.get(variable, "").strip()
    if not secret:
        raise UserError(
            f"judge.key_variable: the environment variable {variable} is not set; put the endpoint's key there, or use "
            "judge.key_variable=null where none is needed"
        )
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise UserError(f"judge.key_variable: what {variable} holds is no key; keys are letters, digits and signs")
    return secret
