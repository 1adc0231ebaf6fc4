"""A random open_clip model of a few kilobytes, in the layout that open_clip writes."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

SETTINGS = {
    "embed_dim": 6,
    "vision_cfg": {"image_size": 16, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32},
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 64, "heads": 2, "layers": 1},
}
COLOURS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}


def make(seed: int = 0) -> open_clip.CLIP:
    """The network, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return open_clip.CLIP(**SETTINGS).eval()


def folder(path: Path, seed: int = 0) -> Path:
    """Write it."""
    path.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous().clone() for name, tensor in make(seed).state_dict().items()}
    save_file(tensors, path / "open_clip_model.safetensors")
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": SETTINGS, "preprocess_cfg": COLOURS}))
    return path
