"""Each image is scored once, by whatever run and process, and a killed scoring loses a part at most."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.killing import killed_at
from torch import Tensor

from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.scores import reward_scores as scores
from ppd_lightning.evaluation.scores.reward_scores import score_images
from ppd_lightning.rewards.reward import Reward

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.evaluation.scores.test_reward_scores"])
COUNT = 11


class Redness(Reward):
    """The mean of red, and how long the caption is."""

    scored = 0

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        return np.asarray(picture).transpose(2, 0, 1)

    def image_features(self, pixels: Tensor) -> Tensor:
        type(self).scored += len(pixels)
        return pixels.float()[:, 0].mean((1, 2))[:, None]

    def scores(self, features: Tensor, captions: Sequence[str]) -> Tensor:
        return features[:, 0] + Tensor([len(caption) for caption in captions])


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "PART", 4)
    monkeypatch.setattr(Redness, "scored", 0)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Pictures of two galleries, redder and redder."""
    made = [tmp_path / ("base" if number % 2 else "own") / f"{number:032x}.png" for number in range(COUNT)]
    for number, file in enumerate(made):
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2), (number, 0, 0)).save(file)
    return made


CAPTIONS = ["x" * (number % 3 + 1) for number in range(COUNT)]
EXPECTED = [number + number % 3 + 1 for number in range(COUNT)]


def score(files: list[Path]) -> list[float]:
    return score_images(Redness("redness", {}), files, CAPTIONS).tolist()


def test_each_image_has_the_score_for_its_caption(files: list[Path]) -> None:
    assert score(files) == EXPECTED


def test_what_was_scored_is_not_scored_again_and_what_is_new_is(files: list[Path]) -> None:
    assert score_images(Redness("redness", {}), files[:5], CAPTIONS[:5]).tolist() == EXPECTED[:5]
    assert score(files) == EXPECTED
    assert score(files[::-1])[::-1] != []
    assert Redness.scored == COUNT


def test_an_image_that_comes_often_is_scored_once(files: list[Path]) -> None:
    found = score_images(Redness("redness", {}), files[:1] * 6, CAPTIONS[:1] * 6)
    assert found.tolist() == EXPECTED[:1] * 6
    assert Redness.scored == 1


def test_another_reward_has_scores_of_its_own(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    score(files)
    monkeypatch.setattr(Redness, "version", 2)
    score(files)
    assert Redness.scored == 2 * COUNT


def score_small(files: list[Path]) -> None:
    scores.PART = 4
    score(files)


@pytest.mark.parametrize(("moment", "parts"), [(1, 0), (2, 1), (3, 1), (6, 3)])
def test_a_killed_scoring_keeps_its_parts(files: list[Path], moment: int, parts: int) -> None:
    """Each part is two files: the scores, and their checksum."""
    process = PROCESSES.Process(target=killed_at, args=(moment, score_small, files))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list(files[0].parents[1].rglob("scores-*/[0-9a-f]*.parquet"))) == parts
    assert score(files) == EXPECTED
    assert COUNT - 4 * parts <= Redness.scored <= COUNT - parts


@pytest.mark.parametrize("kind", ["none", "a bit", "another table"])
def test_a_damaged_part_is_named_and_its_images_scored_again(
    files: list[Path], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    score(files)
    part = next(files[0].parents[1].rglob("scores-*/*.parquet"))
    whole, before = part.read_bytes(), Redness.scored
    if kind == "another table":
        pq.write_table(pa.table({"file": [path.name for path in files], "score": [0.0] * len(files)}), part)
    else:
        part.write_bytes(b"no parquet" if kind == "none" else whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    assert score(files) == EXPECTED
    assert f"{part}: damaged" in caplog.text
    assert Redness.scored > before


def test_a_score_belongs_to_the_bytes_that_were_scored(files: list[Path]) -> None:
    score(files)
    files[0].write_bytes(files[1].read_bytes())
    again = score(files)
    assert again != EXPECTED
    assert again[1:] == EXPECTED[1:]
    assert Redness.scored == COUNT + 1
    files[0].write_bytes(files[0].read_bytes()[:-30])
    with pytest.raises(UserError, match=f"{files[0].name}: damaged .*; run the command that drew it again"):
        score(files)
