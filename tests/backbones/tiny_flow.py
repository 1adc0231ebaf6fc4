"""A whole emoji flow model, each part tiny and random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests import tiny
from tests.backbones import tiny_sd3

from ppd_lightning.worlds.emoji.flow_backbone import EmojiFlowBackbone


def folder(path: Path) -> Path:
    """The transformer beside the parts that serve the other base too; latents of 32 pixels are `tiny.LATENT`."""
    texts = {"joint_attention_dim": tiny.TEXT_WIDTH, "pooled_projection_dim": tiny.POOLED_WIDTH}
    tiny_sd3.transformer(dual_attention_layers=(), **texts).save_pretrained(path / "transformer")
    tiny.text_encoder().save_pretrained(path / "text_encoder")
    tiny.tokenizer().save_pretrained(path / "tokenizer")
    tiny.codec().save_pretrained(path / "codec")
    return path


def backbone(path: Path, **changes: Any) -> EmojiFlowBackbone:
    """The backbone of such a folder."""
    own = {"name": "emoji_flow", "path": str(path), "token_width": "enough", "shift": 3.0}
    return EmojiFlowBackbone(**tiny.MODEL | own | changes)
