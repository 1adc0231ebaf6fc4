"""HPSv2 is what hpsv2 computes from the same file: by its formula, and by the package itself where it is installed."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from tests.rewards import tiny_rewards as made
from torch.nn import functional as F

from ppd_lightning.rewards.hps import HPSv2Reward, HPSv21Reward

# hpsv2 does not pad a picture whose longest side needs no resizing, and keeps alpha: its own network fails on these.
FAILS_THERE = ("longest side as seen", "RGBA", "LA")


def formula(picture: Image.Image, antialias: bool = True) -> np.ndarray:
    """Convert, divide by 255, bring the longest side to the network's by bicubic interpolation, zeros around."""
    pixels = torch.from_numpy(np.array(made.eight_bits(picture).convert("RGB"))).permute(2, 0, 1)[None] / 255
    height, width = pixels.shape[2:]
    scale = made.SIZE / max(height, width)
    size = (round(height * scale), round(width * scale))
    if scale != 1:
        pixels = F.interpolate(pixels, size, mode="bicubic", align_corners=False, antialias=antialias)
    canvas = np.zeros((3, made.SIZE, made.SIZE), np.float32)
    top, left = (made.SIZE - size[0]) // 2, (made.SIZE - size[1]) // 2
    canvas[:, top : top + size[0], left : left + size[1]] = pixels[0]
    return canvas


@pytest.mark.parametrize("antialias", [True, False])
def test_preprocessing_is_the_published_one(tmp_path: Path, antialias: bool) -> None:
    reward = made.hpsv2(tmp_path, antialias=antialias)
    for name, picture in made.pictures().items():
        pixels = reward.preprocess(picture)
        assert (pixels.shape, pixels.dtype) == ((3, made.SIZE, made.SIZE), reward.pixel_type), name
        np.testing.assert_allclose(pixels / 255, formula(picture, antialias), atol=2e-6, err_msg=name)


def test_pixels_may_leave_the_range_of_bytes(tmp_path: Path) -> None:
    """As in hpsv2, where bicubic interpolation of floats overshoots at edges."""
    edge = np.zeros((10, 10, 3), np.uint8)
    edge[:, 5:] = 255
    pixels = made.hpsv2(tmp_path).preprocess(Image.fromarray(edge))
    assert pixels.min() < -1
    assert pixels.max() > 256


def test_scores_equal_the_published_formula(tmp_path: Path) -> None:
    reward, pictures = made.hpsv2(tmp_path), made.pictures()
    captions = [made.CAPTIONS[place % len(made.CAPTIONS)] for place in range(len(pictures))]
    model = open_clip.create_model(made.ARCHITECTURE).eval()
    model.load_state_dict(torch.load(reward.paths("model")[0])["state_dict"])
    mean, deviation = torch.tensor(open_clip.OPENAI_DATASET_MEAN), torch.tensor(open_clip.OPENAI_DATASET_STD)
    seen = torch.from_numpy(np.stack([formula(picture) for picture in pictures.values()]))
    with torch.no_grad():
        images = model.encode_image((seen - mean[:, None, None]) / deviation[:, None, None], normalize=True)
        texts = model.encode_text(open_clip.get_tokenizer(made.ARCHITECTURE)(captions), normalize=True)
    ours = reward.score(list(pictures.values()), captions)
    torch.testing.assert_close(ours, 100 * (images * texts).sum(1), atol=2e-4, rtol=0)
    assert ours.std() > 1


def test_scores_equal_the_packages_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = hpsv2_package(monkeypatch)
    reward = made.hpsv2(tmp_path)
    theirs.open_clip.add_model_config(tmp_path / f"{made.ARCHITECTURE}.json")
    make, words = theirs.open_clip.create_model_and_transforms, open_clip.get_tokenizer(made.ARCHITECTURE)
    # Everything else of its call is the package's own; it would fetch the weights that the checkpoint replaces.
    monkeypatch.setattr(
        theirs.img_score, "create_model_and_transforms", lambda *_, **chosen: make(made.ARCHITECTURE, **chosen)
    )
    monkeypatch.setattr(theirs.img_score, "get_tokenizer", lambda _: words)
    monkeypatch.setattr(theirs.img_score, "model_dict", {})
    pictures = {name: one for name, one in made.pictures().items() if name not in FAILS_THERE}
    file = str(reward.paths("model")[0])
    for caption in made.CAPTIONS:
        expected = theirs.img_score.score([made.eight_bits(one) for one in pictures.values()], caption, cp=file)
        ours = reward.score(list(pictures.values()), [caption] * len(pictures))
        torch.testing.assert_close(ours, 100 * torch.tensor(np.array(expected)), atol=2e-4, rtol=0)


def test_the_published_network_is_a_vit_h_14_that_sees_224_pixels() -> None:
    for kind in (HPSv2Reward, HPSv21Reward):
        reward = kind("hps", {"model": "file"})
        assert reward.model.network == open_clip.get_model_config("ViT-H-14")
        assert reward.preprocess(Image.new("RGB", (512, 768))).shape == (3, 224, 224)
    assert HPSv2Reward.roles["model"].ways != HPSv21Reward.roles["model"].ways


def hpsv2_package(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """hpsv2 as installed without its dependencies, with what its wheel lacks."""
    if importlib.util.find_spec("hpsv2") is None:
        pytest.skip("hpsv2 is not installed: pip install --no-deps hpsv2==1.2.0")
    progress = types.ModuleType("clint.textui")
    progress.progress = None  # type: ignore[attr-defined]  # bars of its downloads
    monkeypatch.setitem(sys.modules, "clint", types.ModuleType("clint"))
    monkeypatch.setitem(sys.modules, "clint.textui", progress)
    # Its wheel lacks the vocabulary that its tokenizer opens; open_clip's is the same.
    monkeypatch.setitem(sys.modules, "hpsv2.src.open_clip.tokenizer", open_clip.tokenizer)
    import hpsv2.img_score
    import hpsv2.src.open_clip

    return types.SimpleNamespace(img_score=hpsv2.img_score, open_clip=hpsv2.src.open_clip)
