"""Rewards are opened from a configuration, one's own as well as the shipped ones, and every fault is told at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.rewards import tiny_rewards as made
from torch import Tensor

from ppd_lightning.errors import UserError
from ppd_lightning.rewards.picture_features import BATCH
from ppd_lightning.rewards.readable import readable
from ppd_lightning.rewards.reward import Option, Reward, distinct, open_rewards
from ppd_lightning.rewards.sources import Role
from ppd_lightning.storage.fingerprints import file_sha256


class Redness(Reward):
    """One's own: how red a picture is, times the caption's letters."""

    roles = {"scale": Role((("scale.txt", "unit.txt"), ("scale.txt",)), "nowhere", "1 kB", "MIT", single=True)}

    def __init__(
        self,
        name: str,
        weights: Mapping[str, str],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        side: int,
        loud: bool = False,
    ) -> None:
        super().__init__(name, weights, device=device, dtype=dtype, side=side, loud=loud)
        self.side = side

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        return np.asarray(readable(picture).convert("RGB").resize((self.side, self.side))).transpose(2, 0, 1)

    def image_features(self, pixels: Tensor) -> Tensor:
        return pixels[:, 0].float().mean((1, 2), keepdim=True)[..., 0]

    def scores(self, features: Tensor, captions: Sequence[str]) -> Tensor:
        return features[:, 0] * torch.tensor([len(caption) for caption in captions])


@dataclass(frozen=True)
class Settings:
    target: str = f"{__name__}.Redness"
    weights: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)


@pytest.fixture
def scale(tmp_path: Path) -> Path:
    (tmp_path / "scale.txt").write_text("2")
    return tmp_path / "scale.txt"


def test_a_reward_of_ones_own_is_opened_by_its_import_path(scale: Path) -> None:
    settings = {"red": Settings(weights={"scale": str(scale)}, options={"side": 4})}
    reward = open_rewards(settings)["red"]
    assert isinstance(reward, Redness)
    assert reward.score([Image.new("RGB", (9, 9), (10, 0, 0))], ["four"]).tolist() == [40]
    assert reward.files == {"scale": str(scale)}
    assert reward.sha256 == {str(scale): file_sha256(scale)}


def test_every_fault_of_every_reward_is_reported_at_once() -> None:
    settings = {
        "a": Settings("ppd_lightning.rewards.nothing.Reward"),
        "b": Settings("pathlib.Path"),
        "c": Settings("Redness"),
        "d": Settings(weights={"model": "x"}, options={"side": 1}),
        "e": Settings(weights={"scale": "x"}, options={"loud": True, "quiet": False}),
    }
    with pytest.raises(UserError) as error:
        open_rewards(settings)
    faults = error.value.faults
    assert [fault.partition(": ")[0] for fault in faults] == [
        "rewards.a.target",
        "rewards.b.target",
        "rewards.c.target",
        "rewards.d.weights.model",
        "rewards.d.weights.scale",
        "rewards.e.options.quiet",
        "rewards.e.options.side",
    ]
    assert "expected a class derived from ppd_lightning.rewards.reward.Reward" in faults[1]
    assert "no weights of Redness; expected scale" in faults[3]
    assert "missing; expected scale.txt and unit.txt, 1 kB, from nowhere (licence: MIT)" in faults[4]
    assert "no option of Redness; there are side, loud" in faults[5]
    assert not any("\n" in fault for fault in faults)


def test_a_reward_without_weights_takes_none() -> None:
    class Plain(Redness):
        roles = {}

    assert Plain("plain", {}, side=3).files == {}
    with pytest.raises(UserError, match=r"rewards\.plain\.weights\.model: .*; this reward has no weights"):
        Plain("plain", {"model": "x"}, side=3)


def test_the_fingerprint_is_of_class_version_options_bytes_and_dtype(scale: Path) -> None:
    weights = {"scale": str(scale)}

    class Newer(Redness):
        version = 2

    before = Redness("red", weights, side=4).fingerprint()
    assert Redness("other name", weights, side=4).fingerprint() == before
    others = [
        Newer("red", weights, side=4),
        Redness("red", weights, side=5),
        Redness("red", weights, side=4, dtype=torch.bfloat16),
    ]
    found = {reward.fingerprint() for reward in others}
    scale.write_text("3")
    found.add(Redness("red", weights, side=4).fingerprint())
    assert len(found | {before}) == 5


def test_the_place_of_the_files_does_not_count_for_the_fingerprint(scale: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    before = Redness("red", {"scale": str(scale)}, side=4).fingerprint()
    scale.rename(tmp_path / "moved/scale.txt")
    assert Redness("red", {"scale": str(tmp_path / "moved")}, side=4).fingerprint() == before


@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH + 1])
def test_any_number_of_pictures_is_scored_in_their_order(scale: Path, count: int) -> None:
    reward = Redness("red", {"scale": str(scale)}, side=2)
    pictures = [Image.new("RGB", (5, 7), (place, 0, 0)) for place in range(count)]
    scores = reward.score(pictures, ["ab"] * count)
    assert scores.tolist() == [2 * place for place in range(count)]
    assert scores.dtype == torch.float32


def test_pictures_and_captions_must_be_as_many(scale: Path) -> None:
    reward = Redness("red", {"scale": str(scale)}, side=2)
    with pytest.raises(ValueError, match="2 images and 1 captions"):
        reward.score([Image.new("RGB", (5, 5))] * 2, ["a"])


def test_16_bits_are_scaled_and_other_modes_kept() -> None:
    deep = Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16))
    assert deep.mode == "I;16"
    assert np.asarray(readable(deep)).ravel().tolist() == list(range(256))
    for picture in made.pictures().values():
        assert readable(picture) is picture or picture.mode == "I;16"


def test_captions_that_repeat_are_read_once() -> None:
    assert distinct(["b", "a", "b", "c", "a"]) == (["b", "a", "c"], [0, 1, 0, 2, 1])


def test_preprocessing_works_in_another_process_that_forks(tmp_path: Path) -> None:
    """As the workers of a data loader do; a network that is loaded already does not hinder it."""
    code = """
import multiprocessing, pathlib, sys
from tests.rewards import tiny_rewards as made
reward = made.clip(pathlib.Path(sys.argv[1]))
picture = made.pictures()["RGB"]
reward.score([picture], ["a"])
with multiprocessing.get_context("fork").Pool(1) as pool:
    assert (pool.apply(reward.preprocess, (picture,)) == reward.preprocess(picture)).all()
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).parents[2], timeout=120)
