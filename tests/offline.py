"""A machine without a network and without files fetched from the model hub."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from huggingface_hub import constants


def go_offline(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """From here on whatever asks the network fails, at once, and the hub's client looks into `cache`."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a test asked the network")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
