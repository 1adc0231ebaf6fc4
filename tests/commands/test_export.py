"""A training's result given away: it works where this package is not, and says what it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests import tiny
from tests.data.emoji import packages as handmade

from ppd_lightning.commands import embed, export, prepare, train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.schemas import Config
from ppd_lightning.data.emoji import source
from ppd_lightning.data.emoji.pictures import shipped_concepts
from ppd_lightning.generation.grid import as_picture
from ppd_lightning.generation.trained import open_run
from ppd_lightning.run.folders import run_folder

SETTINGS = (
    "experiment=emoji/demo",
    "data.concepts=12",
    "data.held_out_concepts=4",
    "data.people=8",
    "data.unseen_people=3",
    "data.pairs_per_person=12",
    "user.encoder=codec",
    "user.groupings=2",
    "trainer.max_steps=3",
    "optimizer.warmup_steps=1",
    "optimizer.ema_decay=0.5",
    "trainer.batch_size=4",
    "generation.steps=4",
    "generation.columns=2",
    "generation.text_guidance=3",
    "generation.user_guidance=3",
    "generation.user_guidance_interval=[0.5,1.0]",
)
CAPTION, SEED = "a red fox", 5
WITHOUT_THE_PACKAGE = """
import runpy, sys
sys.modules["ppd_lightning"] = None  # every import of it or of a part of it now fails
try:
    import ppd_lightning.models
except ImportError:
    pass
else:
    raise SystemExit("the package can be imported")
script, *sys.argv[1:] = sys.argv[1:]
sys.path[0] = script.rpartition("/")[0]
runpy.run_path(script, run_name="__main__")
"""
BLEND = "[{1: 0.25, 2: 0.75}, '3']"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handmade, "CODES", {name: f"1f6{k:02d}" for k, name in enumerate(shipped_concepts(12))})
        return handmade.packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def emoji(tmp_path_factory: pytest.TempPathFactory, pictures: dict[str, Path]) -> Path:
    folder = tmp_path_factory.mktemp("emoji")
    tiny.model_folder(folder / "base")
    _train(folder, emoji_config(folder), pictures)
    return folder


@pytest.fixture(scope="module")
def stage_c(tmp_path_factory: pytest.TempPathFactory, pictures: dict[str, Path]) -> Path:
    folder = tmp_path_factory.mktemp("stage_c")
    tiny.stage_c_folder(folder / "base")
    _train(folder, stage_c_config(folder), pictures)
    return folder


def _train(folder: Path, config: Config, pictures: dict[str, Path]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "fetch_packages", lambda _: pictures)
        for verb in (prepare, embed, train):
            verb.run(config)
    # Three steps hardly move the branch: make it matter, so that a script that leaves it out fails.
    for path in run_folder(config).glob("adapter*.safetensors"):
        _strengthen(path)


def emoji_config(folder: Path, *overrides: str) -> Config:
    return compose([*SETTINGS, f"model.path={folder / 'base'}", f"output={folder / 'out'}", *overrides])


def stage_c_config(folder: Path, *overrides: str) -> Config:
    own = ("model=stage_c_lite", "mode=synthetic", "data.image_size=96")
    return emoji_config(folder, *own, *overrides)


def _strengthen(path: Path) -> None:
    with safe_open(path, "pt") as file:
        header = file.metadata()
    generator = torch.Generator().manual_seed(len(path.name))
    tensors = {
        name: torch.randn(tensor.shape, generator=generator) * 0.3 if "to_v" in name else tensor
        for name, tensor in load_file(path).items()
    }
    save_file(tensors, path, header)


def exported(config: Config) -> Path:
    return Path(export.run(config)["folder"])


def drawn(folder: Path, out: Path, base: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What draw.py does in a process that has diffusers and not this package."""
    words = [folder / "draw.py", base, CAPTION, "--out", out, *options]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE, *map(str, words)],
        cwd=out.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def differences(path: Path, image: torch.Tensor) -> np.ndarray:
    """Of a PNG to an image (3, H, W) in [0, 1], in 8-bit levels."""
    with Image.open(path) as picture:
        return np.abs(np.asarray(picture).astype(int) - np.asarray(as_picture(image)).astype(int))


@pytest.mark.parametrize("layout", ["emoji", "stage_c"])
def test_the_script_draws_what_the_framework_does_without_it(
    layout: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(layout)
    config = (emoji_config if layout == "emoji" else stage_c_config)(folder)
    release = exported(config)
    users = load_file(release / "users.safetensors")
    name = sorted(users)[1]
    done = drawn(release, tmp_path / "drawn.png", folder / "base", "--user", name, "--seed", str(SEED))
    assert done.returncode == 0, done.stderr
    trained = open_run(config)
    ours, base = (trained.draw([CAPTION], one, [SEED])[0] for one in (trained.users([name]), None))
    # Text and user are guided by one forward instead of three: rounding may tip an 8-bit level.
    assert differences(tmp_path / "drawn.png", ours).max() <= 1
    assert differences(tmp_path / "drawn.png", base).mean() > 2
