"""A real HTTP server that speaks chat completions, and can be slow, busy, broken or talk nonsense."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "tiny-judge"
PROMPT_TOKENS, ANSWER_TOKENS = 1000, 100

Reply = tuple[int, dict[str, str], bytes]
"""Status, headers and body; a body of b"" with status 0 cuts the connection."""

Behaviour = Callable[["JudgeServer", dict[str, Any], int], Reply | None]
"""The server, the request's body and its number (from 0) to a reply; None is a sound answer."""


def completion(text: str, finish: str = "stop") -> Reply:
    body = {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": ANSWER_TOKENS},
    }
    return 200, {}, json.dumps(body).encode()


def fault(status: int, words: str, **headers: str) -> Reply:
    return status, headers, json.dumps({"error": {"message": words}}).encode()


CUT: Reply = (0, {}, b"")


def images_of(body: dict[str, Any]) -> list[str]:
    """The data URLs of a request, in their order."""
    parts = body["messages"][-1]["content"]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


def prefers_lower_hash(body: dict[str, Any]) -> str:
    """A consistent judge: of the new pair it takes the image whose bytes have the lower hash."""
    first, second = (hashlib.sha256(url.encode()).digest() for url in images_of(body)[-2:])
    return f"User Profile: x\nPrediction of user preference: {1 if first < second else 2}"


class JudgeServer(ThreadingHTTPServer):
    """bodies: of all POSTs, in the order in which they came. headers: of all requests. keys: their Authorization."""

    daemon_threads = True

    def __init__(self, behaviour: Behaviour | None, delay: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour, self.delay = behaviour, delay
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.headers: list[str] = []
        self.times: list[float] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def most_asked(self) -> int:
        """How often the request came that came most often."""
        return max(Counter(json.dumps(body, sort_keys=True) for body in self.bodies).values(), default=0)


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._note_headers()
        self._send((200, {}, json.dumps({"data": [{"id": MODEL}]}).encode()))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.bodies)
            self.server.bodies.append(body)
            self.server.times.append(time.monotonic())
        self._note_headers()
        time.sleep(self.server.delay)
        reply = self.server.behaviour(self.server, body, number) if self.server.behaviour else None
        self._send(reply or completion(prefers_lower_hash(body)))

    def _note_headers(self) -> None:
        with self.server.lock:
            self.server.keys.append(self.headers.get("Authorization"))
            self.server.headers.append(str(self.headers))

    def _send(self, reply: Reply) -> None:
        status, headers, data = reply
        if not status:
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):  # the connection that was cut
            return

    def log_message(self, *_: object) -> None: ...


@contextmanager
def judge_server(behaviour: Behaviour | None = None, delay: float = 0.0) -> Iterator[JudgeServer]:
    """The server, in threads of this process, until the block ends."""
    server = JudgeServer(behaviour, delay)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
