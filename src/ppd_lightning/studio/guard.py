"""What nobody may ask the server for, and the headers that bind the browser. Of Gradio it knows the paths alone."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

LARGEST = 1 << 16
"""Bytes of a request; the page sends nothing that is larger."""
OPEN = {"", "assets", "config", "favicon.ico", "manifest.json", "robots.txt", "static", "take", "theme.css"}
"""What the page uses, by the first part of the path."""
OPEN_API = {"app_id", "heartbeat", "queue", "reset", "run", "startup-events"}
"""What it uses below /gradio_api. All else that Gradio offers is closed: files, proxies, uploads, traces, histories."""
HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
"""The browser is to fetch nothing from elsewhere, whatever the page says."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Guarded:
    """An ASGI application behind limits; on loopback, also behind the names by which a browser knows it."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], host: str) -> None:
        self.app = app
        self.hosts = {host.lower(), "localhost", "127.0.0.1", "[::1]"} if _is_loopback(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refused = self._refused(scope)
        if refused is not None:
            words, code = refused
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": code, "headers": headers})
            await send({"type": "http.response.body", "body": words.encode()})
            return
        read = 0

        async def limited() -> MutableMapping[str, Any]:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            return message if read <= LARGEST else {"type": "http.disconnect"}

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [(name, value) for name, value in message["headers"] if name.decode().lower() not in HEADERS]
                message["headers"] = [*headers, *((name.encode(), value.encode()) for name, value in HEADERS.items())]
            await send(message)

        await self.app(scope, limited, answer)

    def _refused(self, scope: Scope) -> tuple[str, int] | None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        name, _, port = host.rpartition(":")
        name = name if port.isdecimal() else host
        length = headers.get("content-length", "0")
        first, second, *_ = [*(part for part in scope["path"].split("/") if part), "", ""]
        if self.hosts is not None and name.lower() not in self.hosts:
            return "This page is for this machine alone.", 421
        if _is_of_another_site(scope["method"], headers):
            return "This page answers to itself alone.", 403
        if not (length.isascii() and length.isdecimal()) or len(length) > 9 or int(length) > LARGEST:
            return "This is too large.", 413
        if first not in OPEN and not (first == "gradio_api" and second in OPEN_API):
            return "There is nothing here.", 404
        return None


def _is_of_another_site(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a page of somebody else makes the browser ask; to follow a link from there is no such thing."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        follows = method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
        return site not in ("same-origin", "none") and not follows
    origin = headers.get("origin")
    known = (headers.get("host"), headers.get("x-forwarded-host"))
    return origin is not None and origin.partition("://")[2] not in known


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
