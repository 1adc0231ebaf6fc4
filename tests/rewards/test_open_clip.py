"""100 cos of an open_clip model is what open_clip itself computes from the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.rewards import tiny_rewards as made

from ppd_lightning.errors import UserError
from ppd_lightning.rewards.open_clip import OpenClipReward

PREPROCESSING: list[dict[str, Any]] = [
    {},
    {"mean": [0.1, 0.5, 0.9], "std": [0.5, 0.4, 0.3], "interpolation": "bilinear", "resize_mode": "squash"},
    {"resize_mode": "longest", "fill_color": 200},
]


def upstream(folder: Path, pictures: list[Image.Image], captions: list[str]) -> torch.Tensor:
    """open_clip's own loading, transform, tokenizer and normalisation, one picture at a time."""
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    scores = []
    with torch.no_grad():
        for picture, caption in zip(pictures, captions, strict=True):
            image = model.encode_image(transform(picture)[None], normalize=True)
            text = model.encode_text(tokenizer([caption]), normalize=True)
            scores.append(100 * (image @ text.T).item())
    return torch.tensor(scores)


@pytest.mark.parametrize("preprocess", PREPROCESSING, ids=["default", "squash", "longest"])
def test_scores_equal_open_clips_own_for_pictures_of_every_mode(tmp_path: Path, preprocess: dict[str, Any]) -> None:
    folder = made.open_clip_folder(tmp_path / "model", preprocess=preprocess)
    pictures = list(made.pictures().values())
    captions = [made.CAPTIONS[place % len(made.CAPTIONS)] for place in range(len(pictures))]
    ours = OpenClipReward("clip", {"model": str(folder)}).score(pictures, captions)
    theirs = upstream(folder, [made.eight_bits(picture) for picture in pictures], captions)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)
    assert ours.std() > 1
    assert ours.dtype == torch.float32


def test_a_caption_is_cut_where_open_clip_cuts_it(tmp_path: Path) -> None:
    reward, picture = made.clip(tmp_path), made.pictures()["RGB"]
    # A token each, beside the first and the last of ten.
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    fits, cut, other = [" ".join(words), " ".join([*words, "nine"]), " ".join([*words[:-1], "nine"])]
    scores = reward.score([picture] * 3, [fits, cut, other]).tolist()
    assert scores[0] == scores[1]
    assert scores[0] != scores[2]


def test_a_file_with_its_architecture_equals_the_folder(tmp_path: Path) -> None:
    made.know_architecture(tmp_path)
    folder = made.open_clip_folder(tmp_path / "model")
    weights = load_file(folder / "open_clip_model.safetensors")
    older = {f"module.{name}": one for name, one in weights.items()}
    older["module.text.embeddings.position_ids"] = torch.arange(10)[None]
    torch.save({"epoch": 3, "state_dict": older}, tmp_path / "a.pt")
    pictures = list(made.pictures().values())[:3]
    expected = OpenClipReward("clip", {"model": str(folder)}).score(pictures, made.CAPTIONS[:3])
    for file in (tmp_path / "a.pt", folder / "open_clip_model.safetensors"):
        reward = OpenClipReward("clip", {"model": str(file)}, architecture=made.ARCHITECTURE)
        assert torch.equal(reward.score(pictures, made.CAPTIONS[:3]), expected)


def test_a_network_with_a_text_tower_of_its_own_is_built_as_open_clip_builds_it(tmp_path: Path) -> None:
    folder = made.open_clip_folder(tmp_path / "model")
    file = folder / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["model_cfg"]["custom_text"] = True
    file.write_text(json.dumps(config))
    pictures = list(made.pictures().values())[:3]
    ours = OpenClipReward("clip", {"model": str(folder)}).score(pictures, made.CAPTIONS[:3])
    torch.testing.assert_close(ours, upstream(folder, pictures, made.CAPTIONS[:3]), atol=2e-4, rtol=0)


def test_an_unknown_architecture_is_named_at_once() -> None:
    with pytest.raises(UserError, match=r"rewards\.clip\.options\.architecture: open_clip knows no 'ViT-Z'"):
        OpenClipReward("clip", {"model": "file.pt"}, architecture="ViT-Z")


def test_a_file_without_an_architecture_is_reported_what_is_missing(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors is a file; expected .*; or name the file's architecture"):
        _ = OpenClipReward("clip", {"model": str(tmp_path / "model.safetensors")}).files


@pytest.mark.parametrize("text", ["{}", '{"model_cfg": {"embed_dim": 3}}', '{"model_cfg": 3}', "[]", "{"])
def test_a_configuration_of_something_else_is_one_sentence(tmp_path: Path, text: str) -> None:
    reward = made.clip(tmp_path)
    (tmp_path / "clip/open_clip_config.json").write_text(text)
    with pytest.raises(UserError, match=r"open_clip_config\.json: ") as error:
        reward.preprocess(made.pictures()["RGB"])
    assert "\n" not in str(error.value)
