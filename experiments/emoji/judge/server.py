"""A judge for the embedded world: an OpenAI-compatible server that looks at the images and reasons about the person.

    python experiments/emoji/judge/server.py experiment=emoji/demo

It reads what `ppd judge` sends and nothing else: captions, images and choices. It sees each image's style by a shipped
judge of style and measures its statistics; it knows how the world is made (how tastes are distributed, how noisy
choices are, every real picture) but no person's taste, nor who is asked about, nor which image the base drew. From the
shots it infers the person as a Bayesian (`worlds/emoji/oracle.py`), and samples its answer at the temperature that is
asked for, as a language model does.

M = imagined people, K = concepts, S = styles, J = image statistics.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import re
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import torch
from PIL import Image

from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pictures import Square
from ppd_lightning.rewards.image_statistics import STATISTICS, image_statistics
from ppd_lightning.users.vlm_prompts import MARK, PREDICTION
from ppd_lightning.worlds.emoji.judges import SIZE, load_judge
from ppd_lightning.worlds.emoji.oracle import Oracle
from ppd_lightning.worlds.emoji.people import utilities
from ppd_lightning.worlds.emoji.real_pictures import read_real_pictures
from ppd_lightning.worlds.emoji.source import EmojiSource

MODEL = "emoji-bayes"
IMAGINED_SEED = 1_000_003
"""Draws the imagined people: none of the world's."""

PAIR = re.compile(
    r'(?:Pair \d+|The new pair)\. The caption of both images is: "(.*?)"\s*'
    r"Here is Image 1:\s*\0(\d+)\0\s*Here is Image 2:\s*\0(\d+)\0(?:\s*The person prefers Image ([12])\.)?"
)
IMAGE_WORDS = 64
"""That an image counts for in the usage."""


class UnreadableError(Exception):
    """What was asked is none of the judge's business."""


@dataclass(frozen=True)
class Seen:
    """An image: how likely each style is (S,), and its statistics (J,)."""

    styles: np.ndarray
    statistics: np.ndarray


class Bayesian:
    """Answers what is asked of a person of the prepared world.

    Args:
        style_judge: which of the shipped judges of style recognises styles.
    """

    def __init__(self, config: Config, style_judge: str) -> None:
        assert isinstance(config.data, EmojiSource)
        data = Workspace(config).data
        self.styles = tuple(sorted({image["model"] for image in data.images_table().to_pylist()}))
        real = read_real_pictures(data, self.styles)
        self.concepts, self.temperature = real.concepts, config.data.choice_temperature
        self._style_judge = load_judge(style_judge)
        self._columns = [self._style_judge.labels.index(style) for style in self.styles]
        self.oracle = Oracle(real.statistics, self.styles, STATISTICS, self.temperature, seed=IMAGINED_SEED)

    def answer(self, body: dict[str, Any]) -> tuple[str, int]:
        """The answer to a request of chat completions, and how many words were read.

        Raises:
            UnreadableError: it is no question of the form that `users/vlm_prompts.py` gives it.
        """
        text, images = _read(body)
        seen = [self._look(image) for image in images]
        *shots, new = PAIR.findall(text) or [("", "", "", "")]
        if not shots or new[3] or not all(shot[3] for shot in shots):
            raise UnreadableError("expected pairs with the choice of a person, then one without")
        log_likelihood = np.zeros(len(self.oracle.utility))
        sentences = []
        for number, (caption, first, second, choice) in enumerate(shots, start=1):
            if caption not in self.concepts:
                raise UnreadableError(f"no picture of this world is called {caption!r}")
            pair = [seen[int(first)], seen[int(second)]]
            liked, other = pair if choice == "1" else pair[::-1]
            each = self.oracle.log_likelihood[:, self.concepts.index(caption)].astype(np.float64)  # (M, S)
            log_likelihood += np.log(np.exp(each) @ liked.styles + 1e-12)
            sentences.append(f"Pair {number}: liked {self._named(liked)}, not {self._named(other)}.")
        posterior = np.exp(log_likelihood - log_likelihood.max())
        posterior /= posterior.sum()
        pair = [seen[int(number)] for number in new[1:3]]
        liked = utilities(
            self.oracle.people, np.stack([one.styles for one in pair]), np.stack([one.statistics for one in pair])
        )  # (M, 2)
        first = float(posterior @ (1 / (1 + np.exp((liked[:, 1] - liked[:, 0]) / self.temperature))))
        tastes = posterior @ self.oracle.people.style_weights
        order = ", ".join(self.styles[style] for style in np.argsort(-tastes))
        image = _drawn(first, float(body.get("temperature", 1.0)), _uniform(body))
        lines = [
            *sentences,
            f"{MARK} likes the styles in the order {order}.",
            f"The new pair: Image 1 is {self._named(pair[0])}, Image 2 is {self._named(pair[1])}.",
            f"{PREDICTION} {image}",
        ]
        return "\n".join(lines), len(text.split()) + IMAGE_WORDS * len(images)

    def _look(self, image: Image.Image) -> Seen:
        pixels = torch.from_numpy(Square(SIZE)(image).copy())[None].float() / 255
        styles = self._style_judge.probabilities(pixels)[0, self._columns].double().numpy()
        return Seen(styles / styles.sum(), image_statistics(pixels)[0].double().numpy())

    def _named(self, seen: Seen) -> str:
        return self.styles[int(seen.styles.argmax())]


def _read(body: dict[str, Any]) -> tuple[str, list[Image.Image]]:
    """The user's words, with each image's number between zeros, and the images."""
    words: list[str] = []
    images: list[Image.Image] = []
    try:
        [content] = [message["content"] for message in body["messages"] if message["role"] == "user"]
        for part in content:
            if part["type"] == "text":
                words.append(part["text"])
                continue
            data = base64.b64decode(part["image_url"]["url"].partition(";base64,")[2], validate=True)
            words.append(f"\0{len(images)}\0")
            images.append(Image.open(io.BytesIO(data), formats=("JPEG", "PNG")).convert("RGB"))
    except (KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise UnreadableError(f"no message with text and images ({error!r})") from None
    return "\n".join(words), images


def _drawn(first: float, temperature: float, uniform: float) -> int:
    """Image 1 or 2 of probabilities (first, 1 - first) at a temperature; 0 takes the likelier one."""
    if temperature == 0:
        return 1 if first >= 0.5 else 2
    odds = (max(1 - first, 1e-12) / max(first, 1e-12)) ** (1 / temperature)
    return 1 if uniform * (1 + odds) < 1 else 2


def _uniform(body: dict[str, Any]) -> float:
    """A number in [0, 1) that follows from everything that was sent, the seed among it."""
    digest = hashlib.blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / (1 << 53)


class Handler(BaseHTTPRequestHandler):
    """Speaks the part of the protocol that `ppd judge` and `ppd doctor` speak."""

    judge: Bayesian
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """/v1/models."""
        self._send(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    def do_POST(self) -> None:
        """/v1/chat/completions."""
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            if body.get("model") != MODEL:
                return self._send(404, {"error": {"message": f"The model `{body.get('model')}` does not exist."}})
            text, read = self.judge.answer(body)
        except (UnreadableError, ValueError) as error:
            return self._send(400, {"error": {"message": str(error)}})
        written = len(text.split())
        return self._send(
            200,
            {
                "object": "chat.completion",
                "model": MODEL,
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
            },
        )

    def _send(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing a request."""


def main() -> None:
    """Serve until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("overrides", nargs="*", help="as for ppd: which world")
    parser.add_argument("--port", type=int, default=8377)
    parser.add_argument("--style-judge", choices=("pixels", "statistics"), default="statistics")
    asked = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    Handler.judge = Bayesian(compose(asked.overrides), asked.style_judge)
    with ThreadingHTTPServer(("127.0.0.1", asked.port), Handler) as server:
        print(f"{MODEL} answers at http://127.0.0.1:{server.server_port}/v1", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
