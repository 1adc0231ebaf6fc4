from __future__ import annotations

from pathlib import Path

import pytest
from tests.training import tiny_world

from ppd_lightning.commands import train
from ppd_lightning.config.compose import compose


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny world with a finished run that was never interrupted."""
    folder = tiny_world.make(tmp_path_factory.mktemp("world"))
    train.run(compose(tiny_world.overrides(folder, folder / "out")))
    return folder
