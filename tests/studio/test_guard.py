"""What the server answers, and to whom, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from ppd_lightning.studio.guard import Guarded

OWN = {"host": "localhost:7860"}


def answer(path: str = "/", headers: dict[str, str] = OWN, method: str = "POST", listens: str = "127.0.0.1") -> int:
    """The status; 200 is the page's."""
    sent: list[MutableMapping[str, Any]] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    listed = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": listed}
    asyncio.run(Guarded(page, listens)(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("localhost:7860", 200),
        ("LOCALHOST", 200),
        ("[::1]:7860", 200),
        ("[::1]", 200),
        ("example.com", 421),
        ("localhost.example.com:7860", 421),
        ("127.0.0.1:7860@example.com", 421),
        ("", 421),
    ],
)
def test_on_loopback_it_answers_to_no_other_name(name: str, code: int) -> None:
    assert answer(headers={"host": name}) == code
    assert answer(headers={"host": name}, listens="0.0.0.0") == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"origin": "http://localhost:7860"}, 200),
        ({"origin": "https://studio.example", "x-forwarded-host": "studio.example"}, 200),
        ({"origin": "https://studio.example", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://localhost:3000"}, 403),
        ({"origin": "http://example.com"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_pages_of_others_ask_for_nothing(headers: dict[str, str], code: int) -> None:
    for listens in ("127.0.0.1", "0.0.0.0"):
        assert answer("/gradio_api/queue/join", OWN | headers, listens=listens) == code


def test_a_link_to_the_page_may_lie_anywhere() -> None:
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert answer("/", OWN | followed, "GET") == 200
    assert answer("/", OWN | followed | {"sec-fetch-mode": "no-cors"}, "GET") == 403


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/upload",
        "/gradio_api/proxy=http://example.com",
        "/gradio_api/vibe-edit",
        "/gradio_api/profiling/clear",
        "//gradio_api//deep_link",
        "/gradio_api",
        "/openapi.json",
        "/login",
        "/monitoring",
        "/./gradio_api/upload",
    ],
)
def test_what_the_page_does_not_use_is_closed(path: str) -> None:
    assert answer(path) == 404


def test_large_requests_are_refused() -> None:
    for length in ("65537", "9" * 5000, "-1", "²", "x"):
        assert answer("/gradio_api/queue/join", OWN | {"content-length": length}) == 413
    assert answer("/gradio_api/queue/join", OWN | {"content-length": "65536"}) == 200
