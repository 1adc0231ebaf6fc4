"""A checkpoint of Stable Diffusion in one file, as fine-tunes are shared: its parts under diffusers' names.

The conversions are those of diffusers' `from_single_file`; what the file has beside a part is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers.loaders import single_file_utils
from safetensors import safe_open
from torch import Tensor

NETWORK = "model.diffusion_model."
CLIP_L = ("cond_stage_model.transformer.text_model.", "conditioner.embedders.0.transformer.text_model.")
CLIP_G = "conditioner.embedders.1.model."
CODEC = "first_stage_model."
LORA = ("lora", "hada_", "lokr_", "diff_b")
"""What is in names of weights that are added to a model's own."""
VELOCITY_KEY, ZERO_SNR_KEY = "v_pred", "ztsnr"
"""Empty tensors by which fine-tunes say how they were trained."""

RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of an autoencoder's attention in folders that older releases of diffusers wrote."""


def unet_weights(tensors: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of the UNet with this configuration."""
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(NETWORK)}
    found: dict[str, Tensor] = single_file_utils.convert_ldm_unet_checkpoint(own, dict(config)) if own else {}
    return found


def codec_weights(tensors: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of the `AutoencoderKL` with this configuration."""
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(CODEC)}
    found: dict[str, Tensor] = single_file_utils.convert_ldm_vae_checkpoint(own, dict(config)) if own else {}
    return found


def text_weights(tensors: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """The weights of a text encoder: CLIP G for a model with a projection, else CLIP L.

    Names are those of the model: the outer `text_model` is left out where its class has none.
    """
    if hasattr(model, "text_projection"):
        found = single_file_utils.convert_open_clip_checkpoint(model, tensors, prefix=CLIP_G)
    else:
        found = {
            "text_model." + name.removeprefix(prefix): tensor
            for prefix in CLIP_L
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
    outer = "" if hasattr(model, "text_model") else "text_model."
    return {name.removeprefix(outer): tensor for name, tensor in found.items() if not name.endswith("position_ids")}


def current_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """An autoencoder's weights under the names of today's diffusers."""
    renamed = {}
    for name, tensor in tensors.items():
        stem, dot, kind = name.rpartition(".")
        outer, _, last = stem.rpartition(".")
        renamed[f"{outer}.{RENAMED[last]}{dot}{kind}" if last in RENAMED and "attentions" in outer else name] = tensor
    return renamed


class Contents:
    """What the header of a safetensors file says of the model in it.

    Args:
        file: whole.
    """

    def __init__(self, file: Path) -> None:
        with safe_open(file, framework="pt") as opened:
            self.names = frozenset(opened.keys())
            self.metadata: Mapping[str, str] = opened.metadata() or {}
            first = f"{NETWORK}input_blocks.0.0.weight"
            self.channels = opened.get_slice(first).get_shape()[1] if first in self.names else None

    @property
    def is_lora(self) -> bool:
        """Whether it holds weights that are added to a model's own."""
        return not self.is_model and any(word in name.lower() for name in self.names for word in LORA)

    @property
    def is_model(self) -> bool:
        """Whether it holds the network of a Stable Diffusion in the original layout."""
        return any(name.startswith(NETWORK) for name in self.names)

    @property
    def is_xl(self) -> bool:
        """Whether that network reads pooled text and sizes."""
        return f"{NETWORK}label_emb.0.0.weight" in self.names

    @property
    def predicts_velocity(self) -> bool:
        """Whether it says that v is predicted."""
        keyed = self.metadata.get("modelspec.predict_key", self.metadata.get("modelspec.prediction_type", ""))
        return VELOCITY_KEY in self.names or keyed in ("v", "v_prediction")

    @property
    def has_zero_terminal_snr(self) -> bool:
        """Whether it says that its last step was noise alone."""
        return ZERO_SNR_KEY in self.names
