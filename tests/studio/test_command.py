"""`ppd studio` says what is wrong before it loads a model."""

from __future__ import annotations

import dataclasses
import importlib.util
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ppd_lightning.commands import studio as command
from ppd_lightning.config.compose import compose, of_this_version
from ppd_lightning.errors import UserError
from ppd_lightning.studio.pairs import poles


def test_a_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    found: Callable[..., object] = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else found(name))
    with pytest.raises(UserError, match=r'pip install "ppd-lightning\[studio\]"') as caught:
        command.run(compose())
    assert len(caught.value.faults) == 1


def test_a_port_that_is_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    monkeypatch.setattr(command, "open_studio", lambda config: pytest.fail("a model was opened"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"studio\.port: .*port {port} .*in use"):
            command.run(compose([f"studio.port={port}"]))


def test_what_ships_is_there_and_knows_people_captions_and_rewards() -> None:
    folder = command.place(str(compose().studio.of))
    names = ("adapter.safetensors", "describer.safetensors", "users.safetensors", "pairs.parquet", "captions.txt")
    assert [name for name in (*names, "rewards/adapter.safetensors") if not (folder / name).is_file()] == []
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 6_000_000


def test_an_export_without_captions_asks_for_some(tmp_path: Path) -> None:
    shipped = command.place(str(compose().studio.of))
    (tmp_path / "adapter.safetensors").write_bytes((shipped / "adapter.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"studio\.captions"):
        command.captions_of(compose(), tmp_path)
    assert command.captions_of(compose(["studio.captions=[a cat, a boat, a cat]"]), tmp_path) == ["a cat", "a boat"]


def test_runs_of_earlier_versions_get_the_settings_that_came_later() -> None:
    values = dataclasses.asdict(compose())
    earlier = {name: value for name, value in values.items() if name != "studio"}
    earlier["model"] = {name: value for name, value in values["model"].items() if name != "arithmetic"}
    assert of_this_version(earlier) == {**values, "model": {**values["model"], "arithmetic": "stock"}}


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 300, "http://127.0.0.1", "192.0.2.1"])
def test_a_host_that_is_not_of_this_machine_is_named(host: str) -> None:
    pytest.importorskip("gradio")
    with pytest.raises(UserError, match=rf"studio\.host: .*{host[:20]}"):
        command.run(compose([f"studio.host='{host}'"]))


def test_people_of_one_vector_make_no_triangle() -> None:
    assert poles({name: np.ones(3) for name in "abc"}, 3) == ["a"]
