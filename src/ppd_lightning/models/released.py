"""A folder in Stable Cascade's released layout: prior/, text_encoder/, tokenizer/, scheduler/ and a codec.

B = batch, L = text tokens, C = text width, C' = pooled text width.
"""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import Protocol

import torch
from diffusers import DDPMWuerstchenScheduler, StableCascadeUNet
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

from ppd_lightning.models.emoji_codec import EmojiCodec
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.fingerprints import file_sha256, fingerprint

PARTS = {
    "prior": ("config.json", "diffusion_pytorch_model.safetensors"),
    "text_encoder": ("config.json", "model.safetensors"),
    "tokenizer": ("tokenizer.json", "tokenizer_config.json"),
    "scheduler": ("scheduler_config.json",),
    "codec": ("config.json", "diffusion_pytorch_model.safetensors"),
}
"""The files of each part, relative to its folder."""


class Codec(Protocol):
    """Images to Stage C latents and back."""

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) float in [0, 1] to latents (B, 16, h, w)."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 16, h, w) to images (B, 3, H, W) float in [0, 1]."""


class TextStates:
    """Captions to what the prior reads of them, as the released pipeline computes it.

    Source: diffusers' `StableCascadePriorPipeline.encode_prompt`: the last hidden state before the final LayerNorm, and
    the projected pooled state.
    """

    def __init__(self, tokenizer: CLIPTokenizer, encoder: CLIPTextModelWithProjection) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Captions (B) to text (B, L, C) and pooled text (B, 1, C'); what is too long of a caption is cut off."""
        tokens = self.tokenizer(
            captions,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).to(self.encoder.device)
        states = self.encoder(tokens.input_ids, attention_mask=tokens.attention_mask, output_hidden_states=True)
        return states.hidden_states[-1], states.text_embeds.unsqueeze(1)


class ReleasedModel:
    """The parts of one model folder; each is loaded in fp32, frozen and in evaluation mode.

    Raises:
        UserError: files are missing (all of them are named), truncated or not safetensors.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        faults = [
            f"model.path: {folder / part / name} is missing; the folder must hold "
            f"{', '.join(f'{key}/' for key in PARTS)} in the released layout"
            for part, names in PARTS.items()
            for name in names
            if not (folder / part / name).is_file()
        ]
        faults += [fault for part, names in PARTS.items() for name in names for fault in _damage(folder / part / name)]
        if faults:
            raise UserError(faults)

    def fingerprint(self, part: str) -> str:
        """12 hex digits that stand for the content of a part's files."""
        return fingerprint([file_sha256(self.folder / part / name) for name in PARTS[part]])

    def load_prior(self) -> StableCascadeUNet:
        """The frozen Stage C network."""
        prior = StableCascadeUNet.from_pretrained(
            self.folder / "prior", torch_dtype=torch.float32, local_files_only=True
        )
        return prior.eval().requires_grad_(False)

    def load_codec(self, device: torch.device | str = "cpu") -> Codec:
        """The codec that made the prior's latents."""
        codec = EmojiCodec.from_pretrained(self.folder / "codec", torch_dtype=torch.float32, local_files_only=True)
        frozen: Codec = codec.to(device).eval().requires_grad_(False)
        return frozen

    def load_text(self, device: torch.device | str = "cpu") -> TextStates:
        """The frozen text encoder with its tokenizer."""
        disable_progress_bar()
        encoder = CLIPTextModelWithProjection.from_pretrained(
            self.folder / "text_encoder", dtype=torch.float32, local_files_only=True
        )
        tokenizer = CLIPTokenizer.from_pretrained(self.folder / "tokenizer", local_files_only=True)
        return TextStates(tokenizer, encoder.to(device))

    def load_scheduler(self) -> DDPMWuerstchenScheduler:
        """The sampler's schedule."""
        return DDPMWuerstchenScheduler.from_pretrained(self.folder / "scheduler", local_files_only=True)


def open_model(name: str, path: str | None) -> ReleasedModel:
    """The model folder at `path`, or where that is None the one that ships with the package as assets/`name`."""
    if path is not None:
        return ReleasedModel(Path(path))
    return ReleasedModel(Path(str(importlib.resources.files("ppd_lightning") / "assets" / name)))


def _damage(path: Path) -> list[str]:
    if not path.is_file():
        return []
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="pt"):
                pass
    except (SafetensorError, ValueError) as error:
        return [f"model.path: {path} is damaged or not what its name says ({error}); fetch or make it again"]
    return []
