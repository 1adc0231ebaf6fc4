"""What every published reward keeps to, whatever it computes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.rewards import tiny_rewards as made
from torch import Tensor

from ppd_lightning.errors import UserError
from ppd_lightning.rewards.reward import Reward
from ppd_lightning.storage.fingerprints import file_sha256

every = pytest.mark.parametrize("make", made.MAKERS.values(), ids=made.MAKERS)

BF16_BOUND = 0.1
"""Of the scores' deviation over pictures and captions: how far bf16 may be from fp32, at most on these networks."""


def batch(count: int) -> tuple[list[Image.Image], list[str]]:
    pictures = list(made.pictures().values())
    turned = [
        pictures[place % len(pictures)].rotate(90 * (place // len(pictures)), expand=True) for place in range(count)
    ]
    return turned, [made.CAPTIONS[place % len(made.CAPTIONS)] for place in range(count)]


def weights_file(reward: Reward) -> Path:
    return reward.paths("model")[-1]


def change(reward: Reward, harm: Callable[[dict[str, Tensor]], object]) -> Path:
    """Harm the tensors of a reward's file; the file."""
    file = weights_file(reward)
    if file.suffix == ".safetensors":
        tensors = load_file(file)
        harm(tensors)
        save_file(tensors, file)
        return file
    stored = torch.load(file)
    harm(stored.get("state_dict", stored))
    torch.save(stored, file)
    return file


@every
def test_scores_are_equal_whatever_the_batch(make: Callable[..., Reward], tmp_path: Path) -> None:
    reward = make(tmp_path)
    pictures, captions = batch(33)
    together = reward.score(pictures, captions)
    alone = torch.cat([reward.score([one], [caption]) for one, caption in zip(pictures, captions, strict=True)])
    assert together.shape == (33,)
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, alone, atol=1e-4 * together.std().item(), rtol=0)
    assert len(set(together.tolist())) > 11


@every
def test_bf16_is_within_the_bound(make: Callable[..., Reward], tmp_path: Path) -> None:
    pictures, captions = batch(24)
    exact = make(tmp_path).score(pictures, captions)
    reward = make(tmp_path, dtype=torch.bfloat16)
    rough = reward.score(pictures, captions)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < BF16_BOUND * exact.std()


@every
def test_features_are_float32_and_serve_for_any_caption(make: Callable[..., Reward], tmp_path: Path) -> None:
    reward = make(tmp_path, dtype=torch.bfloat16)
    pictures, captions = batch(3)
    pixels = torch.from_numpy(np.stack([reward.preprocess(picture) for picture in pictures]))
    features = reward.image_features(pixels)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    for order in (captions, captions[::-1]):
        torch.testing.assert_close(reward.scores(features, order), reward.score(pictures, order), atol=1e-4, rtol=0)
    assert features[0].numel() < 10**4 or not reward.keeps_features


@every
def test_preprocessing_loads_no_network_and_gives_one_size(make: Callable[..., Reward], tmp_path: Path) -> None:
    reward = make(tmp_path)
    weights_file(reward).write_bytes(b"nothing that could be loaded")
    found = [reward.preprocess(picture) for picture in made.pictures().values()]
    assert {(one.shape, one.dtype) for one in found} == {((3, made.SIZE, made.SIZE), np.dtype(reward.pixel_type))}


@every
def test_the_network_is_loaded_once_and_its_files_are_reported(
    make: Callable[..., Reward], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reward, loads = make(tmp_path), []
    load = reward.load
    monkeypatch.setattr(reward, "load", lambda: loads.append(1) or load())
    caplog.set_level(logging.INFO)
    for _ in range(3):
        reward.score(*batch(1))
    assert loads == [1]
    told = [record.getMessage() for record in caplog.records if record.name.startswith("ppd_lightning")]
    files = [path for role in reward.roles for path in reward.paths(role)]
    assert told == [f"reward {reward.name}: {path}, SHA-256 {file_sha256(path)}" for path in files]
    assert not any(weight.requires_grad for weight in reward.network.parameters())
    assert not any(part.training for part in reward.network.modules())


@every
def test_every_byte_of_every_file_counts_for_the_fingerprint(make: Callable[..., Reward], tmp_path: Path) -> None:
    reward = make(tmp_path)
    before = reward.fingerprint()
    assert make(tmp_path).fingerprint() == before
    assert make(tmp_path, dtype=torch.bfloat16).fingerprint() != before
    for path in [path for role in reward.roles for path in reward.paths(role)]:
        kept = path.read_bytes()
        path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        assert type(reward)(reward.name, reward.weights, **reward.options).fingerprint() != before
        path.write_bytes(kept)


@every
@pytest.mark.parametrize("caption", ["", "  \n"])
def test_an_empty_caption_is_refused_where_captions_count(
    make: Callable[..., Reward], tmp_path: Path, caption: str
) -> None:
    reward, pictures = make(tmp_path), batch(3)[0]
    if not reward.needs_captions:
        assert reward.score(pictures, [caption] * 3).isfinite().all()
        return
    with pytest.raises(UserError, match=rf"^reward {reward.name}: the caption in row 1 \(counted from 0\) is empty; "):
        reward.score(pictures, ["a", caption, "b"])


@every
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2, 101)])
def test_a_picture_without_anything_to_see_is_refused(
    make: Callable[..., Reward], tmp_path: Path, size: tuple[int, int]
) -> None:
    with pytest.raises(UserError, match=rf"a picture of {size[0]} x {size[1]} pixels cannot be scored: expected at"):
        make(tmp_path).score([Image.new("RGB", size)], ["a cat"])


@every
def test_the_smallest_and_longest_pictures_are_scored(make: Callable[..., Reward], tmp_path: Path) -> None:
    pictures = [Image.new("RGB", size, "red") for size in ((2, 2), (2, 100), (100, 2))]
    assert make(tmp_path).score(pictures, ["a cat"] * 3).isfinite().all()


@every
def test_a_damaged_picture_is_one_sentence(make: Callable[..., Reward], tmp_path: Path) -> None:
    file = tmp_path / "cut.png"
    made.pictures()["RGB"].save(file)
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"a picture of 90 x 40 pixels cannot be decoded") as error:
        make(tmp_path).score([Image.open(file)], ["a cat"])
    assert "\n" not in str(error.value)


HARMS: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "missing": (lambda tensors: tensors.pop(sorted(tensors)[-1]), "tensors are missing, such as "),
    "unknown": (lambda tensors: tensors.update(more=torch.zeros(1)), "1 are unknown, such as more"),
    "other": (lambda tensors: tensors.update({sorted(tensors)[-1]: torch.zeros(3, 5)}), "have another shape, such as "),
    "nan": (
        lambda tensors: tensors[sorted(tensors)[-1]].view(-1)[:1].fill_(torch.nan),
        "hold NaN or infinity, such as ",
    ),
}


@every
@pytest.mark.parametrize("harm", HARMS)
def test_weights_of_something_else_or_without_numbers_are_one_sentence(
    make: Callable[..., Reward], tmp_path: Path, harm: str
) -> None:
    reward = make(tmp_path)
    file = change(reward, HARMS[harm][0])
    with pytest.raises(UserError) as error:
        reward.score(*batch(1))
    (fault,) = error.value.faults
    assert fault.startswith(f"{file}: ")
    assert HARMS[harm][1] in fault
    assert "\n" not in fault


@every
@pytest.mark.parametrize("kept", [0, 40, -1000])
def test_a_truncated_file_is_one_sentence(make: Callable[..., Reward], tmp_path: Path, kept: int) -> None:
    reward = make(tmp_path)
    file = weights_file(reward)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserError) as error:
        reward.score(*batch(1))
    (fault,) = error.value.faults
    assert fault.startswith(f"{file}: cut short, or ")
    assert "\n" not in fault
