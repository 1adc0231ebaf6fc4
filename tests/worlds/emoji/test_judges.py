"""Judges come back from their files as they were trained, and a wrong file is one clear message."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ppd_lightning.errors import UserError
from ppd_lightning.worlds.emoji.concepts import shipped_concepts
from ppd_lightning.worlds.emoji.judges import KINDS, ConvolutionalJudge, Judge, StatisticsJudge, load_judge, save_judge
from ppd_lightning.worlds.emoji.pictures import STYLES

LABELS = ("flat", "line", "round")


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def trained(name: str, images: Tensor) -> Judge:
    """A small judge whose running statistics are no longer those of a new one."""
    torch.manual_seed(0)
    judge: Judge = (
        StatisticsJudge(LABELS, hidden=8, dropout=0.1)
        if name == "statistics"
        else ConvolutionalJudge(LABELS, (4, 6), (1, 0), dropout=0.1)
    )
    judge(images)
    return judge.eval()


@pytest.mark.parametrize("name", KINDS)
def test_a_judge_survives_its_file(name: str, images: Tensor, tmp_path: Path) -> None:
    judge = trained(name, images)
    save_judge(judge, tmp_path / f"{name}.safetensors", right=0.9)
    found = load_judge(name, tmp_path)
    assert found.labels == LABELS
    assert found.config == judge.config
    assert not found.training
    assert not any(weight.requires_grad for weight in found.parameters())
    torch.testing.assert_close(found.probabilities(images), judge.probabilities(images), atol=5e-3, rtol=0)
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.safetensors"]


@pytest.mark.parametrize("name", KINDS)
def test_probabilities_do_not_depend_on_the_batch(name: str, images: Tensor) -> None:
    judge = trained(name, images)
    found = judge.probabilities(images)
    torch.testing.assert_close(found.sum(1), torch.ones(5))
    torch.testing.assert_close(judge.probabilities(images, batch_size=2), found)
    torch.testing.assert_close(judge.probabilities(images.flip(0)), found.flip(0))
    assert judge.probabilities(images[:0]).shape == (0, 3)


def test_pictures_of_another_size_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected \(B, 3, 64, 64\), got \(5, 3, 32, 64\)"):
        trained("pixels", images).probabilities(images[:, :, :32])


def test_the_shipped_judges_know_the_world() -> None:
    assert load_judge("pixels").labels == STYLES
    assert load_judge("statistics").labels == STYLES
    assert load_judge("concepts").labels == tuple(shipped_concepts(200))


def test_an_unknown_judge_is_named() -> None:
    with pytest.raises(UserError, match="there is no judge 'taste'; there are pixels, statistics, concepts"):
        load_judge("taste")


def test_a_missing_judge_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pixels\.safetensors: the judge is missing"):
        load_judge("pixels", tmp_path)


def test_a_damaged_file_is_named(images: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "pixels.safetensors"
    save_judge(trained("pixels", images), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"pixels\.safetensors: cut short, or not a safetensors file"):
        load_judge("pixels", tmp_path)


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "pixels.safetensors")
    with pytest.raises(UserError, match="expected a file of the format 'ppd_lightning judge 1', found None"):
        load_judge("pixels", tmp_path)


def test_a_judge_of_the_other_kind_is_refused(images: Tensor, tmp_path: Path) -> None:
    save_judge(trained("statistics", images), tmp_path / "pixels.safetensors")
    with pytest.raises(UserError, match=r"pixels\.safetensors: not a judge of the kind 'pixels'"):
        load_judge("pixels", tmp_path)
