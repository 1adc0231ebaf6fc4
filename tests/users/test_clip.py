"""CLIP's features are those of open_clip itself; a folder that is not CLIP's is told in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.users import tiny_clip
from torch.nn import functional as F

from ppd_lightning.run.errors import UserError
from ppd_lightning.users.clip import ClipImages, clip_faults

CPU = torch.device("cpu")


def test_features_are_those_of_open_clip(tmp_path: Path) -> None:
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    mean, deviation = (torch.tensor(tiny_clip.COLOURS[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        expected = tiny_clip.make().encode_image((images - mean) / deviation, normalize=True)
    found = ClipImages(str(tiny_clip.folder(tmp_path)), CPU)(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert found.norm(dim=1).tolist() == pytest.approx([1, 1, 1])


def test_images_are_brought_to_the_size_that_it_saw(tmp_path: Path) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    clip = ClipImages(str(tiny_clip.folder(tmp_path)), CPU)
    small = F.interpolate(images, (16, 16), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(clip(images), clip(small))


def test_what_is_missing_or_of_something_else_is_told(tmp_path: Path) -> None:
    assert clip_faults(str(tiny_clip.folder(tmp_path / "whole"))) == []
    [fault] = clip_faults(str(tmp_path / "nowhere"))
    assert fault.startswith(f"user.weights: {tmp_path / 'nowhere'} lacks open_clip_config.json")
    [fault] = clip_faults("shipped:emoji/nothing")
    assert "assets/emoji/nothing lacks open_clip_config.json" in fault
    pickled = tiny_clip.folder(tmp_path / "pickled")
    (pickled / "open_clip_model.safetensors").rename(pickled / "open_clip_model.bin")
    [fault] = clip_faults(str(pickled))
    assert "weights must be .safetensors" in fault
    other = tiny_clip.folder(tmp_path / "other")
    (other / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 3}}')
    with pytest.raises(UserError, match="no configuration of an open_clip model"):
        ClipImages(str(other), CPU)
    wider = tiny_clip.folder(tmp_path / "wider")
    text = (wider / "open_clip_config.json").read_text()
    (wider / "open_clip_config.json").write_text(text.replace('"embed_dim": 6', '"embed_dim": 7'))
    with pytest.raises(UserError, match="not the weights of this network"):
        ClipImages(str(wider), CPU)
