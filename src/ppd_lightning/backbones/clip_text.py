"""Text encoders and tokenizers of transformers, from the files of a released folder, with faults in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ppd_lightning.backbones.diffusers_parts import one_line
from ppd_lightning.backbones.weights import misfits
from ppd_lightning.errors import UserError


def load_text_model(kind: Any, config: Path, weights: Path, *, dtype: torch.dtype = torch.float32) -> Any:
    """A text encoder of one of transformers' classes.

    Args:
        kind: the class, such as `CLIPTextModelWithProjection` or `T5EncoderModel`.
        config: in the folder of the weights.
        weights: model.safetensors, or one of its variants such as model.bf16.safetensors; the first file of several.
        dtype: of the weights.

    Raises:
        UserError: the configuration is of another class, or the weights are not those of the network that it describes.
    """
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        encoder, found = kind.from_pretrained(
            config.parent,
            dtype=dtype,
            variant=weights.name.split(".")[1].partition("-")[0] if weights.name.count(".") == 2 else None,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # whatever a configuration of something else leads to
        raise UserError(f"{config}: no configuration of a {kind.__name__} ({one_line(error)})") from None
    wrong = misfits(found)
    if wrong:
        raise UserError(f"{weights}: these are not the weights of the text encoder ({wrong})")
    return encoder


def load_tokenizer(kind: Any, folder: Path) -> Any:
    """A tokenizer of one of transformers' classes.

    Raises:
        UserError: the folder holds something else.
    """
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever files of something else lead to
        raise UserError(f"{folder}: no files of a {kind.__name__} ({one_line(error)})") from None


def require_same_length(tokenizer: Any, encoder: Any) -> None:
    """A CLIP text encoder has a position for each token that its tokenizer gives.

    Raises:
        UserError: it has not.
    """
    if tokenizer.model_max_length != encoder.config.max_position_embeddings:
        raise UserError(
            f"{tokenizer.name_or_path}: captions of {tokenizer.model_max_length} tokens, the text encoder reads "
            f"{encoder.config.max_position_embeddings}; these two belong to different models"
        )
